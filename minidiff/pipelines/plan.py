"""What a walk from noise to a picture needs before it begins: the same for drawing and for editing."""

from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from minidiff import samplers
from minidiff.diffusion.noise import seeded
from minidiff.diffusion.prediction import Denoiser
from minidiff.diffusion.schedules import NoiseSchedule

HEUN_BEGINS_AT = 80  # karras_sigma, as in Karras et al. 2022, table 1


class Plan(NamedTuple):
    """A guided denoiser, the levels to visit, by which sampler, and a generator for each picture."""

    denoise: Denoiser
    schedule: NoiseSchedule
    times: list[int] | list[float]
    sampler: str
    generators: Sequence[torch.Generator]

    def walk(
        self, x: Tensor, constrain: Callable[[Tensor, Real], Tensor] | None = None
    ) -> Iterator[samplers.SamplerStep]:
        """The sampler's steps from x, which is at the first level."""
        sampler = samplers.BY_NAME[self.sampler]
        return sampler(self.denoise, self.schedule, x, self.times, generator=self.generators, constrain=constrain)


def plan(denoise: Denoiser, schedule: NoiseSchedule, sampler: str, steps: int, seed: int, count: int) -> Plan:
    """A plan for `count` pictures, of which picture i is drawn from seed + i.

    All samplers begin at T but Heun's: the mean of two slopes over a step from nearly infinite noise is far off, so it begins at
    the last level where karras_sigma is 80 at most, and noise is noise there too.
    Raises ValueError for an unknown sampler and for steps that the schedule has no room for.
    """
    if sampler not in samplers.BY_NAME:
        raise ValueError(f"unknown sampler {sampler!r}: choose one of {', '.join(samplers.BY_NAME)}")
    start = int((schedule.karras_sigmas <= HEUN_BEGINS_AT).sum()) - 1 if sampler == "heun" else schedule.T
    return Plan(denoise, schedule, samplers.times(schedule.T, steps, start=start), sampler, seeded(seed, count))
