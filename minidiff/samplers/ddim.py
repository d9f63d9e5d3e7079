r"""DDIM: estimate x_0 and ε from x_t, then mix them with the signal and noise of the next level."""

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
    r"""One DDIM step: $x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma_t^2}\;\hat\varepsilon + \sigma_t z$,
    $\ \sigma_t = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}} = \eta \sqrt{\tilde\beta}$   (`samplers.ddim`)

    The step goes from level t (`now`) to a lower level s (`next`). On any schedule √ᾱ_s is signal_s and √(1 - ᾱ_s) is noise_s.
    eta: 0 adds no noise and needs no z; 1 gives DDPM's posterior variance. z: standard normal noise like x_t; None adds none.
    Source: Song et al., Denoising Diffusion Implicit Models, 2021, eq. 12 and 16.
    """
    x_0, eps = prediction
    _, beta = step_between(next, now)
    sigma_t = eta * (next.noise / now.noise) * beta.sqrt()
    direction = (next.noise**2 - sigma_t**2).clamp(min=0).sqrt()  # rounding may give -1e-17
    x_s = next.signal.to(x_t) * x_0 + direction.to(x_t) * eps
    return x_s if z is None else x_s + sigma_t.to(x_t) * z


def ddim(
    denoise: Denoiser, x: Tensor, times: Times, *, generator: Rng = None, constrain: Constrain = None, eta: Real = 0
) -> Iterator[SamplerStep]:
    """Samples with one `ddim_step` for each pair of neighbouring levels in `times`. eta > 0 needs a generator.
    Raises ValueError or TypeError at the call as `loop.run` does, and for an eta outside [0, 1]."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], from 0 for no noise to 1 for DDPM's; got {eta}")

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        return ddim_step(x_t, prediction, step.now, step.next, step.z, eta=eta)

    return run(advance, denoise, x, times, generator=generator, constrain=constrain, stochastic=eta > 0)


def ddim_inversion(denoise: Denoiser, x: Tensor, times: Times) -> Iterator[SamplerStep]:
    r"""DDIM in reverse: turns data at times[-1] into noise at times[0], over the same levels as `ddim`.

    $x_t = \mathrm{signal}_t\,\hat x_0 + \mathrm{noise}_t\,\hat\varepsilon$ with the prediction at the level s where the step *begins*, as x at its end t is not
    known yet; this causes the error of a round trip. At s = 0 there is no noise to predict: x̂_0 is x itself, and ε̂ is predicted at t,
    from x scaled to the size of x_t. Raises ValueError or TypeError at the call as `loop.run` does.
    Source: Song et al., Denoising Diffusion Implicit Models, 2021, section 4.3.
    """

    def predict(x_s: Tensor, s: Real) -> Prediction:
        if s > 0:
            return denoise(x_s, s)
        signal, noise = denoise.schedule.at(times[-2], like=x_s)
        size = (signal**2 + noise**2).sqrt()  # 1 for variance-preserving schedules
        return Prediction(x_s, denoise(size.to(x_s) * x_s, times[-2]).eps)

    def advance(x_s: Tensor, prediction: Prediction, step: Step) -> Tensor:
        return prediction.at(step.next)

    return run(advance, Denoiser(denoise.schedule, predict), x, times, upwards=True)
