"""Handwritten digits: 5,000 pictures of MNIST, 500 per class, in a fixed split of 4,500 and 500.

`load` returns the grey pictures. `captioned` returns them in colour, each with the scene that captions describe.
"""

from collections.abc import Iterator
from itertools import product
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from minidiff.data.captions import captions, parse
from minidiff.data.drawing import render
from minidiff.data.scenes import BACKGROUNDS, COLOURS, HELD_OUT, SIZES, Scene
from minidiff.storage import bundled

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "HELD_OUT",
    "SIZES",
    "SPLITS",
    "Scene",
    "captioned",
    "captions",
    "load",
    "parse",
    "render",
]

SPLITS = ("train", "test")


def load(split: Literal["train", "test"] = "train") -> tuple[Float[Tensor, "n 1 32 32"], Int[Tensor, "n"]]:
    """Pictures, float32 in [-1, 1] with the background at -1, and their labels 0…9, int64.

    `train` has 4,500 pictures, 450 per class. `test` has 500, 50 per class. Both are in a fixed, shuffled order. The
    original 28×28 pixels are unchanged, with two pixels of background on each side.

    Raises ValueError if the split is neither "train" nor "test".
    Source: MNIST, LeCun and Cortes; `data/README.md` says how the file is built.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    with np.load(bundled("digits.npz"), allow_pickle=False) as arrays:
        pixels = torch.from_numpy(arrays[f"{split}_images"])
        labels = torch.from_numpy(arrays[f"{split}_labels"])
    return pixels[:, None].float() / 127.5 - 1, labels.long()


def captioned(
    split: Literal["train", "test"] = "train",
    *,
    count_per_digit_image: int = 1,
    seed: int = 0,
    held_out_only: bool = False,
) -> tuple[Float16[Tensor, "n 3 32 32"], list[Scene]]:
    """Every handwritten digit of a split in `count_per_digit_image` random scenes: the pictures and their scenes.

    The pictures are in [-1, 1], float16 to halve the memory: call `.float()` on each batch. `seed` determines colours,
    backgrounds, sizes and positions. Within a digit class, the counts of any two allowed combinations differ by at most one.
    `train` never shows a triple of HELD_OUT. `test` shows all triples, or with `held_out_only` only those of HELD_OUT.

    Raises ValueError if the split is unknown, the count is below 1, or `held_out_only` is set for `train`.
    """
    if count_per_digit_image < 1:
        raise ValueError(f"count_per_digit_image must be at least 1, got {count_per_digit_image}")
    if split == "train" and held_out_only:
        raise ValueError("held_out_only=True needs split='test', got 'train': training never sees held-out triples")
    images, labels = load(split)
    generator = torch.Generator().manual_seed(seed)
    wanted = {"train": (False,), "test": (True,) if held_out_only else (False, True)}[split]
    all_scenes = [Scene(*attributes) for attributes in product(range(10), COLOURS, BACKGROUNDS, SIZES)]
    allowed = [[s for s in all_scenes if s.digit == digit and s.is_held_out in wanted] for digit in range(10)]
    draws = [_shuffled_without_end(scenes, generator) for scenes in allowed]
    scenes = [next(draws[digit]) for digit in labels.tolist() * count_per_digit_image]
    pictures = torch.empty(len(scenes), 3, 32, 32, dtype=torch.float16)
    for i, scene in enumerate(scenes):
        pictures[i] = render(images[i % len(images)], scene, generator=generator)
    return pictures, scenes


def _shuffled_without_end(scenes: list[Scene], generator: torch.Generator) -> Iterator[Scene]:
    """All scenes in a random order, then all of them again in a new random order, without end."""
    while True:
        for i in torch.randperm(len(scenes), generator=generator).tolist():
            yield scenes[i]
