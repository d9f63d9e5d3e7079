r"""Two-dimensional toy distributions for diffusion models.

Each has mean 0 and, averaged over the two coordinates, variance 1 to within 1 %. The centre and the scale are constants
that follow from the formula. They do not depend on the sample, so any two samples come from the same distribution.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

SWISS_ROLL_NOISE = 0.05
MOONS_NOISE = 0.08
EIGHT_GAUSSIANS_RADIUS = 1.4
EIGHT_GAUSSIANS_STD = 0.14  # radius² / 2 + std² = 1


def swiss_roll(n: int, generator: torch.Generator) -> Float[Tensor, "n 2"]:
    r"""Draw `n` points on a spiral of one and a half turns.

    $x = \big((\varphi\cos\varphi,\ \varphi\sin\varphi) - (2,\ \tfrac{2}{3\pi})\big) / 6.8 + 0.05\,\varepsilon$,
    where $\varphi$ is uniform in $[\tfrac{3\pi}{2}, \tfrac{9\pi}{2}]$ and $\varepsilon$ is standard normal.

    The centre is the spiral's mean. Its total variance is $\tfrac{39}{4}\pi^2 - 4 - \tfrac{4}{9\pi^2} = 92.2$, about
    $6.8^2$ per coordinate. Raises ValueError if n < 1.
    """
    _check_count(n)
    phi = math.pi * (1.5 + 3 * torch.rand(n, generator=generator))
    spiral = phi[:, None] * torch.stack([phi.cos(), phi.sin()], dim=1)
    centre = torch.tensor([2.0, 2 / (3 * math.pi)])
    return (spiral - centre) / 6.8 + SWISS_ROLL_NOISE * torch.randn(n, 2, generator=generator)


def moons(n: int, generator: torch.Generator) -> Float[Tensor, "n 2"]:
    r"""Draw `n` points on two half circles, each of which ends inside the other.

    With $\theta$ uniform in $[0, \pi]$, the upper moon is $(\cos\theta, \sin\theta)$ and the lower one
    $(1 - \cos\theta, \tfrac12 - \sin\theta)$, each with probability ½. Then
    $x = (\text{moon} - (\tfrac12, \tfrac14)) / 0.71 + 0.08\,\varepsilon$.

    The centre is the mean of both moons. The variances before scaling are 0.75 and 0.24. One scale for both
    coordinates keeps the moons round. Raises ValueError if n < 1.
    """
    _check_count(n)
    theta = math.pi * torch.rand(n, generator=generator)
    upper = torch.stack([theta.cos(), theta.sin()], dim=1)
    lower = torch.stack([1 - theta.cos(), 0.5 - theta.sin()], dim=1)
    is_upper = torch.rand(n, 1, generator=generator) < 0.5
    moon = torch.where(is_upper, upper, lower)
    return (moon - torch.tensor([0.5, 0.25])) / 0.71 + MOONS_NOISE * torch.randn(n, 2, generator=generator)


def eight_gaussians(n: int, generator: torch.Generator) -> Float[Tensor, "n 2"]:
    r"""Draw `n` points from a mixture of eight equal Gaussians on a circle.

    $x = c_k + 0.14\,\varepsilon$, where $k$ is uniform in $0 \dots 7$ and $c_k$ is a row of
    `eight_gaussians_centres()`. Raises ValueError if n < 1.
    """
    _check_count(n)
    k = torch.randint(8, (n,), generator=generator)
    return eight_gaussians_centres()[k] + EIGHT_GAUSSIANS_STD * torch.randn(n, 2, generator=generator)


def eight_gaussians_centres() -> Float[Tensor, "8 2"]:
    r"""The eight means $c_k = 1.4\,(\cos\tfrac{k\pi}{4}, \sin\tfrac{k\pi}{4})$."""
    angle = torch.arange(8) * (math.pi / 4)
    return EIGHT_GAUSSIANS_RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)


def _check_count(n: int) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
