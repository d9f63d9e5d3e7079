"""Bundle a run of `minidiff train digits-long` or `emoji`: half-precision weights, vocabulary, configuration with the numbers of
the run's three stages, and a picture of samples.

    minidiff train digits-long --out runs/digits
    python data/build_text_to_image.py runs/digits digits

Another machine's weights will differ, and so may what they are worth: `minidiff evaluate runs/digits` first.
"""

import argparse
import hashlib
from pathlib import Path

import torch

from minidiff.data import pictures
from minidiff.pipelines import TextToImage, recipes
from minidiff.training import checkpoint

RECIPES = {"digits": recipes.DIGITS_LONG, "emoji": recipes.EMOJI}
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
    """The numbers that a stage was trained with, as its checkpoint has them."""
    return checkpoint.read_tensors(stage / checkpoint.CHECKPOINT)[1]["training"]


if __name__ == "__main__":
    main()
