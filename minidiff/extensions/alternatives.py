"""Layers that write-ups name and our networks do not use: notebook 07 compares them with those that the networks use."""

import math

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn


def linear_attention(
    query: Float[Tensor, "... n d"], key: Float[Tensor, "... l d"], value: Float[Tensor, "... l e"]
) -> Float[Tensor, "... n e"]:
    r"""Attention whose cost grows with n + l, not with n · l: no n × l matrix is computed.

    $\operatorname{softmax}_d(Q)\,(\operatorname{softmax}_l(K)^\top V)$   (`attention.linear`)

    Bracketed the other way it is an average too, with weights softmax_d(Q) softmax_l(K)ᵀ whose rows sum to 1. Their
    rank is at most d: this is another layer, not the softmax of `attention_weights` computed faster.
    Source: Shen et al., Efficient Attention, 2018, section 3.2.
    """
    summary = key.softmax(dim=-2).transpose(-1, -2) @ value  # (..., d, e), however many positions there are
    return query.softmax(dim=-1) @ summary


class ConvNeXtBlock(nn.Sequential):
    """A 7×7 convolution in each channel, a norm, and two 1×1 convolutions around a GELU, added to the input.

    (b, channels, h, w) -> the same shape. The source normalises over the channels of a pixel, this block over groups
    and pixels; the source's learned scale of the branch (at first 1e-6) is left out.
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
    r"""Embed t as sines, then cosines, of `dim / 2` geometrically spaced frequencies: DDPM's form.

    $(\sin \omega_0 t, \dots, \cos \omega_0 t, \dots),\ \omega_i = P^{-i/(h-1)},\ i < h = d/2$   (`embeddings.ddpm`)

    The frequencies run from 1 to $1/P$, both included. `nets.embeddings.sinusoidal_embedding` has the cosines first and another
    spacing: both are valid, but a network trained with one does not work with the other.
    t: integers or levels between them; the result is float32.
    Raises ValueError where dim is not an even number of at least 4: two frequencies make a spacing.
    Source: the code of Ho et al. 2020, after Vaswani et al. 2017, section 3.5.
    """
    if dim < 4 or dim % 2:
        raise ValueError(f"dim must be even and at least 4, got {dim}: half of it are sines, half cosines")
    half = dim // 2
    exponents = torch.arange(half, device=t.device, dtype=torch.float32) / (half - 1)
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
