"""Training: one loop for every model, the data it iterates over, and the losses it minimises."""

from minidiff.training.autoencoder import measure_latent_scale, set_posterior_std, vae_loss
from minidiff.training.batches import Batches, Data
from minidiff.training.config import TrainConfig, learning_rate
from minidiff.training.ema import average
from minidiff.training.loop import initialised, train
from minidiff.training.objective import diffusion_loss
from minidiff.training.timesteps import logit_normal, uniform

__all__ = [
    "Batches",
    "Data",
    "TrainConfig",
    "average",
    "diffusion_loss",
    "initialised",
    "learning_rate",
    "logit_normal",
    "measure_latent_scale",
    "set_posterior_std",
    "train",
    "uniform",
    "vae_loss",
]
