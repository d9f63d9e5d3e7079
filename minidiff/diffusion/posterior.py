r"""The posterior $q(x_{t-1} \mid x_t, x_0)$: one step back, when the end is known."""

from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.forward import check_step
from minidiff.diffusion.schedules import Level, NoiseSchedule


def q_posterior(
    schedule: NoiseSchedule,
    x_0: Float[Tensor, "b *shape"],
    x_t: Float[Tensor, "b *shape"],
    t: Level,
    t_prev: Level | None = None,
) -> tuple[Float[Tensor, "b *shape"], Float[Tensor, "b ..."]]:
    r"""Mean μ̃_t and variance β̃_t of $q(x_{t-1} \mid x_t, x_0)$.

    $\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t} x_0 + \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} x_t,
    \qquad \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t$   (`posterior.mean_and_variance`), t in 1…T

    To step further back than t - 1, pass any t_prev with 0 ≤ t_prev < t: $\alpha_t$ and $\beta_t$ are then those of the one
    step from t_prev to t. At t_prev = 0 the variance is 0 by itself.
    Raises ValueError for levels out of order or out of range, or where x_0 and x_t differ in shape. Source: Ho et al., 2020, eq. 7.
    """
    if x_0.shape != x_t.shape:
        raise ValueError(f"x_0 and x_t must have one shape, got {tuple(x_0.shape)} and {tuple(x_t.shape)}")
    t_prev = t - 1 if t_prev is None else t_prev
    alpha_bar_t = schedule.at(t, like=x_t, low=1).alpha_bar_t
    alpha_bar_prev = schedule.at(t_prev, like=x_t).alpha_bar_t
    check_step(t_prev, t, alpha_bar_prev, alpha_bar_t)
    weight_0, weight_t, variance = weights(alpha_bar_prev, alpha_bar_t)
    return weight_0.to(x_t) * x_0 + weight_t.to(x_t) * x_t, variance.to(x_t)


def weights(alpha_bar_prev: Tensor | float, alpha_bar_t: Tensor | float) -> tuple[Tensor | float, ...]:
    r"""The weight of x_0 in μ̃_t, that of x_t, and β̃_t, from ᾱ at both ends of the step: numbers give numbers, tensors tensors."""
    alpha_t = alpha_bar_t / alpha_bar_prev
    beta_t = 1 - alpha_t
    weight_0 = alpha_bar_prev**0.5 * beta_t / (1 - alpha_bar_t)
    weight_t = alpha_t**0.5 * (1 - alpha_bar_prev) / (1 - alpha_bar_t)
    variance = (1 - alpha_bar_prev) / (1 - alpha_bar_t) * beta_t
    return weight_0, weight_t, variance


def mean_from_eps(
    schedule: NoiseSchedule, x_t: Float[Tensor, "b *shape"], eps: Float[Tensor, "b *shape"], t: Level
) -> Float[Tensor, "b *shape"]:
    r"""μ̃_t written with the noise in place of x_0.

    $\tilde\mu_t = \frac{1}{\sqrt{\alpha_t}} \Big(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon\Big)$   (`posterior.mean_from_eps`), t in 1…T

    Raises ValueError for any other t, and where $\bar\alpha_t = 0$: the noise says nothing of x_0 there. Source: Ho et al., 2020, eq. 11.
    """
    if eps.shape != x_t.shape:
        raise ValueError(f"eps must have x_t's shape {tuple(x_t.shape)}, got {tuple(eps.shape)}")
    beta_t, alpha_t, alpha_bar_t = schedule.at(t, like=x_t, low=1)
    if (alpha_bar_t == 0).any():
        raise ValueError(
            f"the noise says nothing of x_0 where ᾱ_t = 0 (t = {t}): use q_posterior with x_0 from v or x_0 there"
        )
    return (x_t - (beta_t / (1 - alpha_bar_t).sqrt()).to(x_t) * eps) / alpha_t.sqrt().to(x_t)
