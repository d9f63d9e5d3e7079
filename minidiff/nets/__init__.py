"""Networks: the U-Net, the autoencoder, and their parts. The same classes are built small for a laptop and large for Stable Diffusion.

`Condition` holds everything that a U-Net is given beside x_t and t.
"""

from minidiff.nets.condition import Condition
from minidiff.nets.unet import Features, UNet, UNetConfig, UNetEncoder
from minidiff.nets.vae import VAE, VAEConfig

__all__ = ["VAE", "Condition", "Features", "UNet", "UNetConfig", "UNetEncoder", "VAEConfig"]
