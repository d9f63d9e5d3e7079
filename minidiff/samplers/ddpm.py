r"""DDPM's ancestral sampler: estimate x_0, then sample from the posterior of the next level."""

from collections.abc import Iterator

from torch import Tensor

from minidiff.diffusion import posterior
from minidiff.diffusion.forward import step_between
from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import Scales
from minidiff.samplers.loop import Constrain, Noise, Rng, SamplerStep, Step, Times, run


def ddpm_step(
    x_t: Tensor, prediction: Prediction, now: Scales, next: Scales, z: Noise = None, *, variance: str = "posterior"
) -> Tensor:
    r"""One DDPM step from level t (`now`) to a lower level s (`next`): $x_s = \tilde\mu(\hat x_0, x_t) + \sigma_t\,z$   (`samplers.ddpm`), without z the mean

    variance: for "posterior", σ_t² is β̃, exact for a single known x_0. For "beta", exact for standard normal x_0, it is β of the step times
    $\frac{\mathrm{signal}_s^2 + \mathrm{noise}_s^2}{\mathrm{signal}_t^2 + \mathrm{noise}_t^2}$, which is 1 for DDPM's schedules.
    Source: Ho et al., 2020, algorithm 2; for skipped levels, Nichol & Dhariwal, 2021, section 4.
    """
    mean, sigma_t_squared = posterior.between(prediction.x_0, x_t, now, next)
    if z is None:
        return mean
    if variance == "beta":
        _, beta = step_between(next, now)
        growth = (next.signal**2 + next.noise**2) / (now.signal**2 + now.noise**2)
        sigma_t_squared = growth * beta
    return mean + sigma_t_squared.sqrt().to(x_t) * z


def ddpm(
    denoise: Denoiser,
    x: Tensor,
    times: Times,
    *,
    generator: Rng = None,
    constrain: Constrain = None,
    variance: str = "posterior",
) -> Iterator[SamplerStep]:
    """Samples with one `ddpm_step` for each pair of neighbouring levels in `times`; the step to level 0 adds no noise.
    Raises ValueError or TypeError at the call as `loop.run` does, without a generator, and for an unknown variance."""
    if variance not in ("posterior", "beta"):
        raise ValueError(f"unknown variance {variance!r}: choose posterior or beta")

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        return ddpm_step(x_t, prediction, step.now, step.next, step.z, variance=variance)

    return run(advance, denoise, x, times, generator=generator, constrain=constrain, stochastic=True)
