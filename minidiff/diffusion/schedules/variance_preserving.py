r"""Variance-preserving schedules, as in DDPM: signal² + noise² = 1, defined by $\beta_t$, the variance of the noise that step t adds.

    signal_t = √ᾱ_t,   noise_t = √(1 - ᾱ_t),   ᾱ_t = ∏ α_s,   α_t = 1 - β_t

`betas[0] = 0` and `alphas_cumprod[0] = 1`, so `alphas_cumprod[t]` is ᾱ_t and `alphas_cumprod[t - 1]` is ᾱ_{t-1}.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from minidiff.diffusion.schedules.schedule import Level, Scales, Schedule, check_T


@dataclass(frozen=True, eq=False, repr=False)
class NoiseSchedule(Schedule):
    r"""$\beta_t$, $\alpha_t = 1 - \beta_t$ and $\bar\alpha_t = \prod_{s \le t} \alpha_s$ for t in 0…T; float64, on the CPU.

    Make one with a function of this module, which checks its arguments. Between integers, log SNR is interpolated linearly.
    """

    betas: Float64[Tensor, "levels"]
    alphas: Float64[Tensor, "levels"]
    alphas_cumprod: Float64[Tensor, "levels"]

    def between(self, t: Float64[Tensor, "..."]) -> Scales:
        log_snr = self.log_snr(t)  # of ᾱ / (1 - ᾱ), whose inverse is the sigmoid
        signal, noise = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()
        integer, above = t == t.round(), t.ceil().long()
        return Scales(torch.where(integer, self.signal[above], signal), torch.where(integer, self.noise[above], noise))

    def beta(self, t: Level, like: Tensor) -> Float64[Tensor, "b ..."]:
        r"""$\beta_t$ at the integer level t of each item of `like`, shaped (B, 1, …); float64 on the CPU. Raises ValueError for t outside 1…T."""
        t = self._checked(t, like, noisy=True)
        if (t != t.round()).any():
            raise ValueError(f"β_t needs an integer t, got {t.flatten().tolist()}")
        return self.betas[t.long()]

    def prior_std(self, t: Real) -> float:
        """1: for data of variance 1, x_t has variance 1 at every level."""
        return 1.0

    def zero_terminal_snr(self) -> "NoiseSchedule":
        r"""This schedule, shifted and rescaled such that the signal at T is 0.

        $\sqrt{\bar\alpha_t'} = (\sqrt{\bar\alpha_t} - \sqrt{\bar\alpha_T})\,
        \frac{\sqrt{\bar\alpha_1}}{\sqrt{\bar\alpha_1} - \sqrt{\bar\alpha_T}}$   (`schedules.zero_terminal_snr`)

        for t ≥ 1: $\bar\alpha_1$ is unchanged, and $\bar\alpha_T = 0$ exactly. Raises ValueError for T = 1.
        Source: Lin et al., Common Diffusion Noise Schedules and Sample Steps Are Flawed, 2024, algorithm 1.
        """
        if self.T < 2:
            raise ValueError("zero terminal SNR needs T ≥ 2, got T = 1")
        root = self.signal[1:]
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        alphas_cumprod = torch.cat([torch.ones(1, dtype=torch.float64), root**2])
        alphas = torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
        return _schedule(1 - alphas, alphas, alphas_cumprod)

    def __repr__(self) -> str:
        return f"NoiseSchedule(T={self.T}, β from {self.betas[1]:.4g} to {self.betas[-1]:.4g})"


def linear(T: int = 1000, beta_1: Real = 1e-4, beta_T: Real = 0.02) -> NoiseSchedule:
    r"""DDPM's schedule, linear in β: $\beta_t = \beta_1 + \frac{t-1}{T-1}(\beta_T - \beta_1)$   (`schedules.linear`)

    Raises ValueError where T < 1 or a β is outside (0, 1]. Source: Ho et al., Denoising Diffusion Probabilistic Models, 2020, section 4.
    """
    check_T(T)
    return from_betas(torch.linspace(beta_1, beta_T, T, dtype=torch.float64))


def scaled_linear(T: int = 1000, beta_1: Real = 0.00085, beta_T: Real = 0.012) -> NoiseSchedule:
    r"""Stable Diffusion's schedule, linear in √β: $\beta_t = \big(\sqrt{\beta_1} + \frac{t-1}{T-1}(\sqrt{\beta_T} - \sqrt{\beta_1})\big)^2$   (`schedules.scaled_linear`)

    Raises ValueError where T < 1 or a β is outside (0, 1].
    Source: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, their published configuration.
    """
    check_T(T)
    if not (0 < beta_1 <= 1 and 0 < beta_T <= 1):
        raise ValueError(f"each β must be in (0, 1], got beta_1 = {beta_1} and beta_T = {beta_T}")
    return from_betas(torch.linspace(beta_1**0.5, beta_T**0.5, T, dtype=torch.float64) ** 2)


def cosine(T: int = 1000, s: Real = 0.008, beta_max: Real = 0.999) -> NoiseSchedule:
    r"""The cosine schedule: $\bar\alpha_t = f(t)/f(0)$ with $f(t) = \cos^2\!\big(\frac{t/T + s}{1 + s}\frac\pi2\big)$, and $\beta_t \le \beta_{max}$   (`schedules.cosine`)

    The offset s keeps the first β from being very small, and beta_max keeps the last β below 1. Raises ValueError where T < 1, s < 0 or
    beta_max is outside (0, 1]. Source: Nichol & Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, eq. 17.
    """
    check_T(T)
    if not 0 <= s < math.inf:
        raise ValueError(f"the offset s must be finite and at least 0, got {s}")
    t = torch.arange(T + 1, dtype=torch.float64)
    return _capped(torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2, beta_max)


def sigmoid(T: int = 1000, start: Real = -3, end: Real = 3, tau: Real = 1.0, beta_max: Real = 0.999) -> NoiseSchedule:
    r"""The sigmoid schedule: $\bar\alpha_t = \frac{S(e) - S(s + \frac tT(e - s))}{S(e) - S(s)}$, $S(u) = \frac{1}{1 + e^{-u/\tau}}$, and $\beta_t \le \beta_{max}$   (`schedules.sigmoid`)

    s = start and e = end bound the interval of the sigmoid; τ = tau sets its slope. Raises ValueError where T < 1, start ≥ end,
    tau ≤ 0 or beta_max is outside (0, 1]. Source: Jabri et al., Scalable Adaptive Computation for Iterative Generation, 2023; Chen, On the Importance of Noise Scheduling, 2023, algorithm 1.
    """
    check_T(T)
    if not (-math.inf < start < end < math.inf and 0 < tau < math.inf):
        raise ValueError(f"expected start < end and tau > 0, got start = {start}, end = {end}, tau = {tau}")
    u = torch.linspace(start, end, T + 1, dtype=torch.float64)
    return _capped(torch.sigmoid(torch.tensor(end / tau, dtype=torch.float64)) - torch.sigmoid(u / tau), beta_max)


def from_betas(betas: Float[Tensor, "T"] | Sequence[Real]) -> NoiseSchedule:
    r"""The schedule of given $\beta_1 … \beta_T$, each in (0, 1], in an array of shape (T,) with `betas[0]` = $\beta_1$: $\bar\alpha_t = \prod_{s=1}^t (1 - \beta_s)$   (`schedules.alphas_cumprod`)

    Raises ValueError for any other shape or value, NaN included. Source: Ho et al., 2020, below eq. 4.
    """
    betas = torch.as_tensor(betas, dtype=torch.float64, device="cpu")
    if betas.ndim != 1 or len(betas) == 0:
        raise ValueError(f"betas must have shape (T,) with T ≥ 1, β_1 first; got shape {tuple(betas.shape)}")
    outside = ~((betas > 0) & (betas <= 1))  # NaN is outside
    if outside.any():
        t = int(outside.nonzero()[0])
        raise ValueError(f"each β must be in (0, 1], got β_{t + 1} = {betas[t].item()}")
    betas = torch.cat([torch.zeros(1, dtype=torch.float64), betas])
    return _schedule(betas, 1 - betas, (1 - betas).cumprod(0))


def _capped(alphas_cumprod: Tensor, beta_max: Real) -> NoiseSchedule:
    """The schedule of these ᾱ, each β at most beta_max."""
    if not 0 < beta_max <= 1:
        raise ValueError(f"beta_max must be in (0, 1], got {beta_max}")
    return from_betas((1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=beta_max))


def _schedule(betas: Tensor, alphas: Tensor, alphas_cumprod: Tensor) -> NoiseSchedule:
    return NoiseSchedule(alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt(), betas, alphas, alphas_cumprod)
