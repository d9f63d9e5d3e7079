"""The loss of a diffusion model: draw a timestep, add noise, predict, take the squared error."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion import losses, prediction
from minidiff.diffusion.forward import q_sample
from minidiff.diffusion.schedules import Schedule
from minidiff.noise import randn_like
from minidiff.training.timesteps import Timesteps, uniform


def diffusion_loss(
    model: Callable[..., Tensor],
    schedule: Schedule,
    x_0: Float[Tensor, "b *shape"],
    generator: torch.Generator,
    *,
    prediction_type: str = "eps",
    timesteps: Timesteps = uniform,
) -> Float[Tensor, ""]:
    r"""$\mathbb E_{t,\varepsilon} \|y - y_\theta(x_t, t)\|^2$, averaged over a batch; the target y is ε, x_0, v or u.

    `timesteps` draws t, uniform in 1…T by default. Raises ValueError for an unknown prediction type.
    Source: Ho et al., 2020, algorithm 1.
    """
    t = timesteps(schedule, len(x_0), generator)
    eps = randn_like(x_0, generator)
    x_t = q_sample(schedule, x_0, t, eps)
    target = prediction.target(prediction_type, schedule, x_0, eps, t)
    return losses.simple(model(x_t, t.to(x_t.device)).to(x_0), target)
