r"""DPM-Solver++: the linear part of the equation is solved exactly, and only $\hat x_0$ is extrapolated.

Its own time is $\lambda = \frac12 \log\mathrm{SNR} = \log(\sqrt{\bar\alpha} / \sqrt{1 - \bar\alpha})$, and h is a step of it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real

from torch import Tensor

from minidiff.diffusion.noise import Generators, check_generators, randn_like
from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import NoiseSchedule
from minidiff.samplers.run import SamplerStep, check, iterate


def dpm_solver_pp(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    times: Sequence[Real],
    *,
    generator: Generators | None = None,
    constrain: Callable[[Tensor, Real], Tensor] | None = None,
    order: int = 2,
    stochastic: bool = False,
    history: Sequence[tuple[Real, Prediction]] = (),
) -> Iterator[SamplerStep]:
    r"""$x_s = \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}}\,x_t + \sqrt{\bar\alpha_s}\,(1 - e^{-h})\,D$,
    $\ D = \hat x_0 + \frac{h}{2 h'}(\hat x_0 - \hat x_0')$   (`samplers.dpm_solver_pp`), the primed being of the step before

    order: 2 is "2M", one call a step as DDIM; 1 takes D = x̂_0, which is DDIM. The first step, having no past, and a step into
    level 0, where h is infinite, are of order 1.
    stochastic: "SDE", $x_s = \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}}\,e^{-h} x_t + \sqrt{\bar\alpha_s}\,(1 - e^{-2h})\,D + \sqrt{1 - \bar\alpha_s}\sqrt{1 - e^{-2h}}\,z$   (`samplers.dpm_solver_pp_sde`).
    history: levels above times[0] and what the denoiser said there, of which the last is used.

    Yields after each step. Raises ValueError or TypeError at the call for levels that do not descend, another order, a history that
    is out of order, or a missing generator. Source: Lu et al., DPM-Solver++, 2022, algorithm 2, and appendix D for the SDE.
    """
    alpha_bar = check(schedule, x, times, history)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    if stochastic:
        check_generators(generator, x)
    before = None  # the last step's h, and its x̂_0
    if order == 2 and history:
        level, said = history[-1]
        before = _step_of_lambda(alpha_bar[level], alpha_bar[times[0]]), said.x_0

    def step(x_t: Tensor, t: Real, s: Real) -> tuple[Tensor, Tensor]:
        nonlocal before
        x_0 = denoise(x_t, t).x_0
        h = _step_of_lambda(alpha_bar[t], alpha_bar[s])
        guess = x_0
        if before is not None and s > 0:
            last_h, last_x_0 = before
            guess = x_0 + h / (2 * last_h) * (x_0 - last_x_0)
        if order == 2:
            before = h, x_0
        keep, shrink, signal = math.sqrt((1 - alpha_bar[s]) / (1 - alpha_bar[t])), math.exp(-h), math.sqrt(alpha_bar[s])
        if not stochastic:
            return keep * x_t + signal * (1 - shrink) * guess, x_0
        x_s = keep * shrink * x_t + signal * (1 - shrink**2) * guess
        if s > 0:
            x_s = x_s + math.sqrt((1 - alpha_bar[s]) * (1 - shrink**2)) * randn_like(x_t, generator)
        return x_s, x_0

    return iterate(step, x, times, constrain)


def _step_of_lambda(alpha_bar_t: float, alpha_bar_s: float) -> float:
    """h from level t down to level s: infinite where nothing of the picture is left at t, or nothing of the noise at s."""
    if alpha_bar_t == 0 or alpha_bar_s == 1:
        return math.inf
    return 0.5 * math.log(alpha_bar_s / (1 - alpha_bar_s) * (1 - alpha_bar_t) / alpha_bar_t)
