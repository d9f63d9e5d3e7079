"""The convolutional parts of the U-Net and of the VAE: residual blocks, halving, doubling.

All of them take and give (b, c, h, w). A block that is built with `time_dim` is also given `time`, the embedding of
the noise level, which it adds to every pixel: the same weights then denoise at every level.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each after GroupNorm and SiLU, added to the input; `time` is added between them.

    GroupNorm takes mean and variance over a group of channels and all pixels of one image. In a group of a single
    channel it removes the constant that `time` adds: keep `norm_groups` below the number of channels.
    Dropout is before the second convolution. Where the number of channels changes, x passes a 1×1 convolution.
    Raises ValueError where norm_groups does not divide the channels, or `time` is missing or not wanted. Source: Ho et al. 2020, appendix B; Wu & He, Group Normalization, 2018, equations 1 and 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_dim: int | None = None,
        norm_groups: int = 32,
        eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(norm_groups, in_channels, eps=eps)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.time = None if time_dim is None else nn.Linear(time_dim, out_channels)
        self.norm_2 = nn.GroupNorm(norm_groups, out_channels, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(
        self, x: Float[Tensor, "b c_in h w"], time: Float[Tensor, "b time_dim"] | None = None
    ) -> Float[Tensor, "b c_out h w"]:
        if (self.time is None) != (time is None):
            built = "without time_dim" if self.time is None else f"with time_dim={self.time.in_features}"
            raise ValueError(f"block built {built}, called {'without' if time is None else 'with'} a time embedding")
        hidden = self.conv_1(F.silu(self.norm_1(x)))
        if time is not None:
            hidden = hidden + self.time(F.silu(time))[:, :, None, None]
        hidden = self.conv_2(self.dropout(F.silu(self.norm_2(hidden))))
        return self.shortcut(x) + hidden


class Downsample(nn.Module):
    """Half the height and width, by a 3×3 convolution of stride 2, padded by one on all sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c half_h half_w"]:
        return self.conv(x)


class AsymmetricDownsample(nn.Module):
    """Half the height and width, by a 3×3 convolution of stride 2, padded by one on the right and at the bottom only.

    Pixel i of the output sees pixels 2i, 2i + 1 and 2i + 2 of the input, where `Downsample` begins at 2i - 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c half_h half_w"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # left, right, top, bottom


class Upsample(nn.Module):
    """Twice the height and width: every pixel is repeated in 2×2, then a 3×3 convolution smooths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
