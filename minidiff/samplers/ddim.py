r"""DDIM: estimate both ends of the line on which x_t lies, then put x on the line at the level below."""

from collections.abc import Iterator
from numbers import Real

from torch import Tensor

from minidiff.diffusion.forward import step_between
from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import Scales
from minidiff.samplers.loop import Constrain, Noise, Rng, SamplerStep, Step, Times, run


def ddim_step(
    x_t: Tensor, prediction: Prediction, now: Scales, next: Scales, z: Noise = None, *, eta: Real = 0.0
) -> Tensor:
    r"""$x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma_t^2}\;\hat\varepsilon + \sigma_t z$,
    $\ \sigma_t = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}} = \eta \sqrt{\tilde\beta}$   (`samplers.ddim`)

    From level t (`now`) to a lower level s (`next`), with signal_s for √ᾱ_s and noise_s for √(1 - ᾱ_s) on any schedule.
    eta: 0 adds no noise and needs no z; 1 has DDPM's posterior variance. z: standard normal noise like x_t; None adds none.
    Source: Song et al., Denoising Diffusion Implicit Models, 2021, eq. 12 and 16.
    """
    x_0, eps = prediction
    _, beta = step_between(next, now)
    sigma_t = eta * (next.noise / now.noise) * beta.sqrt()
    direction = (next.noise**2 - sigma_t**2).clamp(min=0).sqrt()  # rounding may leave -1e-17
    x_s = next.signal.to(x_t) * x_0 + direction.to(x_t) * eps
    return x_s if z is None else x_s + sigma_t.to(x_t) * z


def ddim(
    denoise: Denoiser, x: Tensor, times: Times, *, generator: Rng = None, constrain: Constrain = None, eta: Real = 0
) -> Iterator[SamplerStep]:
    """`ddim_step` for each neighbouring pair t > s of `times`. With eta > 0 it needs a generator.
    Raises ValueError or TypeError at the call as `loop.run` does, and for an eta outside [0, 1]."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], from no noise to DDPM's; got {eta}")

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        return ddim_step(x_t, prediction, step.now, step.next, step.z, eta=eta)

    return run(advance, denoise, x, times, generator=generator, constrain=constrain, stochastic=eta > 0)


def ddim_inversion(denoise: Denoiser, x: Tensor, times: Times) -> Iterator[SamplerStep]:
    r"""DDIM the other way: from data at times[-1] up to noise at times[0], over the levels that `ddim` would come down by.

    $x_t = \mathrm{signal}_t\,\hat x_0 + \mathrm{noise}_t\,\hat\varepsilon$ with the prediction at the level that is *left*, s: x at the level to be reached is
    not known yet, and that is the error of the round trip. At s = 0 there is no noise to predict: x_0 is x itself there, and ε̂ is asked
    for at t, with x brought to that level's size. Raises ValueError or TypeError at the call as `loop.run` does.
    Source: Song et al., Denoising Diffusion Implicit Models, 2021, section 4.3.
    """

    def predict(x_s: Tensor, s: Real) -> Prediction:
        if s > 0:
            return denoise(x_s, s)
        signal, noise = denoise.schedule.at(times[-2], like=x_s)
        size = (signal**2 + noise**2).sqrt()  # 1 where the variance is kept
        return Prediction(x_s, denoise(size.to(x_s) * x_s, times[-2]).eps)

    def advance(x_s: Tensor, prediction: Prediction, step: Step) -> Tensor:
        return prediction.at(step.next)

    return run(advance, Denoiser(denoise.schedule, predict), x, times, upwards=True)
