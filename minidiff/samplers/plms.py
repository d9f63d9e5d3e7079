r"""PLMS: the past answers of the denoiser tell how the next one will turn out.

What a deterministic sampler follows is $d\bar x = \hat\varepsilon\,d\hat\sigma$, with $\bar x = x_t / \sqrt{\bar\alpha_t}$ and
$\hat\sigma = \sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}$: DDIM takes $\hat\varepsilon$ as constant within a step. A linear multistep method
puts a polynomial through the last answers instead. One call of the network a step, as before.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from numbers import Real

from torch import Tensor

from minidiff.diffusion.noise import Generators
from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import NoiseSchedule
from minidiff.samplers.run import SamplerStep, check, iterate

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""The weights of the last 1, 2, 3, 4 answers, the newest first: integrals of the polynomials through them over the next step."""


def plms(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    times: Sequence[Real],
    *,
    generator: Generators | None = None,
    constrain: Callable[[Tensor, Real], Tensor] | None = None,
    warmup: str = "lower",
    history: Sequence[tuple[Real, Prediction]] = (),
) -> Iterator[SamplerStep]:
    r"""$x_s = \sqrt{\frac{\bar\alpha_s}{\bar\alpha_t}}\,x_t + \Big(\sqrt{1 - \bar\alpha_s} - \sqrt{\bar\alpha_s}\,\hat\sigma_t\Big)\,\varepsilon'$,
    $\ \varepsilon' = \frac{1}{24}(55\,\hat\varepsilon_0 - 59\,\hat\varepsilon_1 + 37\,\hat\varepsilon_2 - 9\,\hat\varepsilon_3)$   (`samplers.plms`)

    with this level's answer ε̂_0 and those of the three before it. The weights are right for equal steps of σ̂, and used at any `times`.
    warmup: the first three steps have a shorter past, and take "lower" orders; with "averaged" the first step is corrected by an
    answer at its own end, one call more. history: levels above times[0] and what the denoiser said there, the oldest first.

    Of all samplers here it needs the shortest steps to be stable: under strong guidance, 5 say, fifty of them and not twenty-five.

    Yields after each step. Raises ValueError or TypeError at the call for levels that do not descend, an unknown warm-up, a history
    that is out of order, and where more than one answer is asked for at a level where ᾱ_t = 0, from which a step of σ̂ is infinite.
    Source: Liu et al., Pseudo Numerical Methods for Diffusion Models on Manifolds, 2022, eq. 9 and 12.
    """
    alpha_bar = check(schedule, x, times, history)
    if warmup not in ("lower", "averaged"):
        raise ValueError(f"unknown warm-up {warmup!r}: choose lower or averaged")
    if alpha_bar[times[0]] == 0 and (history or warmup == "averaged"):
        raise ValueError(f"ᾱ_t = 0 at t = {times[0]}: begin at a lower level, or warm up by lower orders")
    recent = deque((said.eps for _, said in history), maxlen=4)

    def step(x_t: Tensor, t: Real, s: Real) -> tuple[Tensor, Tensor]:
        x_0, eps = denoise(x_t, t)
        recent.append(eps)
        if len(recent) > 1:
            mixed = 0 * eps
            for weight, past in zip(ADAMS_BASHFORTH[len(recent) - 1], reversed(recent), strict=True):
                mixed = mixed.add(past, alpha=weight)
            return moved(x_t, t, s, mixed), x_0
        x_s = math.sqrt(alpha_bar[s]) * x_0 + math.sqrt(1 - alpha_bar[s]) * eps  # by this answer alone, as DDIM
        if warmup == "averaged" and s > 0:
            x_s = moved(x_t, t, s, (eps + denoise(x_s, s).eps) / 2)
        return x_s, x_0

    def moved(x_t: Tensor, t: Real, s: Real, eps: Tensor) -> Tensor:
        stretch = math.sqrt(alpha_bar[s] / alpha_bar[t])
        return stretch * x_t + (math.sqrt(1 - alpha_bar[s]) - stretch * math.sqrt(1 - alpha_bar[t])) * eps

    return iterate(step, x, times, constrain)
