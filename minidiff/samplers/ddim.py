r"""DDIM: guess both ends of the line, then put x on the line to the level below."""

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real

from torch import Tensor

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
    alpha_bar = check(schedule, x, times)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], from no noise to DDPM's; got {eta}")
    if eta > 0:
        check_generators(generator, x)

    def step(x_t: Tensor, t: Real, s: Real) -> tuple[Tensor, Tensor]:
        x_0, eps = denoise(x_t, t)
        alpha_bar_t, alpha_bar_s = alpha_bar[t], alpha_bar[s]
        sigma_t_squared = eta**2 * (1 - alpha_bar_s) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_s)
        x_s = math.sqrt(alpha_bar_s) * x_0 + math.sqrt(max(0, 1 - alpha_bar_s - sigma_t_squared)) * eps
        if eta > 0 and s > 0:
            x_s = x_s + math.sqrt(sigma_t_squared) * randn_like(x_t, generator)
        return x_s, x_0

    return iterate(step, x, times, constrain)


def ddim_inversion(
    denoise: Denoiser, schedule: NoiseSchedule, x: Tensor, times: Sequence[Real]
) -> Iterator[SamplerStep]:
    r"""DDIM the other way: from data at times[-1] up to noise at times[0], over the levels that `ddim` would come down by.

    $x_t = \sqrt{\bar\alpha_t}\,\hat x_0 + \sqrt{1 - \bar\alpha_t}\,\hat\varepsilon$ with what the denoiser says at the level that is *left*, s: the level to be
    reached is not known yet, and that is the error of the round trip. At s = 0 there is no noise to ask about; there x_0 is x itself, and
    ε̂ is asked for at t.

    Yields after each step. Raises ValueError or TypeError at the call for levels that do not descend, as `ddim` takes them.
    Source: Song et al., Denoising Diffusion Implicit Models, 2021, section 4.3.
    """
    alpha_bar = check(schedule, x, times)

    def step(x_s: Tensor, s: Real, t: Real) -> tuple[Tensor, Tensor]:
        x_0, eps = denoise(x_s, s if s > 0 else t)
        x_0 = x_0 if s > 0 else x_s
        return math.sqrt(alpha_bar[t]) * x_0 + math.sqrt(1 - alpha_bar[t]) * eps, x_0

    return iterate(step, x, times[::-1], None)
