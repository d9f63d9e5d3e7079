r"""The forward process: from data to noise, one step at a time or all at once.

Each function is a distribution and returns its mean and variance; t = 0 is clean data. The variance is that of each coordinate,
shaped (B, 1, …).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.schedules import Level, NoiseSchedule


def q_step(
    schedule: NoiseSchedule, x_prev: Float[Tensor, "b *shape"], t: Level
) -> tuple[Float[Tensor, "b *shape"], Float[Tensor, "b ..."]]:
    r"""Mean and variance of one step.

    $q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{\alpha_t}\, x_{t-1},\ \beta_t)$   (`forward.step`), t an integer in 1…T

    Raises ValueError for any other t. Source: Ho et al., 2020, eq. 2.
    """
    if (torch.as_tensor(t) % 1 != 0).any():
        raise ValueError(
            f"q_step goes from t - 1 to t, both integers; between other levels use q_transition; got t = {t}"
        )
    beta_t, alpha_t, _ = schedule.at(t, like=x_prev, low=1)
    mean = alpha_t.sqrt().to(x_prev) * x_prev
    variance = beta_t.to(x_prev)
    return mean, variance


def q_marginal(
    schedule: NoiseSchedule, x_0: Float[Tensor, "b *shape"], t: Level
) -> tuple[Float[Tensor, "b *shape"], Float[Tensor, "b ..."]]:
    r"""Mean and variance of t steps at once.

    $q(x_t \mid x_0) = \mathcal N(\sqrt{\bar\alpha_t}\, x_0,\ 1 - \bar\alpha_t)$   (`forward.marginal`), t in 0…T

    Raises ValueError for any other t. Source: Ho et al., 2020, eq. 4.
    """
    alpha_bar_t = schedule.at(t, like=x_0).alpha_bar_t
    mean = alpha_bar_t.sqrt().to(x_0) * x_0
    variance = (1 - alpha_bar_t).to(x_0)
    return mean, variance


def q_transition(
    schedule: NoiseSchedule, x_s: Float[Tensor, "b *shape"], s: Level, t: Level
) -> tuple[Float[Tensor, "b *shape"], Float[Tensor, "b ..."]]:
    r"""Mean and variance of the steps from level s to level t.

    $q(x_t \mid x_s) = \mathcal N\big(\sqrt{\bar\alpha_t/\bar\alpha_s}\, x_s,\ 1 - \bar\alpha_t/\bar\alpha_s\big)$   (`forward.transition`), 0 ≤ s < t ≤ T

    With s = t - 2 it is two steps merged into one (`forward.two_steps`).
    Raises ValueError where s is not below t, or where $\bar\alpha_s = 0$: nothing is left there to be carried on.
    Source: Kingma et al., Variational Diffusion Models, 2021, section 3.1.
    """
    alpha_t, beta_t = step_between(schedule, s, t, like=x_s)
    return alpha_t.sqrt().to(x_s) * x_s, beta_t.to(x_s)


def q_sample(
    schedule: NoiseSchedule, x_0: Float[Tensor, "b *shape"], t: Level, eps: Float[Tensor, "b *shape"]
) -> Float[Tensor, "b *shape"]:
    r"""A draw from q(x_t | x_0), made of the standard normal noise eps.

    $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$   (`forward.sample`), t in 0…T

    Raises ValueError for any other t, or where eps has another shape than x_0. Source: Ho et al., 2020, section 3.2.
    """
    if eps.shape != x_0.shape:
        raise ValueError(f"eps must have x_0's shape {tuple(x_0.shape)}, got {tuple(eps.shape)}")
    alpha_bar_t = schedule.at(t, like=x_0).alpha_bar_t
    return alpha_bar_t.sqrt().to(x_0) * x_0 + (1 - alpha_bar_t).sqrt().to(x_0) * eps


def step_between(schedule: NoiseSchedule, s: Level, t: Level, like: Tensor) -> tuple[Tensor, Tensor]:
    r"""α and β of the one step that leads from level s to level t: $\alpha = \bar\alpha_t / \bar\alpha_s$, $\beta = 1 - \alpha$.

    With s = t - 1 they are $\alpha_t$ and $\beta_t$. float64 on the CPU, shaped (B, 1, …) to broadcast over `like`.
    Raises ValueError unless 0 ≤ s < t ≤ T and $\bar\alpha_s > 0$.
    """
    alpha_bar_t = schedule.at(t, like=like, low=1).alpha_bar_t
    alpha_bar_s = schedule.at(s, like=like).alpha_bar_t
    check_step(s, t, alpha_bar_s, alpha_bar_t)
    alpha = alpha_bar_t / alpha_bar_s
    return alpha, 1 - alpha


def check_step(s: Level, t: Level, alpha_bar_s: Tensor, alpha_bar_t: Tensor) -> None:
    """Raises ValueError unless level s lies below level t, and something of the picture is left there."""
    if (alpha_bar_s == 0).any():
        raise ValueError(f"nothing is left to be carried on from a level where ᾱ = 0: from {s} to {t}")
    if (alpha_bar_s <= alpha_bar_t).any():  # ᾱ falls from each level to the next
        raise ValueError(f"the earlier level must lie below the later one, got from {s} to {t}")
