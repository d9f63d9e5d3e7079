"""The convolutional bricks of the U-Net and of the VAE: residual blocks, halving, doubling.

All of them take and give (b, c, h, w). A block that is built with `time_dim` is also given `time`, the embedding of
the noise level, which it adds to every pixel: the same weights then denoise at every level.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, each after GroupNorm and SiLU, added to the input; `time` comes in between them.

    GroupNorm takes mean and variance over a group of channels and all pixels of one picture. In a group of a single
    channel the constant that `time` adds would not survive it: keep `norm_groups` below the number of channels.
    Dropout is before the second convolution. Where the number of channels changes, a 1×1 convolution carries x.

    Raises ValueError where norm_groups does not divide both numbers of channels, or `time` is missing or not wanted.
    Source: Ho et al. 2020, appendix B; Wu & He, Group Normalization, 2018, equations 1 and 2.
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
        self.shortcut = _shortcut(in_channels, out_channels)

    def forward(
        self, x: Float[Tensor, "b c_in h w"], time: Float[Tensor, "b time_dim"] | None = None
    ) -> Float[Tensor, "b c_out h w"]:
        hidden = self.conv_1(F.silu(self.norm_1(x)))
        hidden = _add_time(hidden, self.time, time)
        hidden = self.conv_2(self.dropout(F.silu(self.norm_2(hidden))))
        return self.shortcut(x) + hidden


class ConvNeXtBlock(nn.Module):
    """The other block that write-ups name: a 7×7 convolution in each channel, then a small network at each pixel.

    Same interface as `ResidualBlock`. As in the source but for the norm, which is by groups here, the time
    embedding, and the learned scale of the branch, which is left out: it begins at 1e-6, and the branch with it.

    Raises ValueError where norm_groups does not divide in_channels, or `time` is missing or not wanted.
    Source: Liu et al., A ConvNet for the 2020s, 2022, figure 4.
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
        self.depthwise = nn.Conv2d(in_channels, in_channels, kernel_size=7, padding=3, groups=in_channels)
        self.time = None if time_dim is None else nn.Linear(time_dim, in_channels)
        self.norm = nn.GroupNorm(norm_groups, in_channels, eps=eps)
        self.expand = nn.Conv2d(in_channels, 4 * out_channels, kernel_size=1)
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Conv2d(4 * out_channels, out_channels, kernel_size=1)
        self.shortcut = _shortcut(in_channels, out_channels)

    def forward(
        self, x: Float[Tensor, "b c_in h w"], time: Float[Tensor, "b time_dim"] | None = None
    ) -> Float[Tensor, "b c_out h w"]:
        hidden = _add_time(self.depthwise(x), self.time, time)
        hidden = F.gelu(self.expand(self.norm(hidden)))
        return self.shortcut(x) + self.contract(self.dropout(hidden))


class Downsample(nn.Module):
    """Half the height and width, by a 3×3 convolution of stride 2, padded alike on all sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c half_h half_w"]:
        return self.conv(x)


class AsymmetricDownsample(nn.Module):
    """Half the height and width, by a 3×3 convolution of stride 2, padded by one on the right and at the bottom alone.

    Pixel i of the output sees pixels 2i, 2i + 1 and 2i + 2 of the input, where `Downsample` begins at 2i - 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c half_h half_w"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # left, right, top, bottom


class Upsample(nn.Module):
    """Twice the height and width: every pixel becomes four, which a 3×3 convolution then smooths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def _shortcut(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, kernel_size=1)


def _add_time(hidden: Tensor, layer: nn.Linear | None, time: Tensor | None) -> Tensor:
    if (layer is None) != (time is None):
        built = "without time_dim" if layer is None else f"with time_dim={layer.in_features}"
        raise ValueError(f"block built {built}, called {'without' if time is None else 'with'} a time embedding")
    return hidden if time is None else hidden + layer(F.silu(time))[:, :, None, None]
