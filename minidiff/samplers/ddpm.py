r"""DDPM's ancestral sampler: guess x_0, then draw from the posterior one level down."""

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real

from torch import Tensor

from minidiff.diffusion.noise import Generators, check_generators, randn_like
from minidiff.diffusion.posterior import weights
from minidiff.diffusion.prediction import Denoiser
from minidiff.diffusion.schedules import NoiseSchedule
from minidiff.samplers.run import SamplerStep, check, iterate


def ddpm(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    times: Sequence[Real],
    *,
    generator: Generators | None = None,
    constrain: Callable[[Tensor, Real], Tensor] | None = None,
    variance: str = "posterior",
) -> Iterator[SamplerStep]:
    r"""$x_s = \tilde\mu(\hat x_0, x_t) + \sigma_t\,\varepsilon$   (`samplers.ddpm`), for each neighbouring pair t > s of `times`

    variance: σ_t² is "posterior", β̃_t, right if x_0 were one known point; or "beta", β_t, right if x_0 were standard normal.
    The step into level 0 adds no noise: β̃ is 0 there by itself, and "beta" sets it to 0, for noise would only blur the result.
    Yields after each step. Raises ValueError or TypeError at the call for levels that do not descend, an unknown variance,
    or no generator. Source: Ho et al., 2020, algorithm 2; for levels that skip, Nichol & Dhariwal, 2021, section 4.
    """
    alpha_bar = check(schedule, x, times)
    if variance not in ("posterior", "beta"):
        raise ValueError(f"unknown variance {variance!r}: choose posterior or beta")
    check_generators(generator, x)

    def step(x_t: Tensor, t: Real, s: Real) -> tuple[Tensor, Tensor]:
        x_0 = denoise(x_t, t).x_0
        weight_0, weight_t, sigma_t_squared = weights(alpha_bar[s], alpha_bar[t])
        mean = weight_0 * x_0 + weight_t * x_t
        if s == 0:
            return mean, x_0
        if variance == "beta":
            sigma_t_squared = 1 - alpha_bar[t] / alpha_bar[s]
        return mean + math.sqrt(sigma_t_squared) * randn_like(x_t, generator), x_0

    return iterate(step, x, times, constrain)
