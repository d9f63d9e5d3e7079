"""Samplers: from noise to data through a denoiser, one file a family.

Each is called with `(denoise, x, times, *, generator=None, constrain=None, …)`, checks its arguments at the call and then yields a
`SamplerStep` after each step. The step itself is a function of tensors and scales, `ddim_step` and its like, through which gradients flow.
"""

from functools import partial

from minidiff.samplers.ddim import ddim, ddim_inversion, ddim_step
from minidiff.samplers.ddpm import ddpm, ddpm_step
from minidiff.samplers.dpm_solver import dpm_solver_pp, dpm_solver_pp_sde_step, dpm_solver_pp_step
from minidiff.samplers.euler import euler, euler_ancestral, euler_ancestral_step, euler_step, heun, heun_step
from minidiff.samplers.loop import SamplerStep, final
from minidiff.samplers.plms import plms, plms_step
from minidiff.samplers.times import times

BY_NAME = {sampler.__name__: sampler for sampler in (ddim, ddpm, plms, dpm_solver_pp, euler, euler_ancestral, heun)}
BY_NAME["dpm_solver_pp_sde"] = partial(dpm_solver_pp, stochastic=True)


__all__ = [
    "BY_NAME", "SamplerStep", "ddim", "ddim_inversion", "ddim_step", "ddpm", "ddpm_step", "dpm_solver_pp",
    "dpm_solver_pp_sde_step", "dpm_solver_pp_step", "euler", "euler_ancestral", "euler_ancestral_step", "euler_step",
    "final", "heun", "heun_step", "plms", "plms_step", "times",
]  # fmt: skip
