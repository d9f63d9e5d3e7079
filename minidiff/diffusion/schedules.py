r"""Noise schedules: how much of the picture is left at each level.

Index convention, here and everywhere: t = 0 is clean data, t = 1 … T is noisy. Every array has T + 1 entries, with
$\beta_0 = 0$ and $\bar\alpha_0 = 1$, so that `alphas_cumprod[t]` is $\bar\alpha_t$ and `alphas_cumprod[t - 1]` is
$\bar\alpha_{t-1}$.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Num
from torch import Tensor

Level = Num[Tensor, "b"] | Num[Tensor, ""] | Real
"""A level t: one for each item of the batch, or one number for all of them."""


class Coefficients(NamedTuple):
    """The schedule at the levels of one batch: float64 on the CPU, shaped (B, 1, …) to broadcast over it."""

    beta_t: Tensor
    alpha_t: Tensor
    alpha_bar_t: Tensor


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    r"""$\beta_t$, $\alpha_t = 1 - \beta_t$ and $\bar\alpha_t = \prod_{s \le t} \alpha_s$ for t in 0…T; float64, on the CPU.

    Made by the functions of this module, which check what they are given.
    """

    betas: Float64[Tensor, "levels"]
    alphas: Float64[Tensor, "levels"]
    alphas_cumprod: Float64[Tensor, "levels"]

    @property
    def T(self) -> int:
        """The last and noisiest level."""
        return len(self.betas) - 1

    @property
    def snr(self) -> Float64[Tensor, "levels"]:
        r"""$\mathrm{SNR}(t) = \bar\alpha_t / (1 - \bar\alpha_t)$   (`schedules.snr`); infinite at t = 0.

        Source: Kingma et al., Variational Diffusion Models, 2021, eq. 3.
        """
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    @property
    def karras_sigmas(self) -> Float64[Tensor, "levels"]:
        r"""$\hat\sigma_t = \sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}$   (`schedules.karras_sigma`): the noise on $x_t / \sqrt{\bar\alpha_t}$; 0 at t = 0.

        Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, table 1.
        """
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    def level(self, karras_sigma: Real) -> float:
        r"""The level, between integers, at which $\sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}$ is this: what `at` undoes.

        Raises ValueError for what no level from 1 to T has: below the first, or above the last that is finite.
        """
        sigmas = self.karras_sigmas[1:]
        sigmas = sigmas[sigmas.isfinite()]
        if not sigmas[0] * (1 - 1e-12) <= karras_sigma <= sigmas[-1] * (1 + 1e-12):
            raise ValueError(
                f"no level has this noise: expected {sigmas[0]:.4g} to {sigmas[-1]:.4g}, got {karras_sigma}"
            )
        return float(np.interp(math.log(karras_sigma), sigmas.log().numpy(), np.arange(1, len(sigmas) + 1)))

    def at(self, t: Level, like: Tensor, *, low: int = 0) -> Coefficients:
        r"""The coefficients at level t of each item of `like`, shaped (B, 1, …) to broadcast over it.

        Between integers log SNR is interpolated linearly, and $\alpha_t$ is the step from the integer level below.
        They stay float64 on the CPU: take roots and quotients first, then cast the result with `.to(like)`.

        Raises TypeError for a `like` that is not floating point; ValueError for a NaN, for a shape of t other than (B,), and
        for a t outside low…T or next to an infinite log SNR.
        """
        t = t.cpu() if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64 if isinstance(t, float) else None)
        self._check_data(like)
        self._check(t, like, low)
        t = t.expand(len(like)).reshape(-1, *[1] * (like.ndim - 1))
        if not t.is_floating_point():
            return Coefficients(self.betas[t], self.alphas[t], self.alphas_cumprod[t])
        above = t.ceil().long()
        below = (above - 1).clamp(min=0)
        alpha_bar_t = torch.where(t == above, self.alphas_cumprod[above], self._between(below, above, t))
        alpha_t = torch.where(t == above, self.alphas[above], alpha_bar_t / self.alphas_cumprod[below])
        return Coefficients(1 - alpha_t, alpha_t, alpha_bar_t)

    def alpha_bar(self, t: Real) -> float:
        r"""$\bar\alpha_t$ at one level, between integers too, as a plain number. Raises ValueError as `at` does."""
        if isinstance(t, int):
            self._check_level(t, 0)
            return self.alphas_cumprod[t].item()
        return self.at(float(t), like=torch.zeros(1)).alpha_bar_t.item()

    def scales(self, t: Level, like: Tensor, *, low: int = 0) -> tuple[Tensor | float, Tensor | float]:
        r"""$\sqrt{\bar\alpha_t}$ and $\sqrt{1 - \bar\alpha_t}$, ready to multiply `like`: how much of the picture and of the noise is in x_t.

        Plain numbers for one integer level, else tensors of its dtype, on its device. Raises as `at` does.
        """
        if isinstance(t, int) and not isinstance(t, bool):
            self._check_data(like)
            self._check_level(t, low)
            return self._scales[t]
        alpha_bar_t = self.at(t, like, low=low).alpha_bar_t
        return alpha_bar_t.sqrt().to(like), (1 - alpha_bar_t).sqrt().to(like)

    def zero_terminal_snr(self) -> "NoiseSchedule":
        r"""The same schedule, shifted and stretched so that nothing of the picture is left at T.

        $\sqrt{\bar\alpha_t'} = (\sqrt{\bar\alpha_t} - \sqrt{\bar\alpha_T})\,
        \frac{\sqrt{\bar\alpha_1}}{\sqrt{\bar\alpha_1} - \sqrt{\bar\alpha_T}}$   (`schedules.zero_terminal_snr`)

        for t ≥ 1: $\bar\alpha_1$ stays, and $\bar\alpha_T = 0$ exactly. Raises ValueError where T = 1, which leaves nothing to stretch.
        Source: Lin et al., Common Diffusion Noise Schedules and Sample Steps Are Flawed, 2024, algorithm 1.
        """
        if self.T < 2:
            raise ValueError("zero terminal SNR keeps level 1 and empties level T: it needs T ≥ 2, got T = 1")
        root = self.alphas_cumprod[1:].sqrt()
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        return _from_alphas_cumprod(torch.cat([torch.ones(1, dtype=torch.float64), root**2]))

    def _between(self, below: Tensor, above: Tensor, t: Tensor) -> Tensor:
        log_snr = self.snr.log()
        return torch.lerp(log_snr[below], log_snr[above], t.double() - below).sigmoid()

    @cached_property
    def _scales(self) -> list[tuple[float, float]]:
        return list(zip(self.alphas_cumprod.sqrt().tolist(), (1 - self.alphas_cumprod).sqrt().tolist(), strict=True))

    def _check_level(self, t: int, low: int) -> None:
        if not low <= t <= self.T:
            raise ValueError(f"t must lie in {low}…{self.T} here, got {t}")

    def _check_data(self, like: Tensor) -> None:
        if not like.is_floating_point():
            raise TypeError(f"data must be floating point to be mixed with noise, got {like.dtype}")
        if like.ndim == 0:
            raise ValueError("data must be a batch (B, …), got a single number")
        if math.isnan(like.sum().item()) and like.isnan().any():  # a sum is quick, but ∞ - ∞ is NaN too
            raise ValueError(f"the data holds NaN: {int(like.isnan().sum())} of {like.numel()} values")

    def _check(self, t: Tensor, like: Tensor, low: int) -> None:
        if t.shape not in ((), (len(like),)):
            raise ValueError(
                f"t must be one number or of shape ({len(like)},), one level an item of the data; got t of shape {tuple(t.shape)} "
                f"and data of shape {tuple(like.shape)}"
            )
        if t.dtype in (torch.bool, torch.complex64, torch.complex128):
            raise TypeError(f"t must hold integers or floats, got {t.dtype}")
        inside = (t >= low) & (t <= self.T)  # a NaN is not inside
        if not inside.all():
            raise ValueError(f"t must lie in {low}…{self.T} here, got {t[~inside].flatten()[0].item()}")
        if t.is_floating_point() and (t != t.round()).any():
            finite = self.snr.log().isfinite()
            if not (finite[t.floor().long()] & finite[t.ceil().long()] | (t == t.round())).all():
                raise ValueError(
                    "no level between two integers where the SNR of one is 0 or infinite (between 0 and 1, say)"
                )


def linear(T: int = 1000, beta_1: Real = 1e-4, beta_T: Real = 0.02) -> NoiseSchedule:
    r"""$\beta_t = \beta_1 + \frac{t-1}{T-1}(\beta_T - \beta_1)$   (`schedules.linear`)

    Raises ValueError where T < 1 or a β lies outside (0, 1].
    Source: Ho et al., Denoising Diffusion Probabilistic Models, 2020, section 4.
    """
    _check_T(T)
    return from_betas(torch.linspace(beta_1, beta_T, T, dtype=torch.float64))


def scaled_linear(T: int = 1000, beta_1: Real = 0.00085, beta_T: Real = 0.012) -> NoiseSchedule:
    r"""$\beta_t = \big(\sqrt{\beta_1} + \frac{t-1}{T-1}(\sqrt{\beta_T} - \sqrt{\beta_1})\big)^2$   (`schedules.scaled_linear`)

    Stable Diffusion's schedule. Raises ValueError where T < 1 or a β lies outside (0, 1].
    Source: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, their published configuration.
    """
    _check_T(T)
    if not (0 < beta_1 <= 1 and 0 < beta_T <= 1):
        raise ValueError(f"each β must lie in (0, 1], got beta_1 = {beta_1} and beta_T = {beta_T}")
    return from_betas(torch.linspace(beta_1**0.5, beta_T**0.5, T, dtype=torch.float64) ** 2)


def cosine(T: int = 1000, s: Real = 0.008, beta_max: Real = 0.999) -> NoiseSchedule:
    r"""$\bar\alpha_t = f(t)/f(0)$ with $f(t) = \cos^2\!\big(\frac{t/T + s}{1 + s}\frac\pi2\big)$, and $\beta_t \le \beta_{max}$   (`schedules.cosine`)

    The offset s keeps the first β from being vanishingly small; the cap keeps the last from being 1.
    Raises ValueError where T < 1, s < 0 or beta_max lies outside (0, 1].
    Source: Nichol & Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, eq. 17.
    """
    _check_T(T)
    if not 0 <= s < math.inf:
        raise ValueError(f"the offset s must be 0 or a positive number, got {s}")
    t = torch.arange(T + 1, dtype=torch.float64)
    return _capped(torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2, beta_max)


def sigmoid(T: int = 1000, start: Real = -3, end: Real = 3, tau: Real = 1.0, beta_max: Real = 0.999) -> NoiseSchedule:
    r"""$\bar\alpha_t = \frac{S(e) - S(s + \frac tT(e - s))}{S(e) - S(s)}$, $S(u) = \frac{1}{1 + e^{-u/\tau}}$, and $\beta_t \le \beta_{max}$   (`schedules.sigmoid`)

    s = start and e = end say which stretch of the sigmoid is used, τ how steep it is.
    Raises ValueError where T < 1, start ≥ end, tau ≤ 0 or beta_max lies outside (0, 1].
    Source: Jabri et al., Scalable Adaptive Computation for Iterative Generation, 2023; Chen, On the Importance of Noise Scheduling, 2023, algorithm 1.
    """
    _check_T(T)
    if not (-math.inf < start < end < math.inf and 0 < tau < math.inf):
        raise ValueError(f"the sigmoid needs start < end and tau > 0, got start = {start}, end = {end}, tau = {tau}")
    u = torch.linspace(start, end, T + 1, dtype=torch.float64)
    return _capped(torch.sigmoid(torch.tensor(end / tau, dtype=torch.float64)) - torch.sigmoid(u / tau), beta_max)


def from_betas(betas: Float[Tensor, "T"] | Sequence[Real]) -> NoiseSchedule:
    r"""A schedule from $\beta_1 … \beta_T$: `betas[0]` is $\beta_1$, the shape is (T,), each lies in (0, 1]; $\bar\alpha_t = \prod_{s=1}^t (1 - \beta_s)$   (`schedules.alphas_cumprod`)

    Raises ValueError for any other shape or value, NaN among them.
    Source: Ho et al., 2020, below eq. 4.
    """
    betas = torch.as_tensor(betas, dtype=torch.float64, device="cpu")
    if betas.ndim != 1 or len(betas) == 0:
        raise ValueError(f"betas must have shape (T,) with T ≥ 1, β_1 first; got shape {tuple(betas.shape)}")
    outside = ~((betas > 0) & (betas <= 1))  # a NaN is outside
    if outside.any():
        t = int(outside.nonzero()[0])
        raise ValueError(f"each β must lie in (0, 1], got β_{t + 1} = {betas[t].item()}")
    betas = torch.cat([torch.zeros(1, dtype=torch.float64), betas])
    return NoiseSchedule(betas, 1 - betas, (1 - betas).cumprod(0))


SCHEDULES = {"linear": linear, "scaled_linear": scaled_linear, "cosine": cosine, "sigmoid": sigmoid}


def by_name(name: str, **parameters: Real) -> NoiseSchedule:
    """The schedule called `name`, as configuration files name it. Raises ValueError for an unknown name."""
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}: choose one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name](**parameters)


def _capped(alphas_cumprod: Tensor, beta_max: Real) -> NoiseSchedule:
    if not 0 < beta_max <= 1:
        raise ValueError(f"beta_max must lie in (0, 1], got {beta_max}")
    return from_betas((1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=beta_max))


def _from_alphas_cumprod(alphas_cumprod: Tensor) -> NoiseSchedule:
    alphas = torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    return NoiseSchedule(1 - alphas, alphas, alphas_cumprod)


def _check_T(T: int) -> None:
    if isinstance(T, bool) or not isinstance(T, int) or T < 1:
        raise ValueError(f"T must be a whole number of steps, at least 1; got {T!r}")
