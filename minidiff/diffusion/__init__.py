"""The mathematics of diffusion: tensors in, tensors out. No networks, and no randomness of its own."""

from minidiff.diffusion import forward, gaussians, losses, oracles, posterior, prediction, schedules

__all__ = ["forward", "gaussians", "losses", "oracles", "posterior", "prediction", "schedules"]
