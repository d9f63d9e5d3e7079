"""Samplers: from noise to data through a denoiser, one file a family.

Each is called with `(denoise, schedule, x, times, *, generator=None, constrain=None, …)`. It checks its arguments at the call and
then yields a `SamplerStep` after each step.
"""

from minidiff.samplers.ddim import ddim
from minidiff.samplers.ddpm import ddpm
from minidiff.samplers.run import SamplerStep, final
from minidiff.samplers.times import times

BY_NAME = {"ddim": ddim, "ddpm": ddpm}

__all__ = ["BY_NAME", "SamplerStep", "ddim", "ddpm", "final", "times"]
