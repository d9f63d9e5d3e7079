r"""Euler's and Heun's methods for $\frac{d\bar x}{d\hat\sigma} = \hat\varepsilon$, $\bar x = x_t / \sqrt{\bar\alpha_t}$, $\hat\sigma = \sqrt{(1 - \bar\alpha_t)/\bar\alpha_t}$.

In these coordinates noise is simply added, $\bar x = x_0 + \hat\sigma \varepsilon$, and the equation has no term of its own in $\bar x$.
They are written here for x_t itself: no number grows with $\hat\sigma$, which is infinite where nothing of the picture is left.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real

from torch import Tensor

from minidiff.diffusion.forward import q_transition
from minidiff.diffusion.noise import Generators, check_generators, randn_like
from minidiff.diffusion.prediction import Denoiser
from minidiff.diffusion.schedules import NoiseSchedule
from minidiff.samplers.run import SamplerStep, check, iterate

MOST_CHURN = math.sqrt(2) - 1


def euler(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    times: Sequence[Real],
    *,
    generator: Generators | None = None,
    constrain: Callable[[Tensor, Real], Tensor] | None = None,
    churn: Real = 0.0,
) -> Iterator[SamplerStep]:
    r"""$\bar x_s = \bar x_t + (\hat\sigma_s - \hat\sigma_t)\,\hat\varepsilon$, which is $x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1 - \bar\alpha_s}\,\hat\varepsilon$: DDIM   (`samplers.euler`)

    churn: before each of N steps noise is added, up to $(1 + \gamma)\,\hat\sigma_t$ with $\gamma = \min(\mathrm{churn}/N, \sqrt2 - 1)$, but not above
    the schedule's last level; the step then begins there. It needs a generator.
    Yields after each step. Raises ValueError or TypeError at the call for levels that do not descend, a negative churn, churn
    from a level where ᾱ_t = 0, or a missing generator. Source: Karras et al., 2022, algorithm 2 without lines 7 and 8.
    """
    alpha_bar = check(schedule, x, times)
    _check_churn(churn, alpha_bar[times[0]], generator, x)
    most = churn / (len(times) - 1)

    def step(x_t: Tensor, t: Real, s: Real) -> tuple[Tensor, Tensor]:
        x_t, t, _ = _churned(schedule, x_t, t, alpha_bar[t], most, generator)
        x_0, eps = denoise(x_t, t)
        return math.sqrt(alpha_bar[s]) * x_0 + math.sqrt(1 - alpha_bar[s]) * eps, x_0

    return iterate(step, x, times, constrain)


def euler_ancestral(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    times: Sequence[Real],
    *,
    generator: Generators | None = None,
    constrain: Callable[[Tensor, Real], Tensor] | None = None,
) -> Iterator[SamplerStep]:
    r"""Euler's step below s, to $\hat\sigma_s^2 / \hat\sigma_t$, then noise back up to $\hat\sigma_s$   (`samplers.euler_ancestral`)

    $\bar x_s = \hat x_0 + \hat\sigma_s \big(r\,\hat\varepsilon + \sqrt{1 - r^2}\,z\big)$, $r = \hat\sigma_s / \hat\sigma_t$: the law of DDPM with β̃, and DDIM's with η = 1.

    Yields after each step. Raises ValueError or TypeError at the call for levels that do not descend, or no generator.
    Source: Song et al., 2021, section 3 (ancestral sampling); Katherine Crowson's k-diffusion, where it got this name.
    """
    alpha_bar = check(schedule, x, times)
    check_generators(generator, x)

    def step(x_t: Tensor, t: Real, s: Real) -> tuple[Tensor, Tensor]:
        x_0, eps = denoise(x_t, t)
        if s == 0:
            return x_0, x_0
        r_squared = alpha_bar[t] * (1 - alpha_bar[s]) / (alpha_bar[s] * (1 - alpha_bar[t]))
        noise = math.sqrt(r_squared) * eps + math.sqrt(1 - r_squared) * randn_like(x_t, generator)
        return math.sqrt(alpha_bar[s]) * x_0 + math.sqrt(1 - alpha_bar[s]) * noise, x_0

    return iterate(step, x, times, constrain)


def heun(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    times: Sequence[Real],
    *,
    generator: Generators | None = None,
    constrain: Callable[[Tensor, Real], Tensor] | None = None,
    churn: Real = 0.0,
) -> Iterator[SamplerStep]:
    r"""Euler's step to $x_s'$, then once more with the mean of both ends' slopes:

    $\bar x_s = \bar x_t + (\hat\sigma_s - \hat\sigma_t)\,\frac{\hat\varepsilon_t + \hat\varepsilon_s'}{2}$   (`samplers.heun`)

    Two calls a step, and one for a step into level 0: there is no noise to ask about. churn: as `euler`'s.
    Yields after each step. Raises ValueError or TypeError at the call as `euler` does, and where ᾱ_t = 0 at the first level: the
    mean of two slopes over an infinite step is no number. Source: Karras et al., 2022, algorithms 1 and 2.
    """
    alpha_bar = check(schedule, x, times)
    if alpha_bar[times[0]] == 0:
        raise ValueError(
            f"karras_sigma is infinite at t = {times[0]}, where ᾱ_t = 0: begin Heun's method at a lower level"
        )
    _check_churn(churn, alpha_bar[times[0]], generator, x)
    most = churn / (len(times) - 1)

    def step(x_t: Tensor, t: Real, s: Real) -> tuple[Tensor, Tensor]:
        x_t, t, alpha_bar_t = _churned(schedule, x_t, t, alpha_bar[t], most, generator)
        x_0, eps = denoise(x_t, t)
        signal, noise = math.sqrt(alpha_bar[s]), math.sqrt(1 - alpha_bar[s])
        x_s = signal * x_0 + noise * eps
        if s == 0:
            return x_s, x_0
        turn = denoise(x_s, s).eps - eps
        return x_s + 0.5 * (noise - signal * math.sqrt((1 - alpha_bar_t) / alpha_bar_t)) * turn, x_0

    return iterate(step, x, times, constrain)


def _check_churn(churn: Real, alpha_bar: float, generator: Generators | None, x: Tensor) -> None:
    if not 0 <= churn < math.inf:
        raise ValueError(f"churn must be 0, for none, or positive; got {churn}")
    if churn > 0:
        check_generators(generator, x)
        if alpha_bar == 0:
            raise ValueError("no noise can be added where ᾱ_t = 0: begin at a lower level, or leave out churn")


def _churned(
    schedule: NoiseSchedule, x_t: Tensor, t: Real, alpha_bar_t: float, most: Real, generator: Generators | None
) -> tuple[Tensor, Real, float]:
    """A little way forward in the process: x at a noisier level, that level, and its ᾱ."""
    if most == 0:
        return x_t, t, alpha_bar_t
    karras_sigma = math.sqrt((1 - alpha_bar_t) / alpha_bar_t)
    sigmas = schedule.karras_sigmas
    noisier = min((1 + min(most, MOST_CHURN)) * karras_sigma, sigmas[sigmas.isfinite()][-1].item())
    if noisier <= karras_sigma:
        return x_t, t, alpha_bar_t
    level = schedule.level(noisier)
    mean, variance = q_transition(schedule, x_t, t, level)
    return mean + variance.sqrt() * randn_like(x_t, generator), level, 1 / (1 + noisier**2)
