r"""The base class of noise schedules: how much of the data and how much noise is in x_t.

    x_t = signal_t · x_0 + noise_t · ε

Index convention of the package: t = 0 is clean data, t = 1 … T is noisy. Every array has T + 1 entries, and `signal[t]` is signal_t.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Num
from torch import Tensor

Batch = Float[Tensor, "b *shape"]  # data of any shape; all Batch arguments of a function have the same shape
Level = Num[Tensor, "b"] | Num[Tensor, ""] | Real  # t: one number for each item of the batch, or one for all


class Scales(NamedTuple):
    """signal_t and noise_t of each item of a batch, shaped (B, 1, …), float64 on the CPU. Cast finished coefficients only."""

    signal: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Schedule(ABC):
    """signal_t and noise_t for t in 0…T: float64 on the CPU, shape (T + 1,). signal / noise decreases with t."""

    signal: Float64[Tensor, "levels"]
    noise: Float64[Tensor, "levels"]

    @abstractmethod
    def between(self, t: Float64[Tensor, "..."]) -> Scales:
        """signal and noise at any real t in 0…T. At integers they are the entries of the arrays."""

    @property
    def T(self) -> int:
        """The highest noise level."""
        return len(self.signal) - 1

    @property
    def snr(self) -> Float64[Tensor, "levels"]:
        r"""The signal-to-noise ratio $\mathrm{SNR}(t) = (\mathrm{signal}_t / \mathrm{noise}_t)^2$   (`schedules.snr`); infinite at t = 0.
        Source: Kingma et al., Variational Diffusion Models, 2021, eq. 3."""
        return (self.signal / self.noise) ** 2

    @property
    def karras_sigmas(self) -> Float64[Tensor, "levels"]:
        r"""The noise on $x_t / \mathrm{signal}_t$: $\hat\sigma_t = \mathrm{noise}_t / \mathrm{signal}_t$   (`schedules.karras_sigma`); 0 at t = 0.
        Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, table 1."""
        return self.noise / self.signal

    def at(self, t: Level, like: Tensor, *, noisy: bool = False) -> Scales:
        """signal and noise at level t for each item of `like`, shaped (B, 1, …) to broadcast over it; float64 on the CPU.

        Raises TypeError where `like` is not floating point or t not real. Raises ValueError where t is neither one number nor of shape
        (B,); for t outside 0…T, NaN included; for t = 0 with `noisy`; and between two integers where the schedule is not defined.
        """
        t = self._checked(t, like, noisy)
        return self.between(t.double()) if t.is_floating_point() else Scales(self.signal[t], self.noise[t])

    def level(self, karras_sigma: Real) -> float:
        """The real level t at which noise / signal is karras_sigma. Raises ValueError where no level in 1…T has this ratio."""
        sigmas = self.karras_sigmas[1:]
        sigmas = sigmas[sigmas.isfinite()]
        if not sigmas[0] * (1 - 1e-12) <= karras_sigma <= sigmas[-1] * (1 + 1e-12):
            raise ValueError(f"no level has karras_sigma {karras_sigma}: expected {sigmas[0]:.4g} to {sigmas[-1]:.4g}")
        return float(np.interp(np.log(karras_sigma), sigmas.log().numpy(), np.arange(1, len(sigmas) + 1)))

    def prior_std(self, t: Real) -> float:
        """The standard deviation of the noise from which a sampler begins at level t, here noise_t."""
        return self.at(t, like=torch.zeros(1)).noise.item()

    def log_snr(self, t: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
        """log SNR at real t, linear between integers. Raises ValueError between two integers where either value is infinite."""
        below, above = t.floor().long(), t.ceil().long()
        values = self.snr.log()
        between = torch.lerp(values[below], values[above], t - below)
        if not (between.isfinite() | (below == above)).all():
            raise ValueError(
                f"no level between two integers where the SNR of one is 0 or infinite: got t = {t.flatten().tolist()}"
            )
        return torch.where(below == above, values[above], between)

    def _checked(self, t: Level, like: Tensor, noisy: bool) -> Tensor:
        """t as a tensor on the CPU, shaped (B, 1, …). Raises as `at` does."""
        if not like.is_floating_point():
            raise TypeError(f"data must be floating point, got {like.dtype}")
        t = t.cpu() if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64 if isinstance(t, float) else None)
        if t.dtype == torch.bool or t.is_complex():
            raise TypeError(f"t must be an integer or floating point, got {t.dtype}")
        if like.ndim == 0 or t.shape not in ((), like.shape[:1]):
            raise ValueError(f"t must be one number or one per item: got {tuple(t.shape)} for data {tuple(like.shape)}")
        inside = (t > 0 if noisy else t >= 0) & (t <= self.T)
        if not inside.all():
            raise ValueError(f"t must lie in {int(noisy)}…{self.T} here, got {t[~inside].flatten()[0].item()}")
        return t.expand(like.shape[0]).reshape(-1, *[1] * (like.ndim - 1))

    def __getattr__(self, name: str) -> Tensor:
        hint = "; only variance-preserving schedules have β: linear, scaled_linear, cosine, sigmoid and from_betas"
        raise AttributeError(
            f"{type(self).__name__} has no {name}{hint if name[:4] in ('beta', 'alph', 'zero') else ''}"
        )


def shared(*schedules: Schedule) -> Schedule:
    """The first of these schedules, if all are equal. Raises ValueError where their arrays differ."""
    first, *others = schedules
    for other in others:
        if not (torch.equal(first.signal, other.signal) and torch.equal(first.noise, other.noise)):
            raise ValueError(f"expected the same schedule, got different schedules {first!r} and {other!r}")
    return first


def check_T(T: int) -> None:
    """Raises ValueError unless T is an integer, at least 1."""
    if isinstance(T, bool) or not isinstance(T, int) or T < 1:
        raise ValueError(f"T must be an integer, at least 1; got {T!r}")
