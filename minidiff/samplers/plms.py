r"""PLMS, a linear multistep method: it extrapolates $\hat\varepsilon$ from the last four predictions.

Deterministic samplers solve $d\bar x = \hat\varepsilon\,d\hat\sigma$, with $\bar x = x_t / \mathrm{signal}_t$ and
$\hat\sigma = \mathrm{noise}_t / \mathrm{signal}_t$. DDIM takes $\hat\varepsilon$ as constant within a step; PLMS takes a polynomial through
the last predictions. Both call the denoiser once per step.
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
"""Weights of the last 1 to 4 predictions, the newest first: the integral over the next step of the polynomial through them."""


def plms_step(x_t: Tensor, eps: Sequence[Tensor], now: Scales, next: Scales) -> Tensor:
    r"""One PLMS step: $x_s = r\,x_t + (\mathrm{noise}_s - r\,\mathrm{noise}_t)\,\varepsilon'$, $\ r = \mathrm{signal}_s / \mathrm{signal}_t$,
    $\ \varepsilon' = \frac{1}{24}(55\,\hat\varepsilon_0 - 59\,\hat\varepsilon_1 + 37\,\hat\varepsilon_2 - 9\,\hat\varepsilon_3)$   (`samplers.plms`)

    eps: ε̂_0 at this level, then ε̂ of up to three earlier steps, the newest first. Fewer than four give the method of that lower order.
    The weights are exact for equal steps in σ̂. Source: Liu et al., Pseudo Numerical Methods for Diffusion Models on Manifolds, 2022, eq. 9 and 12.
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
    """Samples with one `plms_step` for each pair of neighbouring levels in `times`, evenly spaced or not.

    warmup: the first three steps have fewer predictions. "lower" uses lower orders; "averaged" also corrects the first step with a
    prediction at its end, one more call. From a level with signal 0, where σ̂ is infinite, the first step is DDIM's.
    Of all samplers here PLMS needs the shortest steps to be stable: at a guidance scale of 5, use 50 steps rather than 25.
    Raises ValueError or TypeError at the call as `loop.run` does, for an unknown warm-up, and for a history or an averaged warm-up at
    a first level with signal 0.
    """
    if warmup not in ("lower", "averaged"):
        raise ValueError(f"unknown warmup {warmup!r}: choose lower or averaged")

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        if step.past:
            return plms_step(x_t, [prediction.eps, *(earlier.eps for _, earlier in step.past)], step.now, step.next)
        x_s = prediction.at(step.next)
        if warmup == "averaged" and step.s > 0:
            return plms_step(x_t, [(prediction.eps + denoise(x_s, step.s).eps) / 2], step.now, step.next)
        return x_s

    options = {"generator": generator, "constrain": constrain, "history": history, "memory": 3}
    if history or warmup == "averaged":
        options["needs_signal"] = "PLMS with a history, or with an averaged warm-up,"
    return run(advance, denoise, x, times, **options)
