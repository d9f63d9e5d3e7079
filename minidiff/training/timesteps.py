"""How training draws the timestep t of each example: uniformly, or more often where learning is hardest."""

import math
from collections.abc import Callable
from numbers import Real

import torch
from jaxtyping import Int
from torch import Tensor

from minidiff.diffusion.schedules import Schedule

Timesteps = Callable[[Schedule, int, torch.Generator], Tensor]
"""`timesteps(schedule, count, generator)` draws `count` timesteps in 1…T, shape (count,)."""


def uniform(schedule: Schedule, count: int, generator: torch.Generator) -> Int[Tensor, "count"]:
    """Draw every t in 1…T with the same probability. Source: Ho et al., 2020, algorithm 1."""
    return torch.randint(1, schedule.T + 1, (count,), generator=generator)


def logit_normal(
    schedule: Schedule, count: int, generator: torch.Generator, *, mean: Real = 0.0, std: Real = 1.0
) -> Int[Tensor, "count"]:
    r"""Draw middle timesteps more often than the first and the last: the logit of t / T is Gaussian.

    $t = \lceil T\,\sigma(n) \rceil, \quad n \sim \mathcal N(m, s^2)$; m > 0 prefers much noise, m < 0 little noise; a large s prefers both ends.

    In expectation this weights the error at each t by the density of t. A network that is exact at every t remains the optimum; a
    smaller network spends its capacity where the density is high. Raises ValueError for std ≤ 0 or numbers that are not finite.
    Source: Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024, eq. 19.
    """
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise ValueError(f"mean must be finite, and std positive and finite, got {mean} and {std}")
    fraction = torch.sigmoid(mean + std * torch.randn(count, generator=generator, dtype=torch.float64))
    return (schedule.T * fraction).ceil().long().clamp(1, schedule.T)
