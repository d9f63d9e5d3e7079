"""The loop of all samplers: it checks the call, calls the denoiser, draws noise, keeps earlier predictions and yields the steps."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import Scales, Schedule
from minidiff.noise import Generators, check_generators, randn_like

Times = Sequence[Real]  # the levels to visit, descending: N + 1 levels for N steps
Rng = Generators | None  # the source of noise; None for a sampler that draws none
Noise = Tensor | None  # standard normal noise like x_t, or None for a step that adds none
Constrain = Callable[[Tensor, Real], Tensor] | None  # (x_s, s) -> the x_s with which the next step begins
History = Sequence[tuple[Real, Prediction]]  # earlier levels with their predictions, the oldest first


class SamplerStep(NamedTuple):
    """The state after a step: the level that was reached, the sample x_t there, and the x̂_0 of the step."""

    t: Real
    x_t: Tensor
    x_0: Tensor


class Step(NamedTuple):
    """The step from level t to level s: scales, noise and earlier predictions."""

    t: Real
    s: Real
    now: Scales
    next: Scales
    z: Noise = None  # None in a step to level 0, and for a deterministic sampler
    past: tuple[tuple[Scales, Prediction], ...] = ()  # earlier predictions, the newest first


def run(
    advance: Callable[[Tensor, Prediction, Step], Tensor],
    denoise: Denoiser,
    x: Tensor,
    times: Times,
    *,
    generator: Rng = None,
    constrain: Constrain = None,
    stochastic: bool = False,
    history: History = (),
    memory: int = 0,
    before: Callable[[Tensor, Step], tuple[Tensor, Step]] | None = None,
    needs_signal: str | None = None,
    upwards: bool = False,
) -> Iterator[SamplerStep]:
    """Checks the call, then yields the steps one by one: x_s is `advance(x_t, denoise(x_t, t), step)`, computed without gradients.

    stochastic: draw noise for each step. memory: number of predictions to keep. before: may change x_t and the step. needs_signal: what
    cannot begin at signal 0, for the error message. upwards: go from times[-1] to times[0].
    Raises TypeError for a denoiser without a schedule, an x that is not floating point, or a missing generator. Raises ValueError unless
    times are at least two descending levels in 0…T, below those of history, with signal > 0 after the first; and where x has NaN.
    """
    if not isinstance(getattr(denoise, "schedule", None), Schedule):
        raise TypeError(
            f"expected a denoiser that carries its schedule, got {denoise!r}: make one with "
            "prediction.as_denoiser(network, schedule, prediction_type) or prediction.Denoiser(schedule, function)"
        )
    visited = [*(level for level, _ in history), *times]
    if len(times) < 2 or any(t <= s for t, s in pairwise(visited)):
        raise ValueError(f"times must be at least two descending levels, below those of history; got {visited}")
    scales = {t: denoise.schedule.at(t, like=x) for t in visited}
    if (scales[times[1]].signal == 0).any():
        raise ValueError(f"only the first level may have signal 0, but the signal is 0 at t = {times[1]}")
    if needs_signal and (scales[times[0]].signal == 0).any():
        raise ValueError(
            f"{needs_signal} cannot begin at t = {times[0]}: the signal is 0 there; begin at a lower level"
        )
    if x.isnan().any():
        raise ValueError(f"x must not contain NaN, got NaN in {int(x.isnan().sum())} of {x.numel()} values")
    if stochastic:
        check_generators(generator, x)

    def steps(x_t: Tensor) -> Iterator[SamplerStep]:
        past = deque(maxlen=memory)  # the newest first; more than `memory` drop the oldest
        past.extendleft((scales[level], prediction) for level, prediction in history)
        for t, s in pairwise(times[::-1] if upwards else times):
            with torch.no_grad():
                z = randn_like(x_t, generator) if stochastic and s > 0 else None
                step = Step(t, s, scales[t], scales[s], z, tuple(past))
                if before is not None:
                    x_t, step = before(x_t, step)
                prediction = denoise(x_t, step.t)
                x_t = advance(x_t, prediction, step)
                past.appendleft((step.now, prediction))
                if constrain is not None:
                    x_t = constrain(x_t, s)
            yield SamplerStep(s, x_t, prediction.x_0)

    return steps(x)


def final(iterator: Iterable[SamplerStep]) -> Tensor:
    """The x_t after the last step. Raises ValueError where no step is left."""
    steps = deque(iterator, maxlen=1)
    if not steps:
        raise ValueError("the sampler has no steps left: it can be iterated only once")
    return steps[0].x_t
