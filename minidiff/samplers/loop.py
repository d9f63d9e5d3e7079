"""What all samplers share: the checks at the call, the denoiser's answer, the noise, the past, and the loop."""

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

Times = Sequence[Real]  # the levels to visit, each below the one before: N + 1 of them for N steps
Rng = Generators | None  # where noise is drawn from; None is enough for a sampler that draws none
Noise = Tensor | None  # standard normal noise like x_t, or None for a step that adds none
Constrain = Callable[[Tensor, Real], Tensor] | None  # (x_s, s) -> x_s after each step, from which the next step goes on
History = Sequence[tuple[Real, Prediction]]  # levels above the first and the predictions there, the oldest first


class SamplerStep(NamedTuple):
    """Where a sampler is after a step: the level just reached, x there, and the x̂_0 that the step was made with."""

    t: Real
    x_t: Tensor
    x_0: Tensor


class Step(NamedTuple):
    """A step to be made, from level t to level s, and the scales of both."""

    t: Real
    s: Real
    now: Scales
    next: Scales
    z: Noise = None  # None in a step into level 0, where noise would only blur the result, and where none is drawn
    past: tuple[tuple[Scales, Prediction], ...] = ()  # the predictions of earlier steps, the newest first


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
    """Checks the call, then makes the steps one by one: x_s is `advance(x_t, denoise(x_t, t), step)`.

    `stochastic` draws noise for each step, `memory` predictions are kept, `before` may change x_t and the step, `needs_signal` names what
    cannot begin at a level without signal, `upwards` goes from times[-1] to times[0]. No gradient is recorded within a step.
    Raises TypeError for a denoiser without a schedule, an x that is not floating point and a missing generator; ValueError unless times are
    at least two levels that descend within 0…T, history descends to them, signal is left below the first level, and x has no NaN.
    """
    if not isinstance(getattr(denoise, "schedule", None), Schedule):
        raise TypeError(
            "a sampler needs a denoiser that carries its schedule: prediction.as_denoiser(network, schedule, prediction_type) or "
            f"prediction.Denoiser(schedule, function); got {denoise!r}"
        )
    visited = [*(level for level, _ in history), *times]
    if len(times) < 2 or any(t <= s for t, s in pairwise(visited)):
        raise ValueError(f"times must be at least two levels that descend, from those of history on; got {visited}")
    scales = {t: denoise.schedule.at(t, like=x) for t in visited}
    if (scales[times[1]].signal == 0).any():
        raise ValueError(f"nothing of the data is left at t = {times[1]}: only the first level may have signal 0")
    if needs_signal and (scales[times[0]].signal == 0).any():
        raise ValueError(
            f"{needs_signal} cannot begin at t = {times[0]}: the signal is 0 there, so σ̂ = noise / signal is infinite; begin at a lower level"
        )
    if x.isnan().any():
        raise ValueError(f"x holds NaN: {int(x.isnan().sum())} of {x.numel()} values")
    if stochastic:
        check_generators(generator, x)

    def steps(x_t: Tensor) -> Iterator[SamplerStep]:
        past = deque(maxlen=memory)  # the newest first; beyond `memory` the oldest drop out
        past.extendleft((scales[level], said) for level, said in history)
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
    """The x_t that is left after the last step. Raises ValueError where there was none."""
    steps = deque(iterator, maxlen=1)
    if not steps:
        raise ValueError("the sampler has no steps left: it was used up before")
    return steps[0].x_t
