"""The recipes by name: their numbers, and the data that they are trained on."""

from dataclasses import MISSING, fields

import pytest

from minidiff import storage
from minidiff.data import digits, emoji
from minidiff.nets import UNetConfig, VAEConfig
from minidiff.recipes import RECIPES, train_recipe
from minidiff.recipes.digits import DIGITS, DIGITS_LONG, digits_with_captions
from minidiff.recipes.digits_pixel import DIGITS_PIXEL, training_digits
from minidiff.recipes.emoji import EMOJI, emoji_with_names
from minidiff.recipes.pixel import PixelRecipe
from minidiff.recipes.text_to_image import TextToImageRecipe
from minidiff.training import TrainConfig


def test_each_name_is_of_its_recipe_and_its_data():
    assert {
        "digits-pixel": (DIGITS_PIXEL, training_digits),
        "digits": (DIGITS, digits_with_captions),
        "digits-long": (DIGITS_LONG, digits_with_captions),
        "emoji": (EMOJI, emoji_with_names),
    } == RECIPES
    assert RECIPES["digits"] != RECIPES["digits-long"]


@pytest.mark.parametrize("recipe", [PixelRecipe, TextToImageRecipe])
def test_a_recipe_gives_every_number(recipe):
    """No number of a recipe has a default, so a recipe can be read without looking anywhere else."""
    assert [
        field.name for field in fields(recipe) if (field.default, field.default_factory) != (MISSING, MISSING)
    ] == []


@pytest.mark.parametrize(("model", "name"), [("digits", "digits-long"), ("emoji", "emoji")])
def test_a_bundled_model_with_prompts_was_made_as_its_recipe_says(model, name):
    recorded, (recipe, _) = storage.read_config(storage.bundled(model)), RECIPES[name]
    for stage in ("vae_training", "text_training", "unet_training"):
        assert TrainConfig(**recorded[stage]) == getattr(recipe, stage)
    assert VAEConfig.from_dict(recorded["vae"] | {"latent_scale": 1.0}) == recipe.vae
    assert UNetConfig.from_dict(recorded["unet"]) == recipe.unet
    assert recorded["text"]["context_length"] == recipe.context_length
    assert recorded["text"]["dim"] == recipe.text_dim
    assert recorded["text"]["vocab_size"] <= recipe.vocab_size  # fewer if the captions have fewer pairs to merge
    for name in ("subject", "schedule", "prediction_type", "guidance_scale"):
        assert recorded[name] == getattr(recipe, name)


def test_the_bundled_model_of_pixels_was_made_as_its_recipe_says():
    recorded, (recipe, _) = storage.read_config(storage.bundled("digits-pixel")), RECIPES["digits-pixel"]
    assert TrainConfig(**recorded["training"]) == recipe.training
    assert UNetConfig.from_dict(recorded["unet"]) == recipe.unet
    for name in ("size", "schedule", "prediction_type", "guidance_scale"):
        assert recorded[name] == getattr(recipe, name)
    assert recipe.younger_step % recipe.training.preview_every == 0  # or the younger network is never written
    assert recipe.younger_step < recipe.training.steps


def test_both_recipes_of_digits_train_the_same_networks():
    for name in ("vae", "unet", "vocab_size", "context_length", "text_dim", "schedule", "prediction_type"):
        assert getattr(DIGITS, name) == getattr(DIGITS_LONG, name)


@pytest.mark.parametrize("name", RECIPES)
def test_changes_reach_the_recipe_of_the_name(name, tmp_path):
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        train_recipe(name, tmp_path / "run", {"steps": 0})
    assert not list(tmp_path.iterdir())


def test_a_folder_is_a_recipe_too(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="no picture"):
        train_recipe(str(tmp_path / "images"), tmp_path / "run", {})


def test_an_unknown_recipe_names_those_that_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"unknown recipe 'cats': choose digits-pixel, digits, digits-long, emoji"):
        train_recipe("cats", tmp_path, {})


@pytest.mark.slow
def test_digits_are_trained_without_the_held_out_triples():
    data = digits_with_captions(1)
    assert len(data) == 4500
    seen = {tuple(digits.parse(captions[0]).items()) for captions in data.captions}
    assert all(
        (scene["colour"], scene["digit"], scene["background"]) not in digits.HELD_OUT for scene in map(dict, seen)
    )
    same = [data.captions[i][0] for i in range(len(data)) if data.concepts[i] == data.concepts[0]]
    assert set(same) == {data.captions[0][0]}


@pytest.mark.slow
def test_near_duplicate_emoji_share_a_concept_and_held_out_pairs_are_never_shown():
    data = emoji_with_names(copies=2)
    concepts = zip(data.captions, data.concepts.tolist(), strict=True)
    by_caption = {captions[0]: concept for captions, concept in concepts}
    assert sum(captions == ("red heart",) for captions in data.captions) == 2
    assert by_caption["man running"] == by_caption["woman running"] != by_caption["red heart"]
    assert by_caption["yellow man running"] == by_caption["yellow woman running"] != by_caption["man running"]
    assert not {f"{colour} {thing}" for colour, thing in emoji.HELD_OUT} & by_caption.keys()
    assert len(by_caption) > 7 * 1631


def test_the_pixel_model_is_trained_on_the_training_digits():
    images = training_digits()
    assert images.shape == (4500, 1, 32, 32)
    assert images.min() >= -1
    assert images.max() <= 1
