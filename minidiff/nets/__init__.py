"""The networks: what they are made of, and the U-Net and the autoencoder that the parts make.

One architecture in two sizes: the laptop's, and Stable Diffusion's. `Condition` holds what steers a U-Net.
"""

from minidiff.nets.condition import Condition
from minidiff.nets.unet import Features, UNet, UNetConfig, UNetEncoder
from minidiff.nets.vae import VAE, VAEConfig

__all__ = ["VAE", "Condition", "Features", "UNet", "UNetConfig", "UNetEncoder", "VAEConfig"]
