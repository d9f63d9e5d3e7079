r"""Euler's and Heun's methods for $\frac{d\bar x}{d\hat\sigma} = \hat\varepsilon$, $\bar x = x_t / \mathrm{signal}_t$, $\hat\sigma = \mathrm{noise}_t / \mathrm{signal}_t$.

In these coordinates $\bar x = x_0 + \hat\sigma \varepsilon$, and the right-hand side depends on $\bar x$ only through $\hat\varepsilon$.
The steps are written for x_t, such that no number grows with $\hat\sigma$, which is infinite where the signal is 0.
"""

import math
from collections.abc import Iterator
from numbers import Real

from torch import Tensor

from minidiff.diffusion.forward import step_between
from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import Scales
from minidiff.noise import check_generators, randn_like
from minidiff.samplers.loop import Constrain, Noise, Rng, SamplerStep, Step, Times, run

MOST_CHURN = math.sqrt(2) - 1  # Karras et al., 2022, table 5


def euler_step(x_t: Tensor, prediction: Prediction, now: Scales, next: Scales) -> Tensor:
    r"""One step of Euler's method: $\bar x_s = \bar x_t + (\hat\sigma_s - \hat\sigma_t)\,\hat\varepsilon$, which is $x_s = \mathrm{signal}_s\,\hat x_0 + \mathrm{noise}_s\,\hat\varepsilon$, as in DDIM   (`samplers.euler`)
    Source: Karras et al., 2022, algorithm 2, line 6."""
    return prediction.at(next)


def euler_ancestral_step(x_t: Tensor, prediction: Prediction, now: Scales, next: Scales, z: Noise = None) -> Tensor:
    r"""One ancestral step: Euler's method to $\hat\sigma_s^2 / \hat\sigma_t$, below s, then added noise up to $\hat\sigma_s$   (`samplers.euler_ancestral`)

    $\bar x_s = \hat x_0 + \hat\sigma_s \big(r\,\hat\varepsilon + \sqrt{1 - r^2}\,z\big)$, $r = \hat\sigma_s / \hat\sigma_t$: the distribution of DDPM with β̃ and of DDIM with η = 1. Without z the mean.
    Source: Song et al., 2021, section 3 (ancestral sampling); Katherine Crowson's k-diffusion (the name).
    """
    r = (next.noise / next.signal) * (now.signal / now.noise)
    noise = r.to(x_t) * prediction.eps + (0 if z is None else (1 - r**2).sqrt().to(x_t) * z)
    return Prediction(prediction.x_0, noise).at(next)


def heun_step(x_t: Tensor, prediction: Prediction, end: Prediction, now: Scales, next: Scales) -> Tensor:
    r"""One step of Heun's method: $\bar x_s = \bar x_t + (\hat\sigma_s - \hat\sigma_t)\,\frac{\hat\varepsilon_t + \hat\varepsilon_s'}{2}$   (`samplers.heun`), where `end` is the prediction at the end of Euler's step; `now.signal` must not be 0.
    Source: Karras et al., 2022, algorithm 1."""
    half = (next.noise - next.signal * now.noise / now.signal) / 2
    return prediction.at(next) + half.to(x_t) * (end.eps - prediction.eps)


def euler(
    denoise: Denoiser, x: Tensor, times: Times, *, generator: Rng = None, constrain: Constrain = None, churn: Real = 0
) -> Iterator[SamplerStep]:
    r"""Samples with one `euler_step` for each pair of neighbouring levels in `times`.

    churn: each of the N steps first adds noise up to $(1 + \gamma)\,\hat\sigma_t$ with $\gamma = \min(\mathrm{churn}/N, \sqrt2 - 1)$, at most to the
    last finite $\hat\sigma$ of the schedule, and begins there. It needs a generator.
    Raises ValueError or TypeError at the call as `loop.run` does, for a negative churn, and for churn at signal 0 or without a generator.
    Source: Karras et al., 2022, algorithm 2 without lines 7 and 8.
    """

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        return euler_step(x_t, prediction, step.now, step.next)

    return run(advance, denoise, x, times, constrain=constrain, **_churn(denoise, x, times, churn, generator))


def euler_ancestral(
    denoise: Denoiser, x: Tensor, times: Times, *, generator: Rng = None, constrain: Constrain = None
) -> Iterator[SamplerStep]:
    """Samples with one `euler_ancestral_step` for each pair of neighbouring levels in `times`; the step to level 0 adds no noise.
    Raises ValueError or TypeError at the call as `loop.run` does, and without a generator."""

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        return euler_ancestral_step(x_t, prediction, step.now, step.next, step.z)

    return run(advance, denoise, x, times, generator=generator, constrain=constrain, stochastic=True)


def heun(
    denoise: Denoiser, x: Tensor, times: Times, *, generator: Rng = None, constrain: Constrain = None, churn: Real = 0
) -> Iterator[SamplerStep]:
    r"""Samples with one `heun_step` for each pair of neighbouring levels: Euler's step, repeated with the mean slope of both ends.

    A step calls the denoiser twice. A step to level 0, where there is no noise to predict, and a step from a level with signal 0, where
    $\hat\sigma$ is infinite, are Euler's, with one call. churn: as in `euler`.
    Raises ValueError or TypeError at the call as `euler` does. Source: Karras et al., 2022, algorithms 1 and 2.
    """

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        x_s = euler_step(x_t, prediction, step.now, step.next)
        if step.s == 0 or (step.now.signal == 0).any():
            return x_s
        return heun_step(x_t, prediction, denoise(x_s, step.s), step.now, step.next)

    return run(advance, denoise, x, times, constrain=constrain, **_churn(denoise, x, times, churn, generator))


def _churn(denoise: Denoiser, x: Tensor, times: Times, churn: Real, generator: Rng) -> dict:
    """The options of `loop.run` with which each step first adds noise and then begins at a higher noise level."""
    if not 0 <= churn < math.inf:
        raise ValueError(f"churn must be finite and at least 0, got {churn}")
    if churn == 0:
        return {}
    check_generators(generator, x)

    def before(x_t: Tensor, step: Step) -> tuple[Tensor, Step]:
        gamma = min(churn / (len(times) - 1), MOST_CHURN)
        sigma = (step.now.noise / step.now.signal).flatten()[0].item()
        sigmas = denoise.schedule.karras_sigmas
        noisier = min((1 + gamma) * sigma, sigmas[sigmas.isfinite()][-1].item())
        if noisier <= sigma:
            return x_t, step
        t = denoise.schedule.level(noisier)
        now = denoise.schedule.at(t, like=x_t)
        r, beta = step_between(step.now, now)
        return r.to(x_t) * x_t + beta.sqrt().to(x_t) * randn_like(x_t, generator), step._replace(t=t, now=now)

    return {"before": before, "needs_signal": "churn"}
