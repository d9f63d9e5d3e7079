"""What all samplers share: the check at the call, and the loop."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.diffusion.prediction import Prediction
from minidiff.diffusion.schedules import NoiseSchedule

Step = Callable[[Tensor, Real, Real], tuple[Tensor, Tensor]]
"""(x_t, t, s) -> (x_s, x̂_0): one step down from level t to level s."""


class SamplerStep(NamedTuple):
    """Where a sampler is after a step: the level just reached, x there, and the x̂_0 that the step was made with."""

    t: Real
    x_t: Tensor
    x_0: Tensor


def check(
    schedule: NoiseSchedule, x: Tensor, times: Sequence[Real], history: Sequence[tuple[Real, Prediction]] = ()
) -> dict[Real, float]:
    """ᾱ at each level of history and times, as plain numbers: they multiply a tensor of any dtype, on any device.

    Raises ValueError unless times are at least two levels that descend within 0…T, with something of the picture left below the first,
    unless those of history descend to them, and x is a batch without NaN; TypeError unless x is floating point.
    """
    if len(times) < 2 or any(t <= s for t, s in pairwise(times)):
        raise ValueError(f"times must be at least two levels, each below the one before; got {list(times)}")
    visited = [*(level for level, _ in history), *times]
    if any(t <= s for t, s in pairwise(visited)):
        raise ValueError(f"history must hold levels that descend to {times[0]}, the oldest first; got {visited}")
    schedule.at(times[0], like=x)
    alpha_bar = {t: schedule.alpha_bar(t) for t in visited}
    if alpha_bar[times[1]] == 0:
        raise ValueError(
            f"ᾱ = 0 at t = {times[1]}: only the first level may be one where nothing of the picture is left"
        )
    return alpha_bar


def iterate(
    step: Step, x: Tensor, times: Sequence[Real], constrain: Callable[[Tensor, Real], Tensor] | None
) -> Iterator[SamplerStep]:
    """Takes the steps one by one. No gradient is recorded in them; between them the caller's own setting holds."""
    for t, s in pairwise(times):
        with torch.no_grad():
            x, x_0 = step(x, t, s)
            if constrain is not None:
                x = constrain(x, s)
        yield SamplerStep(s, x, x_0)


def final(iterator: Iterable[SamplerStep]) -> Tensor:
    """The x_t that is left after the last step. Raises ValueError where there was none."""
    steps = deque(iterator, maxlen=1)
    if not steps:
        raise ValueError("the sampler has no steps left: it was used up before")
    return steps[0].x_t
