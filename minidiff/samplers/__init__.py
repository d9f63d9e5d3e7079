"""Samplers: from noise to data through a denoiser, one file a family.

Each is called with `(denoise, schedule, x, times, *, generator=None, constrain=None, …)`. It checks its arguments at the call and
then yields a `SamplerStep` after each step.
"""

from functools import partial

from minidiff.samplers.ddim import ddim, ddim_inversion
from minidiff.samplers.ddpm import ddpm
from minidiff.samplers.dpm_solver import dpm_solver_pp
from minidiff.samplers.euler import euler, euler_ancestral, heun
from minidiff.samplers.plms import plms
from minidiff.samplers.run import SamplerStep, final
from minidiff.samplers.times import times

BY_NAME = {
    "ddim": ddim,
    "ddpm": ddpm,
    "plms": plms,
    "dpm_solver_pp": dpm_solver_pp,
    "dpm_solver_pp_sde": partial(dpm_solver_pp, stochastic=True),
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
}

__all__ = [
    "BY_NAME",
    "SamplerStep",
    "ddim",
    "ddim_inversion",
    "ddpm",
    "dpm_solver_pp",
    "euler",
    "euler_ancestral",
    "final",
    "heun",
    "plms",
    "times",
]
