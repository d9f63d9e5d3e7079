"""Bundle a run of `minidiff train digits` or `emoji`: half-precision weights, vocabulary, configuration, and a picture of samples.

    minidiff train digits --out runs/digits
    python data/build_text_to_image.py runs/digits digits

The weights depend on the machine that trained them, in their last digits: another machine's SHA-256 will differ.
"""

import argparse
import hashlib
from pathlib import Path

import torch

from minidiff.data import pictures
from minidiff.pipelines import TextToImage, recipes

RECIPES = {"digits": recipes.DIGITS, "emoji": recipes.EMOJI}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("name", choices=RECIPES, help="the recipe that it followed")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    folder, recipe = arguments.output / arguments.name, RECIPES[arguments.name]
    training = {stage: getattr(recipe, stage).to_dict() for stage in ("vae_training", "text_training", "unet_training")}
    model = TextToImage.load(arguments.run, "cpu")
    model.save(folder, dtype=torch.float16, notes={"subject": recipe.subject} | training)
    prompts = [prompt for prompt in recipe.preview_prompts for _ in range(4)]
    samples = TextToImage.load(folder, "cpu").generate(prompts)
    pictures.save_png(pictures.grid(2 * samples - 1, columns=16, scale=2), folder / "samples.png")
    for weights in sorted(folder.glob("*.safetensors")):
        print(f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  {arguments.name}/{weights.name}")


if __name__ == "__main__":
    main()
