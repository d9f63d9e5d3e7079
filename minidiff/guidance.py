r"""Guidance: a denoiser whose answers lean towards what was asked for.

Bayes' rule on the score gives the direction: $\nabla \log q(x_t \mid y) = \nabla \log q(x_t) + \nabla \log p(y \mid x_t)$. With the last
term taken s times, samples follow y more closely, and vary less. `classifier` takes that term from a classifier that
was trained on noisy pictures, `classifier_free` from the difference between a denoiser's predictions with the prompt and without it.
`auto` needs no prompt: it moves away from the prediction of a worse network.

The result is a denoiser like any other, with the schedule of those that went in. Clip the result, `clip_x_0(classifier_free(...))`, and
not what goes in: beyond scale 1 the guided x̂_0 lies outside of the segment between the two predictions.
"""

from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import Level, shared
from minidiff.nets import Condition

Scale = Float[Tensor, "b"] | Real  # how strongly to guide: one number, or one for each item of the batch


def classifier_free(denoise: Denoiser, condition: Condition, null_condition: Condition, scale: Scale) -> Denoiser:
    r"""$\hat\varepsilon = \varepsilon_\varnothing + s\,(\varepsilon_c - \varepsilon_\varnothing)$   (`guidance.classifier_free`)

    The denoiser is asked with and without the prompt in one call on 2 B items, `Condition.cat(null_condition, condition)`; at scale 1 it is
    called on the B items with their condition alone. x̂_0 is combined as ε̂ is: both are linear, so x_t stays on the line between them.
    scale s: 0 ignores the prompt, 1 is the conditional denoiser as it was trained, above 1 overstates the prompt. Another
    prompt's condition in place of the null condition makes it a negative prompt: the prediction moves away from it.
    Raises ValueError where the conditions do not fit each other, are not one for each item of x_t, or the scale is not finite or is not one
    number or one an item.
    Source: Ho & Salimans, Classifier-Free Diffusion Guidance, 2022, eq. 6, who write $(1 + w)\,\varepsilon_c - w\,\varepsilon_\varnothing$: their
    w is s - 1, and their 0 is "off". Stable Diffusion's guidance scale, 7.5 say, is s.
    """
    if null_condition.batch != condition.batch:
        raise ValueError(f"one null condition for each: got {null_condition.batch} for {condition.batch} conditions")
    scales = _finite(scale)
    off = bool((scales == 1).all())
    both_conditions = Condition.cat(null_condition, condition)

    def guided(x_t: Tensor, t: Level) -> Prediction:
        if x_t.shape[0] != condition.batch:
            raise ValueError(f"one condition for each item: got {condition.batch} conditions for {x_t.shape[0]} items")
        s = _like(scales, x_t)
        if off:
            return denoise(x_t, t, condition)
        both_t = torch.cat([t, t]) if isinstance(t, Tensor) and t.ndim else t
        both = denoise(torch.cat([x_t, x_t]), both_t, both_conditions)
        (x_0_null, x_0_cond), (eps_null, eps_cond) = both.x_0.chunk(2), both.eps.chunk(2)
        return Prediction(x_0_null + s * (x_0_cond - x_0_null), eps_null + s * (eps_cond - eps_null))

    return Denoiser(denoise.schedule, guided)


def auto(denoise: Denoiser, worse: Denoiser, scale: Scale) -> Denoiser:
    r"""$\hat\varepsilon = \varepsilon_- + s\,(\varepsilon_\theta - \varepsilon_-)$   (`guidance.auto`)

    `worse` makes the same kind of mistakes, only larger: the network itself, early in its training. Where both agree nothing changes; where
    the better one has moved away from the worse, it is moved on. x̂_0 is combined as ε̂ is.
    scale s: 0 is the worse denoiser, 1 the better one, around 2 is usual.
    Raises ValueError for denoisers of different schedules, and for a scale that is not finite or is not one number or one an item.
    Source: Karras et al., Guiding a Diffusion Model with a Bad Version of Itself, 2024, section 4.
    """
    scales = _finite(scale)

    def guided(x_t: Tensor, t: Level, *condition: Any) -> Prediction:
        x_0, eps = denoise(x_t, t, *condition)
        x_0_worse, eps_worse = worse(x_t, t, *condition)
        s = _like(scales, x_t)
        return Prediction(x_0_worse + s * (x_0 - x_0_worse), eps_worse + s * (eps - eps_worse))

    return Denoiser(shared(denoise.schedule, worse.schedule), guided)


def classifier(denoise: Denoiser, log_probability: Callable[[Tensor, Level], Tensor], scale: Scale) -> Denoiser:
    r"""$\hat\varepsilon = \varepsilon_\theta - s\,\mathrm{noise}_t\;\nabla_{x_t} \log p(y \mid x_t)$, with noise_t = √(1 - ᾱ_t)   (`guidance.classifier`)

    `log_probability(x_t, t)` is log p(y|x_t) in nats, (B,), for the y that is wanted of each item: a classifier of *noisy* pictures,
    differentiable, in evaluation mode. It alone is called with gradients on, also within `torch.no_grad` (as samplers are) and
    `torch.inference_mode`; its parameters' own gradients stay as they are. x̂_0 follows from the new ε̂, t in 1…T.
    scale s: 0 is the denoiser itself, 1 is Bayes' rule, above 1 overstates y.
    Raises ValueError for any other t, where the signal is 0 (there x_t says nothing of y), where log_probability does not answer
    (B,) or not differentiably, and for a scale that is not finite or is not one number or one an item.
    Source: Dhariwal & Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, eq. 14, with the scale of their section 4.3.
    """
    scales = _finite(scale)

    def guided(x_t: Tensor, t: Level, *condition: Any) -> Prediction:
        signal, noise = denoise.schedule.at(t, like=x_t, noisy=True)
        if (signal == 0).any():
            raise ValueError(f"x_t says nothing of y where the signal is 0 (t = {t}): begin to guide below that level")
        x_0, eps = denoise(x_t, t, *condition)
        lean = _like(scales, x_t) * _gradient(log_probability, x_t, t)
        return Prediction(x_0 + (noise**2 / signal).to(x_t) * lean, eps - noise.to(x_t) * lean)

    return Denoiser(denoise.schedule, guided)


def _gradient(log_probability: Callable[[Tensor, Level], Tensor], x_t: Tensor, t: Level) -> Tensor:
    """The gradient of each item's log-probability with respect to that item."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x_t.detach().clone().requires_grad_()
        answer = log_probability(leaf, t)
        if answer.shape != x_t.shape[:1]:
            raise ValueError(f"log_probability must answer ({len(x_t)},), one an item; got {tuple(answer.shape)}")
        if not answer.requires_grad:
            raise ValueError("log_probability must be differentiable in x_t: take no_grad and detach out of it")
        return torch.autograd.grad(answer.sum(), leaf)[0]


def _finite(scale: Scale) -> Tensor:
    scales = torch.as_tensor(scale, dtype=torch.float64)
    if not scales.isfinite().all():
        raise ValueError(f"scale must be finite, got {scale}")
    return scales


def _like(scales: Tensor, x_t: Tensor) -> Tensor:
    """Shaped to broadcast over x_t."""
    if scales.shape not in ((), (len(x_t),)):
        raise ValueError(f"scale must be one number or of shape ({len(x_t)},), got shape {tuple(scales.shape)}")
    return scales.to(x_t).reshape(-1, *[1] * (x_t.ndim - 1))
