"""Recall and composition of a model of emoji over its training: the snapshots of a run, each drawn from and judged.

    minidiff train emoji --out runs/emoji
    python data/measure_emoji.py runs/emoji

Writes data/emoji/curve.json: the shares after each snapshot's steps, and those of real pictures beside them.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from minidiff.pipelines import TextToImage
from minidiff.pipelines.evaluate_emoji import evaluate_emoji, train_emoji_judge
from minidiff.training import checkpoint


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
    checkpoint.write_json(arguments.output, curve)
    print(curve)


if __name__ == "__main__":
    main()
