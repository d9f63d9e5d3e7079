r"""The forward process: from data to noise, one step at a time or all at once.

The functions of a distribution return its mean and variance. t = 0 is clean data.
"""

from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.schedules import Batch, Level, NoiseSchedule, Scales, Schedule

Gaussian = tuple[Batch, Float[Tensor, "b ..."]]  # mean, and the variance of each coordinate, shaped (B, 1, …)


def q_step(schedule: NoiseSchedule, x_prev: Batch, t: Level) -> Gaussian:
    r"""Mean and variance of one step of the forward process.

    $q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{\alpha_t}\, x_{t-1},\ \beta_t)$   (`forward.step`), t an integer in 1…T

    Raises ValueError for any other t. Source: Ho et al., 2020, eq. 2.
    """
    beta_t = schedule.beta(t, like=x_prev)
    mean = (1 - beta_t).sqrt().to(x_prev) * x_prev
    variance = beta_t.to(x_prev)
    return mean, variance


def q_marginal(schedule: Schedule, x_0: Batch, t: Level) -> Gaussian:
    r"""Mean and variance of x_t given x_0.

    $q(x_t \mid x_0) = \mathcal N(\mathrm{signal}_t\, x_0,\ \mathrm{noise}_t^2)$; for DDPM's schedules $\mathcal N(\sqrt{\bar\alpha_t}\, x_0,\ 1 - \bar\alpha_t)$   (`forward.marginal`), t in 0…T

    Raises ValueError for any other t. Source: Ho et al., 2020, eq. 4.
    """
    signal, noise = schedule.at(t, like=x_0)
    return signal.to(x_0) * x_0, (noise**2).to(x_0)


def q_transition(schedule: Schedule, x_s: Batch, s: Level, t: Level) -> Gaussian:
    r"""Mean and variance of x_t given x_s, for noise levels s < t.

    $q(x_t \mid x_s) = \mathcal N(r\,x_s,\ \beta)$ with r and β from `step_between`; for DDPM's schedules
    $\mathcal N\big(\sqrt{\bar\alpha_t/\bar\alpha_s}\, x_s,\ 1 - \bar\alpha_t/\bar\alpha_s\big)$   (`forward.transition`), 0 ≤ s < t ≤ T

    For s = t - 2, two steps are merged into one (`forward.two_steps`). Raises ValueError unless s < t, and where signal_s = 0.
    Source: Kingma et al., Variational Diffusion Models, 2021, section 3.1.
    """
    r, beta = step_between(schedule.at(s, like=x_s), schedule.at(t, like=x_s))
    return r.to(x_s) * x_s, beta.to(x_s)


def q_sample(schedule: Schedule, x_0: Batch, t: Level, eps: Batch) -> Batch:
    r"""A sample of q(x_t | x_0), computed from the standard normal noise eps.

    $x_t = \mathrm{signal}_t\, x_0 + \mathrm{noise}_t\, \varepsilon = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$   (`forward.sample`), t in 0…T

    Raises ValueError for any other t, and where eps and x_0 differ in shape. Source: Ho et al., 2020, section 3.2.
    """
    if eps.shape != x_0.shape:
        raise ValueError(f"eps must have the shape of x_0, {tuple(x_0.shape)}; got {tuple(eps.shape)}")
    signal, noise = schedule.at(t, like=x_0)
    return signal.to(x_0) * x_0 + noise.to(x_0) * eps


def step_between(lower: Scales, upper: Scales) -> tuple[Tensor, Tensor]:
    r"""Factor r and variance β of one step from a noise level s (`lower`) up to a level t (`upper`): $x_t = r\,x_s + \sqrt\beta\,\varepsilon$.

    $r = \frac{\mathrm{signal}_t}{\mathrm{signal}_s}, \quad \beta = \mathrm{noise}_t^2 - r^2\,\mathrm{noise}_s^2$   (`forward.step_between`). For s = t - 1 and
    signal² + noise² = 1 they are $\sqrt{\alpha_t}$ and $\beta_t$. Both are float64: where the levels are close, β is the difference of
    two nearly equal numbers, and float32 would leave four digits of it, bfloat16 none. Raises ValueError unless s < t and signal_s > 0.
    """
    r = upper.signal / lower.signal
    beta = upper.noise**2 - r**2 * lower.noise**2
    if not (beta > 0).all():  # NaN is refused too
        raise ValueError("expected noise levels s < t with signal_s > 0, got s = t, s > t or signal_s = 0")
    return r, beta
