r"""The posterior $q(x_{t-1} \mid x_t, x_0)$: the distribution of the sample one step closer to the data, for a known x_0."""

from minidiff.diffusion.forward import Gaussian, step_between
from minidiff.diffusion.schedules import Batch, Level, NoiseSchedule, Scales, Schedule


def q_posterior(schedule: Schedule, x_0: Batch, x_t: Batch, t: Level, t_prev: Level | None = None) -> Gaussian:
    r"""Mean μ̃_t and variance β̃_t of $q(x_{t-1} \mid x_t, x_0)$.

    $\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t} x_0 + \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} x_t,
    \qquad \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t$   (`posterior.mean_and_variance`), t in 1…T; for any schedule see `between`

    t_prev: any level with 0 ≤ t_prev < t in place of t - 1; $\alpha_t$ and $\beta_t$ are then for a single step from t_prev to t.
    At t_prev = 0 the variance is 0.
    Raises ValueError for levels out of order or out of range, and where x_0 and x_t differ in shape. Source: Ho et al., 2020, eq. 7.
    """
    if x_0.shape != x_t.shape:
        raise ValueError(f"x_0 and x_t must have the same shape, got {tuple(x_0.shape)} and {tuple(x_t.shape)}")
    t_prev = t - 1 if t_prev is None else t_prev
    mean, variance = between(x_0, x_t, schedule.at(t, like=x_t, noisy=True), schedule.at(t_prev, like=x_t))
    return mean, variance.to(x_t)


def between(x_0: Batch, x_t: Batch, now: Scales, next: Scales) -> Gaussian:
    r"""Mean and variance of $q(x_s \mid x_t, x_0)$, from the scales of level t (`now`) and of a lower level s (`next`).

    $\tilde\mu = \frac{\mathrm{signal}_s\,\beta\,x_0 + r\,\mathrm{noise}_s^2\,x_t}{\mathrm{noise}_t^2}, \quad \tilde\beta = \frac{\mathrm{noise}_s^2}{\mathrm{noise}_t^2}\,\beta$   (`posterior.between`),
    with r and β from `step_between`. The variance stays float64 on the CPU: take its root, then cast it. Raises ValueError unless s < t.
    """
    r, beta = step_between(next, now)
    weight_0 = next.signal * beta / now.noise**2
    weight_t = r * next.noise**2 / now.noise**2
    variance = next.noise**2 / now.noise**2 * beta
    return weight_0.to(x_t) * x_0 + weight_t.to(x_t) * x_t, variance


def mean_from_eps(schedule: NoiseSchedule, x_t: Batch, eps: Batch, t: Level) -> Batch:
    r"""The posterior mean μ̃_t, computed from ε in place of x_0.

    $\tilde\mu_t = \frac{1}{\sqrt{\alpha_t}} \Big(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon\Big)$   (`posterior.mean_from_eps`), t an integer in 1…T

    Raises ValueError for any other t, and where $\bar\alpha_t = 0$: ε does not determine x_0 there. Source: Ho et al., 2020, eq. 11.
    """
    if eps.shape != x_t.shape:
        raise ValueError(f"eps must have the shape of x_t, {tuple(x_t.shape)}; got {tuple(eps.shape)}")
    signal, noise = schedule.at(t, like=x_t)
    beta_t = schedule.beta(t, like=x_t)
    if (signal == 0).any():
        raise ValueError(f"ε does not determine x_0 where ᾱ_t = 0 (t = {t}): use q_posterior, which takes x_0")
    return (x_t - (beta_t / noise).to(x_t) * eps) / (1 - beta_t).sqrt().to(x_t)
