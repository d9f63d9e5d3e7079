"""Layers that many write-ups name and that our networks do not use. Notebook 07 compares them with the layers that are used."""

import math

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn


def linear_attention(
    query: Float[Tensor, "... n d"], key: Float[Tensor, "... l d"], value: Float[Tensor, "... l e"]
) -> Float[Tensor, "... n e"]:
    r"""Linear attention, whose cost grows with n + l instead of n · l, since no n × l matrix is computed.

    $\operatorname{softmax}_d(Q)\,(\operatorname{softmax}_l(K)^\top V)$   (`attention.linear`)

    It also averages the values, with weights softmax_d(Q) softmax_l(K)ᵀ whose rows sum to 1. Their rank is at most d, so this is a
    different layer from softmax attention, not a faster way to compute it.
    Source: Shen et al., Efficient Attention, 2018, section 3.2.
    """
    summary = key.softmax(dim=-2).transpose(-1, -2) @ value  # (..., d, e), for any number of positions
    return query.softmax(dim=-1) @ summary


class ConvNeXtBlock(nn.Sequential):
    """A 7×7 convolution per channel, a norm, and two 1×1 convolutions around a GELU, added to the input.

    (b, channels, h, w) -> the same shape. The paper normalises over the channels of each pixel, this block over groups of channels and
    all pixels; the paper's learned scale of the branch (initially 1e-6) is left out.
    Source: Liu et al., A ConvNet for the 2020s, 2022, figure 4.
    """

    def __init__(self, channels: int, *, norm_groups: int = 32) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels),
            nn.GroupNorm(norm_groups, channels),
            nn.Conv2d(channels, 4 * channels, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(4 * channels, channels, kernel_size=1),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + super().forward(x)


def ddpm_sinusoidal_embedding(t: Real[Tensor, "b"], dim: int, max_period: float = 10_000) -> Float[Tensor, "b dim"]:
    r"""The sines, then the cosines, of t times `dim / 2` geometrically spaced frequencies, as in DDPM.

    $(\sin \omega_0 t, \dots, \cos \omega_0 t, \dots),\ \omega_i = P^{-i/(h-1)},\ i < h = d/2$   (`embeddings.ddpm`)

    The frequencies go from 1 to $1/P$, both included. `nets.embeddings.sinusoidal_embedding` has the cosines first and another
    spacing. Both are valid, but a network trained with one does not work with the other.
    t: any real numbers; the result is float32. Raises ValueError unless dim is even and at least 4.
    Source: the code of Ho et al. 2020, after Vaswani et al. 2017, section 3.5.
    """
    if dim < 4 or dim % 2:
        raise ValueError(f"dim must be even and at least 4, got {dim}: one half holds sines, the other half cosines")
    half = dim // 2
    exponents = torch.arange(half, device=t.device, dtype=torch.float32) / (half - 1)
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
