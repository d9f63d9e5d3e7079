"""Measure the recall and composition of an emoji model at each snapshot of its training.

    minidiff train emoji --out runs/emoji
    python data/measure_emoji.py runs/emoji

Writes data/emoji/curve.json: the steps of each snapshot, the shares for its samples, and the shares for real pictures.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from minidiff import storage
from minidiff.pipelines import TextToImage
from minidiff.recipes.evaluate_emoji import evaluate_emoji
from minidiff.recipes.judges import train_emoji_judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "emoji" / "curve.json")
    arguments = parser.parse_args()
    judge = train_emoji_judge()
    snapshots = sorted((arguments.run / "3-unet").glob("model-*"))
    reports = [evaluate_emoji(TextToImage.load(folder), judge=judge) for folder in tqdm(snapshots)]
    curve = {
        "steps": [int(folder.name.removeprefix("model-")) for folder in snapshots],
        "recall": [report.recall for report in reports],
        "composition": [report.composition.both for report in reports],
        "colour": [report.composition.colour for report in reports],
        "object": [report.composition.thing for report in reports],
        "real_recall": reports[-1].real_recall,
        "real_composition": reports[-1].real_composition.both,
    }
    storage.write_json(arguments.output, curve)
    print(curve)


if __name__ == "__main__":
    main()
