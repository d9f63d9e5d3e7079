r"""PLMS: earlier predictions tell how the next one will turn out.

What a deterministic sampler follows is $d\bar x = \hat\varepsilon\,d\hat\sigma$, with $\bar x = x_t / \mathrm{signal}_t$ and
$\hat\sigma = \mathrm{noise}_t / \mathrm{signal}_t$: DDIM takes $\hat\varepsilon$ as constant within a step. A linear multistep method
puts a polynomial through the last predictions instead. One call of the network a step, as before.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import Scales
from minidiff.samplers.loop import Constrain, History, Rng, SamplerStep, Step, Times, run

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""The weights of the last 1, 2, 3, 4 predictions, the newest first: integrals of the polynomials through them over the next step."""


def plms_step(x_t: Tensor, eps: Sequence[Tensor], now: Scales, next: Scales) -> Tensor:
    r"""$x_s = r\,x_t + (\mathrm{noise}_s - r\,\mathrm{noise}_t)\,\varepsilon'$, $\ r = \mathrm{signal}_s / \mathrm{signal}_t$,
    $\ \varepsilon' = \frac{1}{24}(55\,\hat\varepsilon_0 - 59\,\hat\varepsilon_1 + 37\,\hat\varepsilon_2 - 9\,\hat\varepsilon_3)$   (`samplers.plms`)

    eps: ε̂_0 at this level and those of up to three steps before, the newest first; with fewer than four, the method of that lower order.
    The weights are right for equal steps of σ̂. Source: Liu et al., Pseudo Numerical Methods for Diffusion Models on Manifolds, 2022, eq. 9 and 12.
    """
    r = next.signal / now.signal
    mixed = sum(weight * past for weight, past in zip(ADAMS_BASHFORTH[len(eps) - 1], eps, strict=True))
    return r.to(x_t) * x_t + (next.noise - r * now.noise).to(x_t) * mixed


def plms(
    denoise: Denoiser,
    x: Tensor,
    times: Times,
    *,
    generator: Rng = None,
    constrain: Constrain = None,
    warmup: str = "lower",
    history: History = (),
) -> Iterator[SamplerStep]:
    """`plms_step` for each neighbouring pair t > s of `times`, even or not.

    warmup: the first three steps have a shorter past, and take "lower" orders; with "averaged" the first step is corrected by a
    prediction at its own end, one call more. From a level without signal, where σ̂ is infinite, the first step is DDIM's.
    Of all samplers here it needs the shortest steps to be stable: under strong guidance, 5 say, fifty of them and not twenty-five.
    Raises ValueError or TypeError at the call as `loop.run` does, for an unknown warm-up, and where more than one prediction is asked for
    at a level without signal.
    """
    if warmup not in ("lower", "averaged"):
        raise ValueError(f"unknown warm-up {warmup!r}: choose lower or averaged")

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        if step.past:
            return plms_step(x_t, [prediction.eps, *(said.eps for _, said in step.past)], step.now, step.next)
        x_s = prediction.at(step.next)
        if warmup == "averaged" and step.s > 0:
            return plms_step(x_t, [(prediction.eps + denoise(x_s, step.s).eps) / 2], step.now, step.next)
        return x_s

    options = {"generator": generator, "constrain": constrain, "history": history, "memory": 3}
    if history or warmup == "averaged":
        options["needs_signal"] = "PLMS with a history, or with an averaged warm-up,"
    return run(advance, denoise, x, times, **options)
