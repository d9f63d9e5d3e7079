"""The networks: what they are made of, and the U-Net and the autoencoder that the parts make.

One architecture in two sizes: the laptop's, and Stable Diffusion's.
"""

from minidiff.nets.unet import UNet, UNetConfig
from minidiff.nets.vae import VAE, VAEConfig

__all__ = ["VAE", "UNet", "UNetConfig", "VAEConfig"]
