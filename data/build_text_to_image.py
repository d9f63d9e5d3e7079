"""Bundle a run of `minidiff train digits-long` or `emoji`: half-precision weights, vocabulary, a picture of samples, and a
configuration with the training settings of the run's three stages.

    minidiff train digits-long --out runs/digits
    python data/build_text_to_image.py runs/digits digits

Weights differ between machines, and their quality may differ too. Run `minidiff evaluate runs/digits` first.
"""

import argparse
import hashlib
from pathlib import Path

import torch

from minidiff import storage
from minidiff.data import pictures
from minidiff.pipelines import TextToImage
from minidiff.recipes.digits import DIGITS_LONG
from minidiff.recipes.emoji import EMOJI

RECIPES = {"digits": DIGITS_LONG, "emoji": EMOJI}
STAGES = {"vae_training": "1-vae", "text_training": "2-text", "unet_training": "3-unet"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("name", choices=RECIPES, help="the recipe that it followed")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    folder, recipe = arguments.output / arguments.name, RECIPES[arguments.name]
    training = {name: training_of(arguments.run / stage) for name, stage in STAGES.items()}
    model = TextToImage.load(arguments.run, "cpu")
    model.save(folder, dtype=torch.float16, notes={"subject": recipe.subject} | training)
    prompts = [prompt for prompt in recipe.preview_prompts for _ in range(4)]
    samples = TextToImage.load(folder, "cpu").generate(prompts)
    pictures.save_png(pictures.grid(2 * samples - 1, columns=16, scale=2), folder / "samples.png")
    for weights in sorted(folder.glob("*.safetensors")):
        print(f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  {arguments.name}/{weights.name}")


def training_of(stage: Path) -> dict:
    """The training settings in a stage's checkpoint."""
    return storage.read_tensors(stage / storage.CHECKPOINT)[1]["training"]


if __name__ == "__main__":
    main()
