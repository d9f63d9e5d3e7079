"""Gaussian noise that is the same on every device and in every batch.

It is drawn on the CPU and then moved, so that a seed means the same on CPU and CUDA; and with one generator an image, no image
depends on the batch that it is drawn in.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]


def randn_like(x: Tensor, generator: Generators) -> Tensor:
    """Standard normal noise of x's shape, dtype and device, from one generator or from one an item of the batch.

    Raises TypeError where there is no generator (the global one is never used), ValueError where their number is not x's batch size.
    """
    check_generators(generator, x)
    if isinstance(generator, torch.Generator):
        return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return torch.stack([torch.randn(x.shape[1:], generator=one, dtype=x.dtype) for one in generator]).to(x.device)


def check_generators(generator: Generators | None, x: Tensor) -> None:
    """Raises TypeError unless there is a torch.Generator or a sequence of them, ValueError unless there is one for each item of x."""
    if isinstance(generator, torch.Generator):
        return
    if not isinstance(generator, Sequence) or not all(isinstance(one, torch.Generator) for one in generator):
        raise TypeError(
            f"noise is drawn here: pass generator=, a torch.Generator or one for each image; got {generator!r}"
        )
    if len(generator) != len(x):
        raise ValueError(f"one generator an image: got {len(generator)} generators for {len(x)} images")


def seeded(seed: int, count: int) -> list[torch.Generator]:
    """One generator for each of `count` images: image i is drawn from `seed + i`, whatever batch it is in."""
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]
