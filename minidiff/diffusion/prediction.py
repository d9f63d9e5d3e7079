r"""What a network predicts, and how ε, x_0, v, u and the score are computed from one another.

A `Denoiser` maps `(x_t, t, condition=None)` to a Prediction(x_0, eps) and carries the schedule to which its x_t belongs. A sampler uses
nothing else, so trained networks, guided denoisers and exact denoisers in closed form are all sampled in the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minidiff.diffusion.schedules import Batch, Level, Scales, Schedule


class Prediction(NamedTuple):
    r"""Estimates of x_0 and ε that add up to x_t: $x_t = \mathrm{signal}_t\, \hat x_0 + \mathrm{noise}_t\, \hat\varepsilon$."""

    x_0: Tensor
    eps: Tensor

    def at(self, scales: Scales) -> Tensor:
        """The sample at another noise level with the same x̂_0 and ε̂: signal · x̂_0 + noise · ε̂."""
        return scales.signal.to(self.x_0) * self.x_0 + scales.noise.to(self.eps) * self.eps


@dataclass(frozen=True)
class Denoiser:
    """Calling `denoise(x_t, t, condition=None)` returns a Prediction; x_t belongs to `denoise.schedule`.

    `predict` is a function of `(x_t, t)` or `(x_t, t, condition)`. A condition of None is not passed on.
    """

    schedule: Schedule
    predict: Callable[..., Prediction]

    def __call__(self, x_t: Tensor, t: Level, condition: Any = None) -> Prediction:
        return self.predict(x_t, t) if condition is None else self.predict(x_t, t, condition)


def from_eps(schedule: Schedule, x_t: Batch, value: Batch, t: Level) -> Prediction:
    r"""Converts ε̂ to a Prediction: $\hat x_0 = (x_t - \mathrm{noise}_t\, \hat\varepsilon) / \mathrm{signal}_t$   (`prediction.x_0_from_eps`), t in 1…T
    Raises ValueError for any other t, and where the signal is 0. Source: Ho et al., 2020, eq. 15."""
    signal, noise = _scales(schedule, x_t, value, t)
    if (signal == 0).any():
        raise ValueError(
            f"ε does not determine x_0 where the signal is 0 (t = {t}): predict v, u or x_0, or begin at a lower level"
        )
    return Prediction((x_t - noise.to(x_t) * value) / signal.to(x_t), value)


def from_x_0(schedule: Schedule, x_t: Batch, value: Batch, t: Level) -> Prediction:
    r"""Converts x̂_0 to a Prediction: $\hat\varepsilon = (x_t - \mathrm{signal}_t\, \hat x_0) / \mathrm{noise}_t$   (`prediction.eps_from_x_0`), t in 1…T
    Raises ValueError for any other t; at t = 0 there is no noise. Source: Ho et al., 2020, eq. 4 solved for ε."""
    signal, noise = _scales(schedule, x_t, value, t)
    return Prediction(value, (x_t - signal.to(x_t) * value) / noise.to(x_t))


def from_v(schedule: Schedule, x_t: Batch, value: Batch, t: Level) -> Prediction:
    r"""Converts v̂ to a Prediction: $\hat x_0 = \frac{\mathrm{signal}_t\, x_t - \mathrm{noise}_t\, \hat v}{\mathrm{signal}_t^2 + \mathrm{noise}_t^2}$ (`prediction.x_0_from_v`),
    $\hat\varepsilon = \frac{\mathrm{noise}_t\, x_t + \mathrm{signal}_t\, \hat v}{\mathrm{signal}_t^2 + \mathrm{noise}_t^2}$   (`prediction.eps_from_v`), t in 1…T

    The denominator is 1 for DDPM's schedules, and never 0. Raises ValueError for any other t. Source: Salimans & Ho, Progressive Distillation for Fast Sampling of Diffusion Models, 2022, appendix D.
    """
    signal, noise = _scales(schedule, x_t, value, t)
    denominator = signal**2 + noise**2
    to_signal, to_noise = (signal / denominator).to(x_t), (noise / denominator).to(x_t)
    return Prediction(to_signal * x_t - to_noise * value, to_noise * x_t + to_signal * value)


def from_u(schedule: Schedule, x_t: Batch, value: Batch, t: Level) -> Prediction:
    r"""Converts û to a Prediction: $\hat x_0 = \frac{x_t - \mathrm{noise}_t\, \hat u}{\mathrm{signal}_t + \mathrm{noise}_t}$ (`prediction.x_0_from_u`),
    $\hat\varepsilon = \frac{x_t + \mathrm{signal}_t\, \hat u}{\mathrm{signal}_t + \mathrm{noise}_t}$   (`prediction.eps_from_u`), t in 1…T

    The denominator is 1 for flow matching. Raises ValueError for any other t.
    Source: Liu et al., Flow Straight and Fast, 2023, eq. 1; their time goes from noise to data, so their velocity is -u.
    """
    signal, noise = _scales(schedule, x_t, value, t)
    denominator = (signal + noise).to(x_t)
    return Prediction((x_t - noise.to(x_t) * value) / denominator, (x_t + signal.to(x_t) * value) / denominator)


def v(schedule: Schedule, x_0: Batch, eps: Batch, t: Level) -> Batch:
    r"""The target of a v-prediction: $v_t = \mathrm{signal}_t\, \varepsilon - \mathrm{noise}_t\, x_0$   (`prediction.v`), t in 0…T
    Raises ValueError for any other t. Source: Salimans & Ho, 2022, appendix D."""
    signal, noise = _scales(schedule, x_0, eps, t, noisy=False)
    return signal.to(x_0) * eps - noise.to(x_0) * x_0


def u(x_0: Batch, eps: Batch) -> Batch:
    r"""The target of flow matching: $u = \varepsilon - x_0$   (`prediction.u`), the same at every noise level.

    On a flow schedule it is the velocity $dx_\tau / d\tau$ for growing noise τ. Source: Liu et al., 2023, eq. 1, with the opposite sign.
    """
    return eps - x_0


def score(schedule: Schedule, eps: Batch, t: Level) -> Batch:
    r"""The score $\nabla_{x_t} \log q(x_t) = -\hat\varepsilon / \mathrm{noise}_t$   (`prediction.score`), t in 1…T
    Raises ValueError for any other t. Source: Song et al., Score-Based Generative Modeling through SDEs, 2021; Vincent, 2011."""
    return -eps / schedule.at(t, like=eps, noisy=True).noise.to(eps)


FROM = {"eps": from_eps, "x_0": from_x_0, "v": from_v, "u": from_u}


def target(prediction_type: str, schedule: Schedule, x_0: Batch, eps: Batch, t: Level) -> Batch:
    """The value that a network of this prediction type is trained to predict at x_t. Raises ValueError for an unknown type."""
    check_type(prediction_type)
    if prediction_type == "v":
        return v(schedule, x_0, eps, t)
    return {"eps": eps, "x_0": x_0, "u": u(x_0, eps)}[prediction_type]


def as_denoiser(
    model: Callable[..., Tensor], schedule: Schedule, prediction_type: str, time_offset: int = 0
) -> Denoiser:
    """A denoiser that calls a network and converts its prediction of ε, x_0, v or u.

    The network is called with `(x_t, t)` or `(x_t, t, condition)`; this t is a (B,) tensor on x_t's device, with time_offset added.
    Use an offset of -1 for published checkpoints, which count from 0.
    Raises ValueError for a prediction type other than "eps", "x_0", "v" and "u".
    """
    check_type(prediction_type)

    def predict(x_t: Tensor, t: Level, *condition: Any) -> Prediction:
        timesteps = torch.as_tensor(t, device=x_t.device).expand(x_t.shape[0]) + time_offset
        return FROM[prediction_type](schedule, x_t, model(x_t, timesteps, *condition), t)

    return Denoiser(schedule, predict)


def clip_x_0(denoise: Denoiser, low: Real = -1, high: Real = 1) -> Denoiser:
    """A denoiser with x̂_0 clipped to low…high, the range of the data, and ε̂ recomputed from the clipped x̂_0.
    Raises ValueError where low is not below high. Source: Ho et al., 2020, their published sampler."""
    if not low < high:
        raise ValueError(f"low must be below high to clip x̂_0, got {low} and {high}")

    def clipped(x_t: Tensor, t: Level, *condition: Any) -> Prediction:
        x_0 = denoise(x_t, t, *condition).x_0
        return from_x_0(denoise.schedule, x_t, x_0.clamp(low, high), t)

    return Denoiser(denoise.schedule, clipped)


def check_type(prediction_type: str) -> None:
    """Raises ValueError unless the prediction type is "eps", "x_0", "v" or "u"."""
    if prediction_type not in FROM:
        raise ValueError(f"unknown prediction type {prediction_type!r}: choose one of {', '.join(FROM)}")


def _scales(schedule: Schedule, a: Tensor, b: Tensor, t: Level, noisy: bool = True) -> Scales:
    """signal and noise at t for a and b. Raises ValueError where a and b differ in shape."""
    if a.shape != b.shape:
        raise ValueError(f"both tensors must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return schedule.at(t, like=a, noisy=noisy)
