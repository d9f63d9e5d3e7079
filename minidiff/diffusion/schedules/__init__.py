"""Noise schedules: how much of the data and how much noise is in x_t. t = 0 is clean data, t = T the highest noise level."""

from numbers import Real

from minidiff.diffusion.schedules.flow import flow, variance_exploding
from minidiff.diffusion.schedules.schedule import Batch, Level, Scales, Schedule, shared
from minidiff.diffusion.schedules.variance_preserving import (
    NoiseSchedule,
    cosine,
    from_betas,
    linear,
    scaled_linear,
    sigmoid,
)

SCHEDULES = {make.__name__: make for make in (linear, scaled_linear, cosine, sigmoid, flow, variance_exploding)}


def by_name(name: str, **parameters: Real) -> Schedule:
    """The schedule of a configuration file: its name and parameters. Raises ValueError for an unknown name."""
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}: choose one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name](**parameters)


__all__ = [
    "SCHEDULES", "Batch", "Level", "NoiseSchedule", "Scales", "Schedule", "by_name", "cosine", "flow", "from_betas", "linear", "scaled_linear",
    "shared", "sigmoid", "variance_exploding",
]  # fmt: skip
