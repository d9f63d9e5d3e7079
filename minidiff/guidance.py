r"""Guidance: denoisers whose predictions are moved towards a condition.

Bayes' rule for the score is $\nabla \log q(x_t \mid y) = \nabla \log q(x_t) + \nabla \log p(y \mid x_t)$. With the last term multiplied
by a scale s > 1, samples match y better and vary less. `classifier` takes the last term from a classifier of noisy pictures,
`classifier_free` from the difference between predictions with and without the prompt. `auto` needs no prompt: it moves the prediction away
from the prediction of a worse network.

All three return a Denoiser with the schedule of the given denoiser. Clip the guided denoiser, `clip_x_0(classifier_free(...))`, not the
given one: for s > 1 the guided x̂_0 lies outside the segment between the two predictions.
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

Scale = Float[Tensor, "b"] | Real  # the guidance scale: one number, or one for each item of the batch


def classifier_free(denoise: Denoiser, condition: Condition, null_condition: Condition, scale: Scale) -> Denoiser:
    r"""A denoiser guided by a prompt: $\hat\varepsilon = \varepsilon_\varnothing + s\,(\varepsilon_c - \varepsilon_\varnothing)$   (`guidance.classifier_free`)

    One call on 2 B items, with `Condition.cat(null_condition, condition)`, predicts without and with the prompt. At scale 1 the call has
    only the B items with their condition. x̂_0 is combined as ε̂ is, so signal_t x̂_0 + noise_t ε̂ is still x_t.
    scale s: 0 ignores the prompt, 1 is the conditional denoiser, above 1 the prompt has more effect. For a negative prompt, pass its
    condition as the null condition: the prediction then moves away from that prompt.
    Raises ValueError where the conditions do not fit each other or the items of x_t, and for a scale that is not finite, or is neither one
    number nor one per item.
    Source: Ho & Salimans, Classifier-Free Diffusion Guidance, 2022, eq. 6: $(1 + w)\,\varepsilon_c - w\,\varepsilon_\varnothing$ with w = s - 1,
    so w = 0 is no guidance. Stable Diffusion's guidance scale, for example 7.5, is s.
    """
    if null_condition.batch != condition.batch:
        raise ValueError(f"expected {condition.batch} null conditions, one per condition; got {null_condition.batch}")
    scales = _finite(scale)
    off = bool((scales == 1).all())
    both_conditions = Condition.cat(null_condition, condition)

    def guided(x_t: Tensor, t: Level) -> Prediction:
        if x_t.shape[0] != condition.batch:
            raise ValueError(f"expected one condition per item, got {condition.batch} for {x_t.shape[0]} items")
        s = _like(scales, x_t)
        if off:
            return denoise(x_t, t, condition)
        both_t = torch.cat([t, t]) if isinstance(t, Tensor) and t.ndim else t
        both = denoise(torch.cat([x_t, x_t]), both_t, both_conditions)
        (x_0_null, x_0_cond), (eps_null, eps_cond) = both.x_0.chunk(2), both.eps.chunk(2)
        return Prediction(x_0_null + s * (x_0_cond - x_0_null), eps_null + s * (eps_cond - eps_null))

    return Denoiser(denoise.schedule, guided)


def auto(denoise: Denoiser, worse: Denoiser, scale: Scale) -> Denoiser:
    r"""A denoiser guided away from a worse one: $\hat\varepsilon = \varepsilon_- + s\,(\varepsilon_\theta - \varepsilon_-)$   (`guidance.auto`)

    `worse` must make the same kind of errors, but larger ones: for example the same network earlier in training. Where both predictions are
    equal nothing changes; where they differ, the difference is multiplied by s. x̂_0 is combined as ε̂ is.
    scale s: 0 is `worse`, 1 is `denoise`; values around 2 are usual.
    Raises ValueError for denoisers of different schedules, and for a scale that is not finite, or is neither one number nor one per item.
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
    r"""A denoiser guided by a classifier: $\hat\varepsilon = \varepsilon_\theta - s\,\mathrm{noise}_t\;\nabla_{x_t} \log p(y \mid x_t)$, with noise_t = √(1 - ᾱ_t)   (`guidance.classifier`)

    `log_probability(x_t, t)` returns log p(y|x_t) in nats, shape (B,), for the wanted y of each item. It must be differentiable:
    a classifier of *noisy* pictures in evaluation mode. It alone is called with gradients on, also under `torch.no_grad` and
    `torch.inference_mode`; the gradients of its parameters are not changed. x̂_0 is computed from the new ε̂; t in 1…T.
    scale s: 0 is the denoiser itself, 1 is Bayes' rule, above 1 y has more effect.
    Raises ValueError for any other t, where the signal is 0, for a log_probability that is not of shape (B,), and for a scale that is not
    finite, or is neither one number nor one per item.
    Source: Dhariwal & Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, eq. 14, with the scale of their section 4.3.
    """
    scales = _finite(scale)

    def guided(x_t: Tensor, t: Level, *condition: Any) -> Prediction:
        signal, noise = denoise.schedule.at(t, like=x_t, noisy=True)
        if (signal == 0).any():
            raise ValueError(
                f"the signal is 0 at t = {t}, so a classifier cannot guide there: begin to guide at a lower level"
            )
        x_0, eps = denoise(x_t, t, *condition)
        gradient = _like(scales, x_t) * _gradient(log_probability, x_t, t)
        return Prediction(x_0 + (noise**2 / signal).to(x_t) * gradient, eps - noise.to(x_t) * gradient)

    return Denoiser(denoise.schedule, guided)


def _gradient(log_probability: Callable[[Tensor, Level], Tensor], x_t: Tensor, t: Level) -> Tensor:
    """The gradient of each item's log-probability with respect to that item."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x_t.detach().clone().requires_grad_()
        log_p = log_probability(leaf, t)
        if log_p.shape != x_t.shape[:1]:
            raise ValueError(f"log_probability must return shape ({len(x_t)},), got {tuple(log_p.shape)}")
        return torch.autograd.grad(log_p.sum(), leaf)[0]


def _finite(scale: Scale) -> Tensor:
    """The scale as a float64 tensor. Raises ValueError where it is not finite."""
    scales = torch.as_tensor(scale, dtype=torch.float64)
    if not scales.isfinite().all():
        raise ValueError(f"scale must be finite, got {scale}")
    return scales


def _like(scales: Tensor, x_t: Tensor) -> Tensor:
    """The scales, shaped to broadcast over x_t. Raises ValueError unless there is one, or one per item."""
    if scales.shape not in ((), (len(x_t),)):
        raise ValueError(f"scale must be one number or of shape ({len(x_t)},), got shape {tuple(scales.shape)}")
    return scales.to(x_t).reshape(-1, *[1] * (x_t.ndim - 1))
