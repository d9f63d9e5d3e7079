r"""DPM-Solver++: the linear part of the differential equation is solved exactly, and $\hat x_0$ is extrapolated.

Its time variable is $\lambda = \frac12 \log\mathrm{SNR} = \log(\mathrm{signal} / \mathrm{noise})$, and h is a step in λ.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import Scales
from minidiff.samplers.loop import Constrain, History, Noise, Rng, SamplerStep, Step, Times, run

Past = tuple[Scales, Prediction] | None  # scales and prediction of the previous step


def dpm_solver_pp_step(x_t: Tensor, prediction: Prediction, now: Scales, next: Scales, before: Past = None) -> Tensor:
    r"""One DPM-Solver++ step: $x_s = \frac{\mathrm{noise}_s}{\mathrm{noise}_t}\,x_t + \mathrm{signal}_s\,(1 - e^{-h})\,D$,
    $\ D = \hat x_0 + \frac{h}{2 h'}(\hat x_0 - \hat x_0')$   (`samplers.dpm_solver_pp`); h' and x̂_0' belong to the previous step

    before: scales and prediction of the previous step; without them D = x̂_0, which is DDIM. Source: Lu et al., DPM-Solver++, 2022, algorithm 2.
    """
    keep, shrink = next.noise / now.noise, _shrink(now, next)
    guess = _extrapolated(prediction, now, next, before)
    return keep.to(x_t) * x_t + (next.signal * (1 - shrink)).to(x_t) * guess


def dpm_solver_pp_sde_step(
    x_t: Tensor, prediction: Prediction, now: Scales, next: Scales, z: Noise = None, before: Past = None
) -> Tensor:
    r"""One step of SDE-DPM-Solver++: $x_s = \frac{\mathrm{noise}_s}{\mathrm{noise}_t}\,e^{-h} x_t + \mathrm{signal}_s\,(1 - e^{-2h})\,D + \mathrm{noise}_s \sqrt{1 - e^{-2h}}\,z$   (`samplers.dpm_solver_pp_sde`)

    D and `before` as in `dpm_solver_pp_step`; without z the mean. Source: Lu et al., DPM-Solver++, 2022, appendix D.
    """
    keep, shrink = next.noise / now.noise, _shrink(now, next)
    guess = _extrapolated(prediction, now, next, before)
    x_s = (keep * shrink).to(x_t) * x_t + (next.signal * (1 - shrink**2)).to(x_t) * guess
    return x_s if z is None else x_s + (next.noise * (1 - shrink**2).sqrt()).to(x_t) * z


def dpm_solver_pp(
    denoise: Denoiser,
    x: Tensor,
    times: Times,
    *,
    generator: Rng = None,
    constrain: Constrain = None,
    order: int = 2,
    stochastic: bool = False,
    history: History = (),
) -> Iterator[SamplerStep]:
    """Samples with one `dpm_solver_pp_step`, or `dpm_solver_pp_sde_step` if stochastic, for each pair of neighbouring levels in `times`.

    order: 2 is "2M", with one call of the denoiser per step as in DDIM; 1 has D = x̂_0. Steps without a previous one, and steps where
    h is infinite (from signal 0, or to level 0), have order 1. history: its last level is used.
    Raises ValueError or TypeError at the call as `loop.run` does, and for any other order.
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")

    def advance(x_t: Tensor, prediction: Prediction, step: Step) -> Tensor:
        before = step.past[0] if step.past else None
        if stochastic:
            return dpm_solver_pp_sde_step(x_t, prediction, step.now, step.next, step.z, before)
        return dpm_solver_pp_step(x_t, prediction, step.now, step.next, before)

    options = {"generator": generator, "constrain": constrain, "stochastic": stochastic}
    return run(advance, denoise, x, times, history=history, memory=order - 1, **options)


def _shrink(now: Scales, next: Scales) -> Tensor:
    """e^{-h}; 0 where h is infinite."""
    return (now.signal / now.noise) * (next.noise / next.signal)


def _extrapolated(prediction: Prediction, now: Scales, next: Scales, before: Past) -> Tensor:
    """D: x̂_0 extrapolated by half a step, linearly in λ from the last two predictions; x̂_0 itself where a step in λ is infinite."""
    if before is None:
        return prediction.x_0
    last, last_prediction = before
    h, last_h = -_shrink(now, next).log(), -_shrink(last, now).log()
    ahead = torch.where(h.isinf() | last_h.isinf(), 0, h / (2 * last_h))
    return prediction.x_0 + ahead.to(prediction.x_0) * (prediction.x_0 - last_prediction.x_0)
