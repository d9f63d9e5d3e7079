from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from minidiff.data import digits
from minidiff.nets import UNetConfig, VAEConfig
from minidiff.pipelines import TextToImage
from minidiff.recipes.captioned_images import CaptionedImages
from minidiff.recipes.text_to_image import TextToImageRecipe, encode_all, one_of, train_vae
from minidiff.storage import read_tensors
from minidiff.training import TrainConfig, uniform

SHORT = TrainConfig(steps=2, batch_size=4, checkpoint_every=1, preview_every=1)
SMALL = TextToImageRecipe(
    subject="digits",
    vae=VAEConfig.tiny(channels=(8, 8, 16), norm_groups=4),
    vae_training=SHORT,
    kl_weight=1e-4,
    initial_posterior_std=None,
    vocab_size=640,
    context_length=12,
    text_dim=16,
    text_training=SHORT,
    unet=UNetConfig.tiny(4, channels=(16, 16), attention=(True, True), heads=2, patch_size=1, context_dim=16),
    unet_training=SHORT,
    schedule={"name": "cosine", "T": 1000},
    prediction_type="v",
    timesteps=uniform,
    prompt_dropout=0.1,
    guidance_scale=3.0,
    preview_prompts=("a red seven",),
    snapshots=None,
)


@pytest.fixture(scope="module")
def data() -> CaptionedImages:
    images, scenes = digits.captioned("test")
    captions = [digits.captions(scene) for scene in scenes[:12]]
    return CaptionedImages(images[:12], captions, torch.arange(12), complete=6)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> tuple[TextToImage, dict[str, torch.Tensor]]:
    """A run that was not stopped: the model, and all tensors of its three checkpoints."""
    folder = tmp_path_factory.mktemp("whole")
    model = SMALL.train(data, folder, device="cpu")
    names = {path.name for path in folder.rglob("*.png")}
    assert {"reconstructions-000002.png", "samples-000002.png", "loss.png"} <= names
    drawn = TextToImage.load(folder, "cpu").generate(["a red seven"], steps=2)
    assert_close(drawn, model.generate(["a red seven"], steps=2))
    return model, checkpoints(folder)


def checkpoints(folder) -> dict[str, torch.Tensor]:
    return {
        f"{stage}/{name}": tensor
        for stage in ("1-vae", "2-text", "3-unet")
        for name, tensor in read_tensors(folder / stage / "checkpoint.safetensors")[0].items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["1-vae", "2-text", "3-unet"])
def test_a_run_stopped_in_any_stage_goes_on_as_if_it_had_not(stage, whole, data, tmp_path):
    """The run stops after the first of two steps, because a folder is in the way of a file that it writes."""
    obstacle = tmp_path / stage / "loss.png"
    obstacle.mkdir(parents=True)
    with pytest.raises(OSError, match=r"loss\.png"):
        SMALL.train(data, tmp_path, device="cpu")
    stopped, _ = read_tensors(tmp_path / stage / "checkpoint.safetensors")
    assert len(stopped["losses"]) == 1
    obstacle.rmdir()
    torch.randn(7)  # changes the state of the global generator
    resumed = SMALL.train(data, tmp_path, device="cpu", resume=True)
    model, tensors = whole
    assert_close(checkpoints(tmp_path), tensors, rtol=0, atol=0)
    for name, part in resumed.parts().items():
        assert_close(dict(part.state_dict()), dict(model.parts()[name].state_dict()), rtol=0, atol=0)
    assert resumed.vae.config.latent_scale == model.vae.config.latent_scale


@pytest.mark.slow
def test_the_latent_scale_gives_latents_unit_variance(data, tmp_path):
    vae = train_vae(SMALL, data, tmp_path, device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        z = torch.cat([vae.to_latents(data.images.float(), generator) for _ in range(20)])
    assert z.std().item() == pytest.approx(1, abs=0.01)
    for batch_size in (5, 250):
        mean, log_variance = encode_all(vae, data.images, batch_size=batch_size)
        with torch.no_grad():
            assert_close((mean, log_variance), vae.encode(data.images.float()), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_recipe_says_which_timesteps_are_trained(data, tmp_path):
    drawn = []

    def timesteps(schedule, count, generator):
        drawn.append(count)
        return uniform(schedule, count, generator)

    replace(SMALL, timesteps=timesteps).train(data, tmp_path, device="cpu")
    assert drawn == [SHORT.batch_size] * SHORT.steps


@pytest.mark.slow
def test_a_recipe_says_with_which_posterior_std_the_autoencoder_begins(data, tmp_path):
    recipe = replace(SMALL, initial_posterior_std=0.3, vae_training=replace(SHORT, learning_rate=1e-9))
    vae = train_vae(recipe, data, tmp_path, device="cpu")
    with torch.no_grad():
        _, log_variance = vae.encode(data.images.float())
    assert_close((0.5 * log_variance).exp(), torch.full_like(log_variance, 0.3), atol=1e-3, rtol=0)


def test_each_caption_of_an_image_is_as_likely_as_the_others(generator):
    tokens = torch.arange(3).repeat(30_000, 1)[..., None]  # (n, k, 1): caption k is the token k
    chosen = one_of(tokens, generator)
    counts = chosen.flatten().bincount(minlength=3)
    assert ((counts - 10_000).abs() < 5 * (30_000 * 2 / 9) ** 0.5).all()


@pytest.mark.slow
def test_snapshots_are_the_model_as_it_was_then(data, tmp_path):
    recipe = replace(SMALL, snapshots=2, unet_training=replace(SHORT, steps=4))
    recipe.train(data, tmp_path, device="cpu")
    early, late = (tmp_path / "3-unet" / f"model-{step:06d}" for step in (2, 4))
    assert sorted(path.name for path in (tmp_path / "3-unet").glob("model-*")) == [early.name, late.name]
    drawn = [TextToImage.load(folder, "cpu").generate(["a red seven"], steps=2) for folder in (early, late, tmp_path)]
    assert (drawn[0] - drawn[1]).abs().max() > 1e-4
    assert_close(drawn[1], drawn[2], atol=2e-2, rtol=0)


@pytest.mark.slow
def test_without_preview_prompts_no_samples_are_drawn(data, tmp_path):
    replace(SMALL, preview_prompts=()).train(data, tmp_path, device="cpu")
    assert not list(tmp_path.rglob("samples-*"))


def test_changes_replace_numbers_of_the_last_stage_alone():
    changed = SMALL.changed(steps=7, seed=3)
    assert changed == replace(SMALL, unet_training=replace(SHORT, steps=7, seed=3))
    assert SMALL.unet_training.steps == 2
