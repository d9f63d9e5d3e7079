r"""DDIM: guess both ends of the line, then put x on the line to the level below."""

from collections.abc import Callable, Iterator, Sequence
from numbers import Real

from torch import Tensor

from minidiff.diffusion.forward import step_between
from minidiff.diffusion.noise import Generators, check_generators, randn_like
from minidiff.diffusion.prediction import Denoiser
from minidiff.diffusion.schedules import NoiseSchedule
from minidiff.samplers.run import SamplerStep, check, iterate


def ddim(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    times: Sequence[Real],
    *,
    generator: Generators | None = None,
    constrain: Callable[[Tensor, Real], Tensor] | None = None,
    eta: Real = 0.0,
) -> Iterator[SamplerStep]:
    r"""$x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma_t^2}\;\hat\varepsilon + \sigma_t z$,
    $\ \sigma_t = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}$   (`samplers.ddim`), for each neighbouring pair t > s of `times`

    eta: 0 adds no noise and needs no generator; 1 has DDPM's posterior variance. Yields after each step.
    Raises ValueError or TypeError at the call for levels that do not descend, an eta outside [0, 1], or a missing generator.
    Source: Song et al., Denoising Diffusion Implicit Models, 2021, eq. 12 and 16.
    """
    check(schedule, x, times)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], from no noise to DDPM's; got {eta}")
    if eta > 0:
        check_generators(generator, x)

    def step(x_t: Tensor, t: Real, s: Real) -> tuple[Tensor, Tensor]:
        x_0, eps = denoise(x_t, t)
        alpha_bar_t, alpha_bar_s = schedule.at(t, like=x_t).alpha_bar_t, schedule.at(s, like=x_t).alpha_bar_t
        sigma_t_squared = eta**2 * (1 - alpha_bar_s) / (1 - alpha_bar_t) * step_between(schedule, s, t, like=x_t)[1]
        x_s = alpha_bar_s.sqrt().to(x_t) * x_0 + (1 - alpha_bar_s - sigma_t_squared).sqrt().to(x_t) * eps
        if eta > 0 and s > 0:
            x_s = x_s + sigma_t_squared.sqrt().to(x_t) * randn_like(x_t, generator)
        return x_s, x_0

    return iterate(step, x, times, constrain)
