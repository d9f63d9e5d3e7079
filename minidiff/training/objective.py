"""What a diffusion model is trained on: a random level, fresh noise, one squared error."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion import losses, prediction
from minidiff.diffusion.forward import q_sample
from minidiff.diffusion.schedules import Schedule
from minidiff.noise import randn_like
from minidiff.training.levels import Levels, uniform


def diffusion_loss(
    model: Callable[..., Tensor],
    schedule: Schedule,
    x_0: Float[Tensor, "b *shape"],
    generator: torch.Generator,
    *,
    prediction_type: str = "eps",
    kind: str = "mse",
    gamma: float | None = None,
    levels: Levels = uniform,
) -> Float[Tensor, ""]:
    r"""$\mathbb E_{t,\varepsilon} \|y - y_\theta(x_t, t)\|^2$ for a batch, t drawn by `levels`, uniform in 1…T; y is ε, x_0, v or u.

    kind as in `losses.simple`; gamma turns min-SNR weights on. Raises ValueError for an unknown prediction type or kind.
    Source: Ho et al., 2020, algorithm 1.
    """
    t = levels(schedule, len(x_0), generator)
    eps = randn_like(x_0, generator)
    x_t = q_sample(schedule, x_0, t, eps)
    target = prediction.target(prediction_type, schedule, x_0, eps, t)
    weight = None if gamma is None else losses.min_snr_weight(schedule, t, prediction_type, gamma)
    return losses.simple(model(x_t, t.to(x_t.device)).to(x_0), target, kind, weight=weight)
