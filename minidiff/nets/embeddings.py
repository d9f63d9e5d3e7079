r"""Noise level -> vector: how a network is told the t at which it is asked to denoise.

One number is too coarse an input. Here a row of clocks reads t, each slower than the one before it:
the fast ones tell neighbours apart, the slow ones say roughly where on the way from 0 to T one is.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn


def sinusoidal_embedding(t: Real[Tensor, "b"], dim: int, max_period: float = 10_000) -> Float[Tensor, "b dim"]:
    r"""Embed t as cosines, then sines, of `dim / 2` geometrically spaced frequencies: Stable Diffusion's form.

    $(\cos \omega_0 t, \dots, \sin \omega_0 t, \dots),\ \omega_i = P^{-i/h},\ i < h = d/2$   (`embeddings.sinusoidal`)

    The slowest clock, $P^{-(h-1)/h}$, stops just short of $1/P$. `ddpm_sinusoidal_embedding` reaches it, and has the
    sines first: both are valid, but a network trained with one cannot read the other.
    t: integers or levels between them; the result is float32 whatever t is.

    Raises ValueError where dim is not a positive even number.
    Source: Vaswani et al. 2017, section 3.5, in the form of Dhariwal & Nichol's and Rombach et al.'s code.
    """
    half = _half(dim, smallest=2)
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def ddpm_sinusoidal_embedding(t: Real[Tensor, "b"], dim: int, max_period: float = 10_000) -> Float[Tensor, "b dim"]:
    r"""Embed t as sines, then cosines, of `dim / 2` geometrically spaced frequencies: DDPM's form.

    $(\sin \omega_0 t, \dots, \cos \omega_0 t, \dots),\ \omega_i = P^{-i/(h-1)},\ i < h = d/2$   (`embeddings.ddpm`)

    The frequencies run from 1 to $1/P$, both included. `sinusoidal_embedding` has the cosines first and another
    spacing: both are valid, but a network trained with one cannot read the other.
    t: integers or levels between them; the result is float32 whatever t is.

    Raises ValueError where dim is not an even number of at least 4: two frequencies make a spacing.
    Source: the code of Ho et al. 2020, after Vaswani et al. 2017, section 3.5.
    """
    half = _half(dim, smallest=4)
    exponents = torch.arange(half, device=t.device, dtype=torch.float32) / (half - 1)
    angles = t.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimeEmbedding(nn.Module):
    """Sinusoids, then two linear layers: the form in which every residual block is given t.

    Stable Diffusion 1: 320 sinusoids, then 1280 features, kept by a second layer.
    """

    def __init__(self, dim: int, time_dim: int) -> None:
        super().__init__()
        _half(dim, smallest=2)
        self.dim = dim
        self.linear_1 = nn.Linear(dim, time_dim)
        self.linear_2 = nn.Linear(time_dim, time_dim)

    def forward(self, t: Real[Tensor, "b"]) -> Float[Tensor, "b time_dim"]:
        sinusoids = sinusoidal_embedding(t, self.dim).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(sinusoids)))


def _half(dim: int, smallest: int) -> int:
    if dim < smallest or dim % 2:
        raise ValueError(f"dim must be even and at least {smallest}, got {dim}: half of it are sines, half cosines")
    return dim // 2
