r"""Training losses: the simple loss with its weights, and the terms of the variational bound from which it is derived."""

import math
from numbers import Real

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion import gaussians
from minidiff.diffusion.forward import q_marginal, q_sample
from minidiff.diffusion.posterior import q_posterior
from minidiff.diffusion.prediction import Denoiser, check_type
from minidiff.diffusion.schedules import Batch, Level, NoiseSchedule, Schedule, shared
from minidiff.noise import Generators, randn_like

KINDS = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}


def simple(
    pred: Batch, target: Batch, kind: str = "mse", *, weight: Float[Tensor, "b"] | None = None
) -> Float[Tensor, ""]:
    r"""The mean error of a batch: $L_{simple} = \mathbb E\,\|\varepsilon - \varepsilon_\theta(x_t, t)\|^2$   (`losses.simple`)

    kind of the error of d = pred - target: "mse" is d²; "l1" is |d|; "huber" is d²/2 for |d| ≤ 1, else |d| - ½ (`losses.huber`).
    `weight` has one factor for each item of the batch.
    Raises ValueError for an unknown kind and for shapes that do not match. Source: Ho et al., 2020, eq. 14.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of loss {kind!r}: choose one of {', '.join(KINDS)}")
    if pred.shape != target.shape:
        raise ValueError(f"pred and target must have the same shape, got {tuple(pred.shape)} and {tuple(target.shape)}")
    if weight is None:
        return KINDS[kind](pred, target)
    each = KINDS[kind](pred, target, reduction="none").reshape(len(pred), -1).mean(1)
    if weight.shape != each.shape:
        raise ValueError(f"weight must have one number per item, {tuple(each.shape)}; got {tuple(weight.shape)}")
    return (weight.to(each) * each).mean()


def min_snr_weight(schedule: Schedule, t: Level, prediction_type: str, gamma: Real = 5.0) -> Float[Tensor, "*b"]:
    r"""The weight of a squared error of ε, x_0, v or u that makes the loss min(SNR, γ) times the squared error of x_0.

    $w_t = \min(\mathrm{SNR}, \gamma)$ for x_0 (`losses.min_snr`); this divided by SNR for ε, by $(a^2 + b^2)^2 / b^2$ for v (SNR + 1 where
    $a^2 + b^2 = 1$), and by $(a + b)^2 / b^2$ for u (`losses.min_snr_u`), with a = signal_t, b = noise_t; t in 1…T

    The weight has the shape of t and is float64. Raises ValueError for any other t, an unknown prediction type or γ ≤ 0.
    Source: Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, 2023, section 3.4.
    """
    check_type(prediction_type)
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, got {gamma}")
    t = torch.as_tensor(t)
    signal, noise = schedule.at(t.flatten(), like=torch.zeros(t.numel()), noisy=True)
    snr = (signal / noise) ** 2
    weight = {
        "x_0": snr.clamp(max=gamma),
        "eps": (gamma / snr).clamp(max=1),  # min(SNR, γ) / SNR, which tends to 1 as SNR tends to 0
        "v": snr.clamp(max=gamma) * noise**2 / (signal**2 + noise**2) ** 2,
        "u": snr.clamp(max=gamma) * noise**2 / (signal + noise) ** 2,
    }[prediction_type]
    return weight.reshape(t.shape).to(t.device)


def vlb_weight(schedule: NoiseSchedule, t: Level) -> Float[Tensor, "*b"]:
    r"""The weight of the squared error of ε in the variational bound with σ_t² = β_t; L_simple leaves this weight out.

    $\frac{\beta_t^2}{2\sigma_t^2\,\alpha_t\,(1 - \bar\alpha_t)} = \frac{\beta_t}{2\alpha_t\,(1 - \bar\alpha_t)}$   (`losses.vlb_weight`), t in 1…T

    The weight has the shape of t and is float64. Raises ValueError for any other t, and where $\alpha_t = 0$. Source: Ho et al., 2020, eq. 12.
    """
    t = torch.as_tensor(t)
    like = torch.zeros(t.numel())
    noise, beta_t = schedule.at(t.flatten(), like).noise, schedule.beta(t.flatten(), like)
    if (beta_t == 1).any():
        raise ValueError(f"the weight of the error of ε is infinite where α_t = 0, got t = {t.tolist()}")
    return (beta_t / (2 * (1 - beta_t) * noise**2)).reshape(t.shape).to(t.device)


def vlb_terms(
    schedule: NoiseSchedule, x_0: Batch, denoise: Denoiser, generator: Generators, *, variance: str, decoder: str
) -> Float[Tensor, "b levels"]:
    r"""The terms of the variational bound on -log p(x_0), in nats per item, each estimated from one sample of x_t.

    Column 0 is $L_T = D_{KL}(q(x_T|x_0) \| \mathcal N(0, I))$; column 1 is $L_0 = -\log p_\theta(x_0|x_1)$; column t ≥ 2 is
    $L_{t-1} = D_{KL}(q(x_{t-1}|x_t,x_0) \| p_\theta(x_{t-1}|x_t))$   (`losses.prior`, `losses.vlb_term`). Their sum is the bound.

    variance: σ_t² of $p_\theta$. "beta" adds `losses.vlb_excess` to each step, even for an exact x̂_0. "posterior" is β̃_t, which is 0
    at t = 1, so $L_0$ is infinite with a Gaussian decoder.
    decoder: "discrete" for pictures of 256 grey values in [-1, 1] (`losses.decoder_discrete`), "gaussian" for a density
    (`losses.decoder_gaussian`). Raises ValueError for any other choice, for pictures outside [-1, 1], and for a denoiser with another
    schedule. Source: Ho et al., 2020, eq. 5 and 13.
    """
    if variance not in ("beta", "posterior"):
        raise ValueError(f"unknown variance {variance!r}: choose beta or posterior")
    if decoder not in DECODERS:
        raise ValueError(f"unknown decoder {decoder!r}: choose one of {', '.join(DECODERS)}")
    shared(schedule, denoise.schedule)
    mean_T, variance_T = q_marginal(schedule, x_0, schedule.T)
    terms = [gaussians.kl(mean_T, variance_T, 0, 1)]
    for t in range(1, schedule.T + 1):
        x_t = q_sample(schedule, x_0, t, randn_like(x_0, generator))
        posterior_mean, posterior_variance = q_posterior(schedule, x_0, x_t, t)
        mean, _ = q_posterior(schedule, denoise(x_t, t).x_0, x_t, t)
        sigma_t_squared = posterior_variance if variance == "posterior" else schedule.beta(t, like=x_0).to(x_0)
        if t == 1:
            terms.append(DECODERS[decoder](x_0, mean, sigma_t_squared))
        else:
            terms.append(gaussians.kl(posterior_mean, posterior_variance, mean, sigma_t_squared))
    return torch.stack([term.flatten(1).sum(1) for term in terms], dim=1)


def bits_per_dimension(terms: Float[Tensor, "b levels"], x_0: Batch) -> Float[Tensor, "b"]:
    r"""The variational bound in bits per number of x_0: $\frac{\sum_t L_t}{D \ln 2}$ for D numbers per item   (`losses.bits_per_dimension`)."""
    return terms.sum(1) / (x_0[0].numel() * math.log(2))


def gaussian_decoder(x_0: Batch, mean: Batch, variance: Float[Tensor, "b ..."]) -> Batch:
    r"""The negative log density $-\log \mathcal N(x_0; \mu, \sigma_1^2)$ in nats, elementwise   (`losses.decoder_gaussian`).

    Where the variance is 0 it is -∞ if the mean equals x_0, and +∞ if not.
    """
    nll = 0.5 * (torch.log(2 * math.pi * variance) + (x_0 - mean) ** 2 / variance)
    at_zero = torch.where(x_0 == mean, -torch.inf, torch.inf)
    return torch.where(variance == 0, at_zero, nll)


def discrete_decoder(x_0: Batch, mean: Batch, variance: Float[Tensor, "b ..."]) -> Batch:
    r"""The negative log probability $-\log \int_{\delta_-(x_0)}^{\delta_+(x_0)} \mathcal N(x; \mu, \sigma_1^2)\,dx$ in nats, elementwise   (`losses.decoder_discrete`).

    The integral is over the bin x_0 ± 1/255 of one of 256 grey values; the bin of black starts at -∞, the bin of white ends at +∞.
    Raises ValueError for x_0 outside [-1, 1]. Source: Ho et al., 2020, eq. 13.
    """
    if x_0.abs().max() > 1:
        raise ValueError(f"x_0 must be in [-1, 1], got {x_0.min().item():.4g} to {x_0.max().item():.4g}")
    half_bin = 1 / 255
    lower = torch.where(x_0 < half_bin - 1, -torch.inf, x_0 - half_bin)
    upper = torch.where(x_0 > 1 - half_bin, torch.inf, x_0 + half_bin)
    low, high = (lower - mean) / variance.sqrt(), (upper - mean) / variance.sqrt()
    flip = low > 0  # mirror the upper tail: log_ndtr is accurate in the lower one
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    nll = -(log_high + torch.log(-torch.expm1(log_low - log_high)))
    at_zero = torch.where((lower <= mean) & (mean < upper), 0.0, torch.inf).to(nll)
    return torch.where(variance == 0, at_zero, nll)


DECODERS = {"gaussian": gaussian_decoder, "discrete": discrete_decoder}
