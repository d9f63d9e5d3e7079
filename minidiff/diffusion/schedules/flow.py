r"""Schedules that are not variance-preserving: flow matching, and variance-exploding noise.

They have closed forms at real t, and no β. Every sampler runs on them.
"""

import math
from dataclasses import dataclass
from numbers import Real

import torch
from jaxtyping import Float64
from torch import Tensor

from minidiff.diffusion.schedules.schedule import Scales, Schedule, check_T


@dataclass(frozen=True, eq=False, repr=False)
class Flow(Schedule):
    """The schedule of flow matching, signal + noise = 1: x_t moves on a straight line from data to noise."""

    shift: Real

    def between(self, t: Float64[Tensor, "..."]) -> Scales:
        return _line(t / self.T, self.shift)

    def level(self, karras_sigma: Real) -> float:
        """As `Schedule.level`, for any karras_sigma ≥ 0. Raises ValueError where it is negative, infinite or NaN."""
        if not 0 <= karras_sigma < math.inf:
            raise ValueError(f"no level has karras_sigma {karras_sigma}: expected a finite number, at least 0")
        return self.T * karras_sigma / (self.shift + karras_sigma)

    def __repr__(self) -> str:
        return f"flow(T={self.T}, shift={self.shift})"


def flow(T: int = 1000, shift: Real = 1.0) -> Flow:
    r"""The schedule of flow matching: $\mathrm{signal}_t = 1 - \tau, \quad \mathrm{noise}_t = \tau = \frac{\mathit{shift}\; t/T}{1 + (\mathit{shift} - 1)\, t/T}$   (`schedules.flow`)

    shift > 1 puts more of the levels at high noise. Large pictures need it, because the same noise hides less of them.
    The signal at T is 0. Raises ValueError where T < 1, and for a shift that is not positive and finite.
    Source: Liu et al., Flow Straight and Fast, 2023, eq. 1; shift: Esser et al., Scaling Rectified Flow Transformers, 2024, eq. 23.
    """
    check_T(T)
    if not 0 < shift < math.inf:
        raise ValueError(f"shift must be positive and finite, got {shift}")
    return Flow(*_line(torch.arange(T + 1, dtype=torch.float64) / T, shift), shift)


def _line(u: Tensor, shift: Real) -> Scales:
    denominator = shift * u + (1 - u)  # 1 + (shift - 1) u, and exactly `shift` at u = 1
    return Scales((1 - u) / denominator, shift * u / denominator)


@dataclass(frozen=True, eq=False, repr=False)
class VarianceExploding(Schedule):
    """A variance-exploding schedule, signal = 1: noise is added and the data are not scaled down."""

    def between(self, t: Float64[Tensor, "..."]) -> Scales:
        return Scales(torch.ones_like(t), torch.exp(-self.log_snr(t) / 2))  # log noise is linear in t

    def __repr__(self) -> str:
        return f"variance_exploding(T={self.T}, sigma_min={self.noise[1]:.4g}, sigma_max={self.noise[-1]:.4g})"


def variance_exploding(T: int = 1000, sigma_min: Real = 0.01, sigma_max: Real = 50.0) -> VarianceExploding:
    r"""The variance-exploding schedule: $\mathrm{signal}_t = 1, \quad \mathrm{noise}_t = \sigma_{min} \Big(\frac{\sigma_{max}}{\sigma_{min}}\Big)^{\frac{t - 1}{T - 1}}$ for t ≥ 1   (`schedules.variance_exploding`)

    A sampler begins with `noise[T]` times standard normal noise, so sigma_max must be large enough to hide the data.
    Raises ValueError for T < 2, and unless 0 < sigma_min < sigma_max < ∞.
    Source: Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021, appendix C.
    """
    check_T(T)
    if T < 2 or not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"expected T ≥ 2 and 0 < sigma_min < sigma_max < ∞, got {T}, {sigma_min} and {sigma_max}")
    noise = torch.linspace(math.log(sigma_min), math.log(sigma_max), T, dtype=torch.float64).exp()
    return VarianceExploding(torch.ones(T + 1, dtype=torch.float64), torch.cat([torch.zeros(1).double(), noise]))
