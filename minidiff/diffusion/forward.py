r"""The forward process: from data to noise, one step at a time or all at once.

Each function is a distribution and returns its mean and variance; t = 0 is clean data.
"""

from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.schedules import Batch, Level, NoiseSchedule, Scales, Schedule

Gaussian = tuple[Batch, Float[Tensor, "b ..."]]  # mean, and the variance of each coordinate, shaped (B, 1, …)


def q_step(schedule: NoiseSchedule, x_prev: Batch, t: Level) -> Gaussian:
    r"""Mean and variance of one step.

    $q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{\alpha_t}\, x_{t-1},\ \beta_t)$   (`forward.step`), t an integer in 1…T

    Raises ValueError for any other t. Source: Ho et al., 2020, eq. 2.
    """
    beta_t = schedule.beta(t, like=x_prev)
    mean = (1 - beta_t).sqrt().to(x_prev) * x_prev
    variance = beta_t.to(x_prev)
    return mean, variance


def q_marginal(schedule: Schedule, x_0: Batch, t: Level) -> Gaussian:
    r"""Mean and variance of t steps at once.

    $q(x_t \mid x_0) = \mathcal N(\mathrm{signal}_t\, x_0,\ \mathrm{noise}_t^2)$, which is $\mathcal N(\sqrt{\bar\alpha_t}\, x_0,\ 1 - \bar\alpha_t)$   (`forward.marginal`), t in 0…T

    Raises ValueError for any other t. Source: Ho et al., 2020, eq. 4.
    """
    signal, noise = schedule.at(t, like=x_0)
    return signal.to(x_0) * x_0, (noise**2).to(x_0)


def q_transition(schedule: Schedule, x_s: Batch, s: Level, t: Level) -> Gaussian:
    r"""Mean and variance of the steps from level s to level t.

    $q(x_t \mid x_s) = \mathcal N(r\,x_s,\ \beta)$ with r and β of `step_between`; for DDPM's schedules
    $\mathcal N\big(\sqrt{\bar\alpha_t/\bar\alpha_s}\, x_s,\ 1 - \bar\alpha_t/\bar\alpha_s\big)$   (`forward.transition`), 0 ≤ s < t ≤ T

    With s = t - 2 it is two steps merged into one (`forward.two_steps`). Raises ValueError where s is not below t, or where nothing of the data is left at s.
    Source: Kingma et al., Variational Diffusion Models, 2021, section 3.1.
    """
    r, beta = step_between(schedule.at(s, like=x_s), schedule.at(t, like=x_s))
    return r.to(x_s) * x_s, beta.to(x_s)


def q_sample(schedule: Schedule, x_0: Batch, t: Level, eps: Batch) -> Batch:
    r"""A draw from q(x_t | x_0), made of the standard normal noise eps.

    $x_t = \mathrm{signal}_t\, x_0 + \mathrm{noise}_t\, \varepsilon = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon$   (`forward.sample`), t in 0…T

    Raises ValueError for any other t, or where eps has another shape than x_0. Source: Ho et al., 2020, section 3.2.
    """
    if eps.shape != x_0.shape:
        raise ValueError(f"eps must have x_0's shape {tuple(x_0.shape)}, got {tuple(eps.shape)}")
    signal, noise = schedule.at(t, like=x_0)
    return signal.to(x_0) * x_0 + noise.to(x_0) * eps


def step_between(lower: Scales, upper: Scales) -> tuple[Tensor, Tensor]:
    r"""What one step from a lower level s up to a level t keeps of x_s, and the variance that it adds: $x_t = r\,x_s + \sqrt\beta\,\varepsilon$.

    $r = \frac{\mathrm{signal}_t}{\mathrm{signal}_s}, \quad \beta = \mathrm{noise}_t^2 - r^2\,\mathrm{noise}_s^2$   (`forward.step_between`). Both are float64: where the levels are close, float32 would leave
    four digits of the difference, and bfloat16 none. With s = t - 1 and signal² + noise² = 1 they are $\sqrt{\alpha_t}$ and $\beta_t$.
    Raises ValueError unless β is positive: where s is not below t, or nothing of the data is left at s.
    """
    r = upper.signal / lower.signal
    beta = upper.noise**2 - r**2 * lower.noise**2
    if not (beta > 0).all():  # a NaN is not
        raise ValueError(
            "the first level must lie below the second, and some of the data must be left there (signal > 0)"
        )
    return r, beta
