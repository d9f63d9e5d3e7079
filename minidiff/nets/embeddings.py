r"""The time embedding: t as a vector of sinusoids, the form in which a network takes t.

High frequencies distinguish neighbouring timesteps; low frequencies distinguish timesteps that are far apart.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn


def sinusoidal_embedding(t: Real[Tensor, "b"], dim: int, max_period: float = 10_000) -> Float[Tensor, "b dim"]:
    r"""The cosines, then the sines, of t times `dim / 2` geometrically spaced frequencies, as in Stable Diffusion.

    $(\cos \omega_0 t, \dots, \sin \omega_0 t, \dots),\ \omega_i = P^{-i/h},\ i < h = d/2$   (`embeddings.sinusoidal`)

    The lowest frequency, $P^{-(h-1)/h}$, is just above $1/P$. t: any real numbers; the result is float32.
    Raises ValueError unless dim is even and positive.
    Source: Vaswani et al. 2017, section 3.5, in the form of Dhariwal & Nichol's and Rombach et al.'s code.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be even and at least 2, got {dim}: one half holds cosines, the other half sines")
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class VectorEmbedding(nn.Module):
    """Two linear layers with a SiLU between them, (b, dim) -> (b, time_dim); the result is added to the time embedding."""

    def __init__(self, dim: int, time_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(dim, time_dim)
        self.linear_2 = nn.Linear(time_dim, time_dim)

    def forward(self, vector: Float[Tensor, "b dim"]) -> Float[Tensor, "b time_dim"]:
        return self.linear_2(F.silu(self.linear_1(vector.to(self.linear_1.weight.dtype))))


class TimeEmbedding(VectorEmbedding):
    """Sinusoids of t, then two linear layers, (b,) -> (b, time_dim); every residual block takes the result."""

    def forward(self, t: Real[Tensor, "b"]) -> Float[Tensor, "b time_dim"]:
        return super().forward(sinusoidal_embedding(t, self.linear_1.in_features))
