import json
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from minidiff.data import digits, emoji, files, pictures
from minidiff.nets import UNetConfig, VAEConfig
from minidiff.pipelines import TextToImage, recipes, stages
from minidiff.pipelines.ingredients import CaptionedPictures, Recipe
from minidiff.training import TrainConfig, uniform

SHORT = TrainConfig(steps=2, batch_size=4, checkpoint_every=1, preview_every=1)
SMALL = Recipe(
    subject="digits",
    vae=VAEConfig.tiny(channels=(8, 8, 16), norm_groups=4),
    unet=UNetConfig.tiny(4, channels=(16, 16), attention=(True, True), heads=2, patch_size=1, context_dim=16),
    vae_training=SHORT,
    text_training=SHORT,
    unet_training=SHORT,
    vocab_size=640,
    context_length=12,
    text_dim=16,
    preview_prompts=("a red seven",),
)


@pytest.fixture(scope="module")
def data() -> CaptionedPictures:
    images, scenes = digits.captioned("train")
    captions = [digits.captions(scene) for scene in scenes[:12]]
    return CaptionedPictures(images[:12], captions, torch.arange(12), full=6)


@pytest.mark.slow
def test_a_run_stopped_in_any_stage_goes_on_as_if_it_had_not(data, tmp_path):
    whole = stages.train_text_to_image(SMALL, data, tmp_path / "whole", device="cpu")
    names = {path.name for path in (tmp_path / "whole").rglob("*.png")}
    assert {"reconstructions-000002.png", "samples-000002.png", "loss.png"} <= names
    for stage in ("vae_training", "text_training", "unet_training"):
        stops = FloatingPointError("stopped here")

        def stopping(*arguments, stage=stage, stops=stops, train=stages.train, **options):
            if arguments[3] is getattr(SMALL, stage):
                arguments = (*arguments[:3], replace(arguments[3]), *arguments[4:])
                preview = options.get("preview")

                def halt(averaged, step):
                    if preview is not None:
                        preview(averaged, step)
                    raise stops

                options["preview"] = halt
            return train(*arguments, **options)

        folder = tmp_path / stage
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stages, "train", stopping)
            with pytest.raises(FloatingPointError, match="stopped here"):
                stages.train_text_to_image(SMALL, data, folder, device="cpu")
        resumed = stages.train_text_to_image(SMALL, data, folder, device="cpu", resume=True)
        for name, tensor in resumed.unet.state_dict().items():
            assert torch.equal(tensor, whole.unet.state_dict()[name])
        assert resumed.vae.config.latent_scale == whole.vae.config.latent_scale
    drawn = TextToImage.load(tmp_path / "whole", "cpu").generate(["a red seven"], steps=2)
    assert_close(drawn, whole.generate(["a red seven"], steps=2))


def test_the_latent_scale_gives_latents_unit_variance(data, tmp_path):
    vae = stages.train_vae(SMALL, data, tmp_path, device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        z = torch.cat([vae.to_latents(data.images.float(), generator) for _ in range(20)])
    assert z.std().item() == pytest.approx(1, abs=0.01)


def test_a_recipe_says_which_levels_are_trained(data, tmp_path):
    drawn = []

    def levels(schedule, count, generator):
        drawn.append(count)
        return uniform(schedule, count, generator)

    stages.train_text_to_image(replace(SMALL, levels=levels), data, tmp_path, device="cpu")
    assert drawn == [SHORT.batch_size] * SHORT.steps


def test_a_recipe_says_with_how_much_noise_the_autoencoder_begins(data, tmp_path):
    recipe = replace(SMALL, initial_noise=0.3, vae_training=replace(SHORT, learning_rate=1e-9))
    vae = stages.train_vae(recipe, data, tmp_path, device="cpu")
    with torch.no_grad():
        _, log_variance = vae.encode(data.images.float())
    assert_close((0.5 * log_variance).exp(), torch.full_like(log_variance, 0.3), atol=1e-3, rtol=0)


def test_each_caption_of_a_picture_is_as_likely_as_the_others(generator):
    tokens = torch.arange(3).repeat(30_000, 1)[..., None]  # (n, k, 1): caption k is the token k
    chosen = stages.one_of(tokens, generator)
    counts = chosen.flatten().bincount(minlength=3)
    assert ((counts - 10_000).abs() < 5 * (30_000 * 2 / 9) ** 0.5).all()


def test_captions_must_be_there(data):
    with pytest.raises(ValueError, match="11 captions"):
        CaptionedPictures(data.images, data.captions[:11], data.meanings)
    with pytest.raises(ValueError, match=r"full must be in 1…15"):
        CaptionedPictures(data.images, data.captions, data.meanings, full=16)


def test_training_never_sees_what_is_held_out():
    data = recipes.digits_with_captions(1)
    assert len(data) == 4500
    seen = {tuple(digits.parse(captions[0]).items()) for captions in data.captions}
    assert all(
        (scene["colour"], scene["digit"], scene["background"]) not in digits.HELD_OUT for scene in map(dict, seen)
    )
    same = [data.captions[i][0] for i in range(len(data)) if data.meanings[i] == data.meanings[0]]
    assert set(same) == {data.captions[0][0]}


def test_emoji_that_nobody_could_tell_apart_mean_the_same_and_held_out_pairs_are_never_shown():
    data = recipes.emoji_with_names(copies=2)
    by_caption = {captions[0]: meaning for captions, meaning in zip(data.captions, data.meanings.tolist(), strict=True)}
    assert sum(captions == ("red heart",) for captions in data.captions) == 2
    assert by_caption["man running"] == by_caption["woman running"] != by_caption["red heart"]
    assert by_caption["yellow man running"] == by_caption["yellow woman running"] != by_caption["man running"]
    assert not {f"{colour} {thing}" for colour, thing in emoji.HELD_OUT} & by_caption.keys()
    assert len(by_caption) > 7 * 1631


def test_snapshots_are_models_of_what_was_known_then(data, tmp_path):
    recipe = replace(SMALL, snapshots=2, unet_training=replace(SHORT, steps=4))
    stages.train_text_to_image(recipe, data, tmp_path, device="cpu")
    early, late = (tmp_path / "3-unet" / f"model-{step:06d}" for step in (2, 4))
    assert sorted(path.name for path in (tmp_path / "3-unet").glob("model-*")) == [early.name, late.name]
    drawn = [TextToImage.load(folder, "cpu").generate(["a red seven"], steps=2) for folder in (early, late, tmp_path)]
    assert (drawn[0] - drawn[1]).abs().max() > 1e-4
    assert_close(drawn[1], drawn[2], atol=2e-2, rtol=0)


def test_a_folder_of_captioned_pictures_can_be_learned_from(tmp_path):
    for i, caption in enumerate(("a dot", "a line", "a dot")):
        pictures.save_png(pictures.grid(torch.full((1, 3, 32, 32), i / 3), columns=1), tmp_path / f"{i}.png")
        with (tmp_path / "metadata.jsonl").open("a") as lines:
            lines.write(json.dumps({"file_name": f"{i}.png", "text": caption}) + "\n")
    data = recipes.folder_with_captions(tmp_path)
    assert data.captions == [("a dot",), ("a line",), ("a dot",)]
    assert data.meanings.tolist() == [0, 1, 0]
    assert_close(data.images[1], torch.full((3, 32, 32), 1 / 3).half(), atol=0.01, rtol=0)


def test_an_unknown_recipe_names_those_that_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"unknown recipe 'cats': choose digits-pixel, digits, digits-long, emoji"):
        recipes.train_recipe("cats", tmp_path, {})


@pytest.mark.parametrize(("name", "recipe"), [("digits", recipes.DIGITS_LONG), ("emoji", recipes.EMOJI)])
def test_a_bundled_model_was_made_as_its_recipe_says(name, recipe):
    recorded = json.loads(files.bundled(f"{name}/config.json").read_text())
    for stage in ("vae_training", "text_training", "unet_training"):
        assert TrainConfig(**recorded[stage]) == getattr(recipe, stage)
    assert recorded["subject"] == recipe.subject
    assert replace(VAEConfig.from_dict(recorded["vae"]), latent_scale=1.0) == recipe.vae
    assert UNetConfig.from_dict(recorded["unet"]) == recipe.unet
    assert recorded["guidance_scale"] == recipe.guidance_scale


@pytest.mark.parametrize(("name", "recipe"), [("digits", recipes.DIGITS), ("digits-long", recipes.DIGITS_LONG)])
def test_each_name_trains_its_recipe(name, recipe, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(recipes, "digits_with_captions", lambda: "digits")
    monkeypatch.setattr(
        recipes, "train_text_to_image", lambda recipe, data, folder, **_: asked.append((recipe, data, folder))
    )
    recipes.train_recipe(name, tmp_path, {"steps": 7})
    assert asked == [(replace(recipe, unet_training=replace(recipe.unet_training, steps=7)), "digits", tmp_path)]
