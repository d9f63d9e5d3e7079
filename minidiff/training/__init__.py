"""Training: one loop for any model, and Algorithm 1 of DDPM as the loss that it minimises."""

from minidiff.training.autoencoding import measure_latent_scale, set_noise, vae_loss
from minidiff.training.averaging import average
from minidiff.training.checkpoint import has_checkpoint
from minidiff.training.config import TrainConfig, learning_rate
from minidiff.training.levels import logit_normal, uniform
from minidiff.training.loop import initialised, train
from minidiff.training.objective import diffusion_loss

__all__ = [
    "TrainConfig",
    "average",
    "diffusion_loss",
    "has_checkpoint",
    "initialised",
    "learning_rate",
    "logit_normal",
    "measure_latent_scale",
    "set_noise",
    "train",
    "uniform",
    "vae_loss",
]
