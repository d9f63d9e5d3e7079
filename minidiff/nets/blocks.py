"""The convolutional parts of the U-Net and the VAE: residual blocks, downsampling, upsampling.

All map (b, c, h, w) to (b, c, h, w). A block with `time_dim` also takes `time`, the embedding of the timestep, and adds it to every
pixel, so that the same weights can denoise at every noise level.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each after GroupNorm and SiLU, added to the input; `time` is added between them.

    GroupNorm normalises over a group of channels and all pixels of one image. With one channel per group it would remove the constant
    that `time` adds, so keep `norm_groups` below the number of channels. Dropout comes before the second convolution. If the number of
    channels changes, a 1×1 convolution adapts x. Raises ValueError if norm_groups does not divide the channels, or if `time` is missing
    or not expected. Source: Ho et al. 2020, appendix B; Wu & He, Group Normalization, 2018, equations 1 and 2.
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
            called = "without" if time is None else "with"
            raise ValueError(f"this block was built {built}, but called {called} a time embedding")
        hidden = self.conv_1(F.silu(self.norm_1(x)))
        if time is not None:
            hidden = hidden + self.time(F.silu(time))[:, :, None, None]
        hidden = self.conv_2(self.dropout(F.silu(self.norm_2(hidden))))
        return self.shortcut(x) + hidden


class Downsample(nn.Module):
    """Halves height and width with a 3×3 convolution of stride 2, padded by one pixel on all sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c half_h half_w"]:
        return self.conv(x)


class AsymmetricDownsample(nn.Module):
    """Halves height and width with a 3×3 convolution of stride 2, padded by one pixel at the right and bottom only.

    Output pixel i sees input pixels 2i, 2i + 1 and 2i + 2; in `Downsample` it sees 2i - 1, 2i and 2i + 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c half_h half_w"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # left, right, top, bottom


class Upsample(nn.Module):
    """Doubles height and width: every pixel is repeated 2×2, then a 3×3 convolution follows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
