r"""What a network predicts, and how each of ε, x_0, v and the score tells all the others.

A `Denoiser` is a callable `(x_t, t) -> Prediction(x_0, eps)`. Samplers know nothing else: a trained network, a guided one and an
exact one known in closed form look the same to them.
"""

from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.schedules import Level, NoiseSchedule


class Prediction(NamedTuple):
    r"""The two ends of the line on which x_t lies: $x_t = \sqrt{\bar\alpha_t}\, \hat x_0 + \sqrt{1 - \bar\alpha_t}\, \hat\varepsilon$."""

    x_0: Tensor
    eps: Tensor


Denoiser = Callable[..., Prediction]


def from_eps(
    schedule: NoiseSchedule, x_t: Float[Tensor, "b *shape"], value: Float[Tensor, "b *shape"], t: Level
) -> Prediction:
    r"""$\hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \hat\varepsilon) / \sqrt{\bar\alpha_t}$   (`prediction.x_0_from_eps`), t in 1…T

    Raises ValueError for any other t, and where $\bar\alpha_t = 0$. Source: Ho et al., 2020, eq. 15.
    """
    signal, noise = _scales(schedule, x_t, value, t)
    if signal == 0 if isinstance(signal, float) else not signal.all():
        raise ValueError(f"the noise says nothing of x_0 where ᾱ_t = 0 (t = {t}): predict v or x_0 there")
    return Prediction((x_t - noise * value) / signal, value)


def from_x_0(
    schedule: NoiseSchedule, x_t: Float[Tensor, "b *shape"], value: Float[Tensor, "b *shape"], t: Level
) -> Prediction:
    r"""$\hat\varepsilon = (x_t - \sqrt{\bar\alpha_t}\, \hat x_0) / \sqrt{1 - \bar\alpha_t}$   (`prediction.eps_from_x_0`), t in 1…T

    Raises ValueError for any other t: at t = 0 there is no noise to speak of. Source: Ho et al., 2020, eq. 4 solved for ε.
    """
    signal, noise = _scales(schedule, x_t, value, t)
    return Prediction(value, (x_t - signal * value) / noise)


def from_v(
    schedule: NoiseSchedule, x_t: Float[Tensor, "b *shape"], value: Float[Tensor, "b *shape"], t: Level
) -> Prediction:
    r"""$\hat x_0 = \sqrt{\bar\alpha_t}\, x_t - \sqrt{1 - \bar\alpha_t}\, \hat v$ (`prediction.x_0_from_v`),
    $\hat\varepsilon = \sqrt{1 - \bar\alpha_t}\, x_t + \sqrt{\bar\alpha_t}\, \hat v$   (`prediction.eps_from_v`), t in 1…T

    No division, so it holds at $\bar\alpha_t = 0$ too. Raises ValueError for any other t.
    Source: Salimans & Ho, Progressive Distillation for Fast Sampling of Diffusion Models, 2022, appendix D.
    """
    signal, noise = _scales(schedule, x_t, value, t)
    return Prediction(signal * x_t - noise * value, noise * x_t + signal * value)


def v(
    schedule: NoiseSchedule, x_0: Float[Tensor, "b *shape"], eps: Float[Tensor, "b *shape"], t: Level
) -> Float[Tensor, "b *shape"]:
    r"""$v_t = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$   (`prediction.v`), t in 0…T

    Raises ValueError for any other t. Source: Salimans & Ho, 2022, appendix D.
    """
    _same_shape(x_0, eps)
    signal, noise = schedule.scales(t, like=x_0)
    return signal * eps - noise * x_0


def score(schedule: NoiseSchedule, eps: Float[Tensor, "b *shape"], t: Level) -> Float[Tensor, "b *shape"]:
    r"""$\nabla_{x_t} \log q(x_t) = -\hat\varepsilon / \sqrt{1 - \bar\alpha_t}$   (`prediction.score`), t in 1…T

    Raises ValueError for any other t. Source: Song et al., Score-Based Generative Modeling through SDEs, 2021; Vincent, 2011.
    """
    _, noise = schedule.scales(t, like=eps, low=1)
    return -eps / noise


FROM = {"eps": from_eps, "x_0": from_x_0, "v": from_v}


def target(
    prediction_type: str,
    schedule: NoiseSchedule,
    x_0: Float[Tensor, "b *shape"],
    eps: Float[Tensor, "b *shape"],
    t: Level,
) -> Float[Tensor, "b *shape"]:
    """What a network of this prediction type should have answered at x_t. Raises ValueError for an unknown type."""
    check_type(prediction_type)
    return v(schedule, x_0, eps, t) if prediction_type == "v" else {"eps": eps, "x_0": x_0}[prediction_type]


def as_denoiser(
    model: Callable[..., Tensor], schedule: NoiseSchedule, prediction_type: str, time_offset: int = 0
) -> Denoiser:
    """A network that answers ε, x_0 or v, seen as a denoiser `(x_t, t, context=None) -> Prediction`.

    The network is given t + time_offset as a (B,) tensor on x_t's device: -1 for published checkpoints, which count from 0.
    Raises ValueError for a prediction type other than "eps", "x_0" and "v".
    """
    check_type(prediction_type)

    def denoise(x_t: Tensor, t: Level, context: Tensor | None = None) -> Prediction:
        levels = torch.as_tensor(t, device=x_t.device).expand(len(x_t)) + time_offset
        value = model(x_t, levels) if context is None else model(x_t, levels, context)
        return FROM[prediction_type](schedule, x_t, value, t)

    return denoise


def clip_x_0(denoise: Denoiser, schedule: NoiseSchedule, low: Real = -1, high: Real = 1) -> Denoiser:
    """A denoiser whose x̂_0 is held within low…high, the range of the data, and whose ε̂ follows from it.

    Raises ValueError where low is not below high. Source: Ho et al., 2020, their published sampler.
    """
    if not low < high:
        raise ValueError(f"x̂_0 is held within low…high, so low must be below high; got {low} and {high}")

    def clipped(x_t: Tensor, t: Level, context: Tensor | None = None) -> Prediction:
        x_0 = (denoise(x_t, t) if context is None else denoise(x_t, t, context)).x_0
        return from_x_0(schedule, x_t, x_0.clamp(low, high), t)

    return clipped


def check_type(prediction_type: str) -> None:
    """Raises ValueError unless it is one of "eps", "x_0", "v"."""
    if prediction_type not in FROM:
        raise ValueError(f"unknown prediction type {prediction_type!r}: choose one of {', '.join(FROM)}")


def _scales(schedule: NoiseSchedule, x_t: Tensor, value: Tensor, t: Level) -> tuple[Tensor | float, Tensor | float]:
    _same_shape(x_t, value)
    return schedule.scales(t, like=x_t, low=1)


def _same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"both must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
