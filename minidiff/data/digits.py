"""Handwritten digits: 5,000 pictures of MNIST, 500 a class, split once and for all into 4,500 and 500; plain, or in colour and with captions."""

from collections.abc import Iterator
from itertools import product
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from minidiff.data.captions import captions, parse
from minidiff.data.drawing import render
from minidiff.data.files import bundled
from minidiff.data.scenes import BACKGROUNDS, COLOURS, HELD_OUT, SIZES, Scene

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

    `train` has 4,500 pictures, 450 a class; `test` has 500, 50 a class; both in a fixed, mixed order. The original
    28×28 pixels are kept as they are, with two of background on each side.

    Raises ValueError where the split is another one.
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
    """Every handwritten digit of a split, `count_per_digit_image` times, in scenes of its own: pictures and scenes.

    The pictures are in [-1, 1], float16 to halve the memory: call `.float()` on each batch. Colours, backgrounds,
    sizes and places are drawn from `seed`; of each digit, every allowed combination comes up as often as any other, to
    within one. `train` never shows a triple of HELD_OUT; `test` shows all, or with `held_out_only` those alone.

    Raises ValueError where the split is another one, the count is below 1, or held-out triples are asked of `train`.
    """
    if count_per_digit_image < 1:
        raise ValueError(f"count_per_digit_image must be at least 1, got {count_per_digit_image}")
    if split == "train" and held_out_only:
        raise ValueError("training never sees the held-out triples: ask split='test' for them")
    images, labels = load(split)
    generator = torch.Generator().manual_seed(seed)
    wanted = {"train": (False,), "test": (True,) if held_out_only else (False, True)}[split]
    every = [Scene(*attributes) for attributes in product(range(10), COLOURS, BACKGROUNDS, SIZES)]
    decks = [[scene for scene in every if scene.digit == digit and scene.is_held_out in wanted] for digit in range(10)]
    dealt = [_deal(deck, generator) for deck in decks]
    scenes = [next(dealt[digit]) for digit in labels.tolist() * count_per_digit_image]
    pictures = torch.empty(len(scenes), 3, 32, 32, dtype=torch.float16)
    for i, scene in enumerate(scenes):
        pictures[i] = render(images[i % len(images)], scene, generator=generator)
    return pictures, scenes


def _deal(deck: list[Scene], generator: torch.Generator) -> Iterator[Scene]:
    """The scenes in a random order, then all of them again in another, without end."""
    while True:
        for i in torch.randperm(len(deck), generator=generator).tolist():
            yield deck[i]
