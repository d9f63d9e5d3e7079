"""How the bundled models are made and judged: `RECIPES` has every number, `train_recipe` trains, `evaluate` judges."""

from functools import partial
from pathlib import Path

from minidiff.recipes.digits import DIGITS, DIGITS_LONG, digits_with_captions
from minidiff.recipes.digits_pixel import DIGITS_PIXEL, training_digits
from minidiff.recipes.emoji import EMOJI, emoji_with_names
from minidiff.recipes.image_folder import IMAGE_FOLDER, folder_with_captions

__all__ = ["RECIPES", "train_recipe"]

RECIPES = {
    "digits-pixel": (DIGITS_PIXEL, training_digits),
    "digits": (DIGITS, digits_with_captions),
    "digits-long": (DIGITS_LONG, digits_with_captions),
    "emoji": (EMOJI, emoji_with_names),
}
"""The name of a recipe, its numbers, and the function that loads its data."""


def train_recipe(name: str, folder: str | Path, changes: dict, *, device: str = "auto", resume: bool = False) -> None:
    """Train the recipe of this name, or a model of the captioned images in the folder `name`.

    `changes` replace numbers of the recipe's last training run. Raises ValueError for an unknown name, and as `training.train` does.
    """
    if name in RECIPES:
        recipe, data = RECIPES[name]
    elif Path(name).is_dir():
        recipe, data = IMAGE_FOLDER, partial(folder_with_captions, name)
    else:
        raise ValueError(f"unknown recipe {name!r}: choose {', '.join(RECIPES)}, or a folder of images with captions")
    recipe.changed(**changes).train(data(), folder, device=device, resume=resume)
