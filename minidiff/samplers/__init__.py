"""Samplers, which turn noise into data with a denoiser; one file per family.

A sampler is called with `(denoise, x, times, *, generator=None, constrain=None, …)`, checks its arguments at the call, then yields a
`SamplerStep` after each step. The formula of a step is a differentiable function of tensors and scales, for example `ddim_step`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import signature
from typing import Any

from minidiff.samplers.ddim import ddim, ddim_inversion, ddim_step
from minidiff.samplers.ddpm import ddpm, ddpm_step
from minidiff.samplers.dpm_solver import dpm_solver_pp, dpm_solver_pp_sde_step, dpm_solver_pp_step
from minidiff.samplers.euler import euler, euler_ancestral, euler_ancestral_step, euler_step, heun, heun_step
from minidiff.samplers.loop import SamplerStep, final
from minidiff.samplers.plms import plms, plms_step
from minidiff.samplers.times import times

BY_NAME = {sampler.__name__: sampler for sampler in (ddim, ddpm, plms, dpm_solver_pp, euler, euler_ancestral, heun)}
BY_NAME["dpm_solver_pp_sde"] = partial(dpm_solver_pp, stochastic=True)


def by_name(name: str, options: Mapping[str, Any] | None = None) -> Callable[..., Iterator[SamplerStep]]:
    """The sampler of this name with its options set, for example `by_name("ddim", {"eta": 0.5})`.

    Options are the sampler's arguments that not all samplers have. Raises ValueError, with what there is, for an unknown name or option.
    """
    if name not in BY_NAME:
        raise ValueError(f"unknown sampler {name!r}: choose one of {', '.join(BY_NAME)}")
    common = {"denoise", "x", "times", "generator", "constrain", "history", *getattr(BY_NAME[name], "keywords", ())}
    known = signature(BY_NAME[name]).parameters.keys() - common
    if unknown := sorted((options or {}).keys() - known):
        raise ValueError(
            f"the sampler {name} has no option {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}"
        )
    return partial(BY_NAME[name], **(options or {}))


__all__ = [
    "BY_NAME", "SamplerStep", "by_name", "ddim", "ddim_inversion", "ddim_step", "ddpm", "ddpm_step", "dpm_solver_pp",
    "dpm_solver_pp_sde_step", "dpm_solver_pp_step", "euler", "euler_ancestral", "euler_ancestral_step", "euler_step",
    "final", "heun", "heun_step", "plms", "plms_step", "times",
]  # fmt: skip
