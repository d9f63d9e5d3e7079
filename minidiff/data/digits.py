"""Handwritten digits: 5,000 pictures of MNIST, 500 a class, split once and for all into 4,500 and 500."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from minidiff.data.files import bundled

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
