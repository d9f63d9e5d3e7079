"""Which levels of noise a step of training looks at: all as often, or those where most is decided."""

import math
from numbers import Real
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from minidiff.diffusion.schedules import Schedule


@runtime_checkable
class Levels(Protocol):
    """How to draw `count` levels t in 1…T of a schedule."""

    def __call__(self, schedule: Schedule, count: int, generator: torch.Generator) -> Int[Tensor, "count"]: ...


def uniform(schedule: Schedule, count: int, generator: torch.Generator) -> Int[Tensor, "count"]:
    """Every level as likely as the others. Source: Ho et al., 2020, algorithm 1."""
    return torch.randint(1, schedule.T + 1, (count,), generator=generator)


def logit_normal(
    schedule: Schedule, count: int, generator: torch.Generator, *, mean: Real = 0.0, std: Real = 1.0
) -> Int[Tensor, "count"]:
    r"""Middle levels more often than the first and the last: t / T, rounded up, is a Gaussian's sigmoid.

    $t = \lceil T\,\sigma(n) \rceil, \quad n \sim \mathcal N(m, s^2)$; m > 0 prefers much noise, m < 0 little; a large s prefers both ends.

    On average over draws it is the uniform choice with errors weighted by the density, so that a network that is exact at every level
    stays the optimum; a smaller one spends its steps elsewhere. Raises ValueError for std ≤ 0, and where either is not finite.
    Source: Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024, eq. 19.
    """
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise ValueError(f"mean must be finite, and std positive and finite, got {mean} and {std}")
    fraction = torch.sigmoid(mean + std * torch.randn(count, generator=generator, dtype=torch.float64))
    return (schedule.T * fraction).ceil().long().clamp(1, schedule.T)
