"""Bundle a run of `minidiff train digits-pixel`: half-precision weights, their configuration, and a picture of samples.

    minidiff train digits-pixel --out runs/digits-pixel
    python data/build_digits_pixel.py runs/digits-pixel

Trained weights depend on the machine in their last digits, so another machine gives another SHA-256.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch

from minidiff.data import pictures
from minidiff.pipelines import PixelDiffusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("digits-pixel"))
    arguments = parser.parse_args()
    training = json.loads((arguments.run / "config.json").read_text(encoding="utf-8"))["training"]
    model = PixelDiffusion.load(arguments.run, "cpu")
    model.save(arguments.output, dtype=torch.float16, notes={"training": training})
    samples = PixelDiffusion.load(arguments.output, "cpu").generate(64)
    pictures.save_png(pictures.grid(2 * samples - 1, columns=16, scale=2), arguments.output / "samples.png")
    for weights in sorted(arguments.output.glob("*.safetensors")):
        print(f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  {weights.parent.name}/{weights.name}")


if __name__ == "__main__":
    main()
