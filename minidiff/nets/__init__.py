"""The networks: what they are made of, and the U-Net that the parts make.

One architecture in two sizes: the laptop's, and Stable Diffusion's.
"""

from minidiff.nets.unet import UNet, UNetConfig

__all__ = ["UNet", "UNetConfig"]
