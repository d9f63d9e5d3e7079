"""Gaussian noise that is the same on every device and in every batch.

Noise is drawn on the CPU and then moved, so a seed gives the same noise on CPU and CUDA. With one generator per image, the noise of an
image does not depend on the other images of the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]


def randn_like(x: Tensor, generator: Generators) -> Tensor:
    """Standard normal noise with the shape, dtype and device of x, from one generator or one per item of the batch.

    Raises TypeError without a generator: the global one is never used. Raises ValueError unless a sequence has one generator per item.
    """
    check_generators(generator, x)
    if isinstance(generator, torch.Generator):
        return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return torch.stack([torch.randn(x.shape[1:], generator=one, dtype=x.dtype) for one in generator]).to(x.device)


def check_generators(generator: Generators | None, x: Tensor) -> None:
    """Raises TypeError for anything but a torch.Generator or a sequence of them, ValueError unless a sequence has one per item of x."""
    if isinstance(generator, torch.Generator):
        return
    if not isinstance(generator, Sequence) or not all(isinstance(one, torch.Generator) for one in generator):
        raise TypeError(
            f"generator must be a torch.Generator or a list with one per image, to draw noise; got {generator!r}"
        )
    if len(generator) != len(x):
        raise ValueError(f"expected one generator per image: got {len(generator)} generators for {len(x)} images")


def seeded(seed: int, count: int) -> list[torch.Generator]:
    """One generator per image: image i has the seed `seed + i`, in a batch of any size."""
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]
