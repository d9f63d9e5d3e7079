"""Whole systems: network, schedule and sampler put together, saved as one folder."""

from minidiff.pipelines.pixel import PixelDiffusion

__all__ = ["PixelDiffusion"]
