"""What sampling needs before it begins: the same for drawing and for editing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minidiff import samplers
from minidiff.diffusion.prediction import Denoiser
from minidiff.noise import randn_like, seeded

HEUN_BEGINS_AT = 80  # karras_sigma, as in Karras et al. 2022, table 1


class Plan(NamedTuple):
    """A guided denoiser, the levels to visit, by which sampler with which options, and a generator for each picture."""

    denoise: Denoiser
    times: list[int] | list[float]
    sampler: str
    options: Mapping[str, Any]
    generators: Sequence[torch.Generator]

    def noise(self, like: Tensor) -> Tensor:
        """x at the first level where no picture is known: noise of the schedule's size there, shaped like `like`."""
        return self.scaled(randn_like(like, self.generators))

    def scaled(self, eps: Tensor) -> Tensor:
        """Standard normal noise at the size that it has at the first level."""
        return self.denoise.schedule.prior_std(self.times[0]) * eps

    def walk(
        self, x: Tensor, constrain: Callable[[Tensor, Real], Tensor] | None = None
    ) -> Iterator[samplers.SamplerStep]:
        """The sampler's steps from x, which is at the first level."""
        sampler = samplers.BY_NAME[self.sampler]
        return sampler(self.denoise, x, self.times, generator=self.generators, constrain=constrain, **self.options)


def options_of(sampler: str) -> set[str]:
    """The options that this sampler has beside those of all, such as "eta"."""
    function = samplers.BY_NAME[sampler]
    common = {"denoise", "x", "times", "generator", "constrain", "history", *getattr(function, "keywords", ())}
    return set(signature(function).parameters) - common


def plan(
    denoise: Denoiser, sampler: str, steps: int, seed: int, count: int, options: Mapping[str, Any] | None = None
) -> Plan:
    """A plan for `count` pictures, of which picture i is drawn from seed + i; `options` are the sampler's own, {"eta": 0.5} say.

    All samplers begin at T but Heun's: the mean of two slopes over a step from nearly infinite noise is far off, so it begins at
    the last level where karras_sigma is 80 at most, where x_t is noise too.
    Raises ValueError for an unknown sampler, for an option that it does not have, and for steps that the schedule has no room for.
    """
    if sampler not in samplers.BY_NAME:
        raise ValueError(f"unknown sampler {sampler!r}: choose one of {', '.join(samplers.BY_NAME)}")
    options = dict(options or {})
    known = options_of(sampler)
    if unknown := sorted(options.keys() - known):
        raise ValueError(
            f"the sampler {sampler} has no option {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}"
        )
    schedule = denoise.schedule
    start = int((schedule.karras_sigmas <= HEUN_BEGINS_AT).sum()) - 1 if sampler == "heun" else schedule.T
    return Plan(denoise, samplers.times(schedule.T, steps, start=start), sampler, options, seeded(seed, count))
