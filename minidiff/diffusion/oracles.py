r"""Exact denoisers: $\hat x_0 = \mathbb E[x_0 \mid x_t]$ in closed form, for data whose law is known.

Samplers and bounds can be held against truth with them. Data may have any shape (B, …); laws are given over its D numbers in a row.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.prediction import Denoiser, Prediction, from_x_0
from minidiff.diffusion.schedules import Level, Schedule


def gaussian(
    schedule: Schedule, mean: Float[Tensor, "d"], covariance: Float[Tensor, "d"] | Float[Tensor, "d d"]
) -> Denoiser:
    r"""The denoiser of $x_0 \sim \mathcal N(m, \Sigma)$; Σ is full (D, D), or diagonal and given as (D,).

    $\mathbb E[x_0 \mid x_t] = m + a\,\Sigma\,\big(a^2\Sigma + b^2 I\big)^{-1}(x_t - a\,m)$ with a = signal_t, b = noise_t   (`oracles.gaussian`)

    Raises ValueError for another shape, and where Σ is not symmetric or has a negative eigenvalue. Source: Bishop, 2006, eq. 2.116.
    """
    if covariance.shape not in ((len(mean),), (len(mean), len(mean))):
        raise ValueError(f"a mean of D = {len(mean)} needs a covariance (D,) or (D, D), got {tuple(covariance.shape)}")
    if covariance.ndim == 1:
        spread, axes = covariance.double(), torch.eye(len(mean), dtype=torch.float64, device=mean.device)
    else:
        if not torch.allclose(covariance, covariance.T):
            raise ValueError("a covariance is symmetric, and this one is not")
        spread, axes = torch.linalg.eigh(covariance.double())
    if not (spread > -1e-9 * spread.abs().max().clamp(min=1e-300)).all():
        raise ValueError(f"a covariance has no negative eigenvalue, this one has {spread.min().item():.4g}")

    def predict(x_t: Tensor, t: Level) -> Prediction:
        x, signal, noise = _rows(schedule, x_t, t, len(mean))
        along_axes = (x - signal * mean.to(x)) @ axes.to(x)
        shrunk = signal * spread.to(x) / (signal**2 * spread.to(x) + noise**2) * along_axes
        return _prediction(schedule, x_t, mean.to(x) + shrunk @ axes.T.to(x), t)

    return Denoiser(schedule, predict)


def mixture(
    schedule: Schedule, weights: Float[Tensor, "k"], means: Float[Tensor, "k d"], variances: Float[Tensor, "k ..."]
) -> Denoiser:
    r"""The denoiser of $x_0 \sim \sum_k w_k\,\mathcal N(m_k, v_k)$, each component with its own variances, or with one for all D numbers.

    $\mathbb E[x_0 \mid x_t] = \sum_k r_k \Big(m_k + \frac{a\,v_k}{a^2 v_k + b^2}(x_t - a\,m_k)\Big)$,
    $r_k \propto w_k\,\mathcal N(x_t; a\,m_k,\ a^2 v_k + b^2)$ with a = signal_t, b = noise_t   (`oracles.mixture`)

    Raises ValueError for weights that are not positive or do not sum to 1, negative variances, and other shapes. Source: Bishop, 2006, sections 2.3.9 and 9.2.
    """
    if not (weights > 0).all() or not torch.isclose(weights.sum(), torch.ones_like(weights[0])):
        raise ValueError(f"weights must be positive and sum to 1, got {weights.tolist()}")
    if means.ndim != 2 or len(means) != len(weights) or variances.shape not in ((len(weights),), means.shape):
        shapes = f"{tuple(means.shape)} and {tuple(variances.shape)}"
        raise ValueError(
            f"expected means (K, D) and variances (K,) or (K, D) for K = {len(weights)} weights, got {shapes}"
        )
    if not (variances >= 0).all():
        raise ValueError(f"variances cannot be negative, got {variances.min().item()}")
    spreads = variances[:, None].expand_as(means) if variances.ndim == 1 else variances

    def predict(x_t: Tensor, t: Level) -> Prediction:
        rows, signal, noise = _rows(schedule, x_t, t, means.shape[1])
        x, signal, noise = rows[:, None], signal[:, None], noise[:, None]  # (B, 1, D), (B, 1, 1), against K components
        m, v = means.to(x), spreads.to(x)
        offset, total = x - signal * m, signal**2 * v + noise**2
        log_likelihood = -0.5 * (total.log() + offset**2 / total).sum(-1)
        r = torch.softmax(weights.to(x).log() + log_likelihood, dim=1)
        x_0 = (r[..., None] * (m + signal * v / total * offset)).sum(1)
        return _prediction(schedule, x_t, x_0, t)

    return Denoiser(schedule, predict)


def dataset(schedule: Schedule, points: Float[Tensor, "n *shape"]) -> Denoiser:
    r"""The denoiser of data drawn uniformly from these points and no others: it can only recall.

    $\mathbb E[x_0 \mid x_t] = \sum_i r_i\,x_i$, $r = \mathrm{softmax}_i\Big(-\frac{\|x_t - \mathrm{signal}_t\,x_i\|^2}{2\,\mathrm{noise}_t^2}\Big)$   (`oracles.dataset`)

    Raises ValueError where there are no points. Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, eq. 57.
    """
    if len(points) == 0:
        raise ValueError("the exact denoiser of a data set needs at least one point")
    rows = points.flatten(1).double()
    half_norms = rows.pow(2).sum(1) / 2

    def predict(x_t: Tensor, t: Level) -> Prediction:
        x, signal, noise = _rows(schedule, x_t, t, rows.shape[1])
        stored = rows.to(x)
        # the square expanded; |x_t|² is the same for all points, and softmax does not see it
        logits = (signal * (x @ stored.T) - signal**2 * half_norms.to(x)) / noise**2
        return _prediction(schedule, x_t, torch.softmax(logits, dim=1) @ stored, t)

    return Denoiser(schedule, predict)


def _rows(schedule: Schedule, x_t: Tensor, t: Level, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """x_t as rows of float64, and its scales beside it."""
    x = x_t.flatten(1).double()
    if x.shape[1] != d:
        raise ValueError(f"this law is over {d} numbers, x_t of shape {tuple(x_t.shape)} has {x.shape[1]} an item")
    signal, noise = schedule.at(t, like=x, noisy=True)
    return x, signal.to(x), noise.to(x)


def _prediction(schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Level) -> Prediction:
    x_0, eps = from_x_0(schedule, x_t.double(), x_0.reshape(x_t.shape), t)
    return Prediction(x_0.to(x_t), eps.to(x_t))
