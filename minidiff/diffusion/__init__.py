"""The mathematics of diffusion, as functions of tensors: no networks, and no random numbers but from a generator that the caller passes."""

from minidiff.diffusion import forward, gaussians, losses, oracles, posterior, prediction, schedules

__all__ = ["forward", "gaussians", "losses", "oracles", "posterior", "prediction", "schedules"]
