r"""Exact denoisers: $\hat x_0 = \mathbb E[x_0 \mid x_t]$ in closed form, for data whose law is known.

Nothing is trained here. A sampler or a bound can be held against truth with them. Data may have any shape (B, …); laws are given
over its D numbers in a row.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.prediction import Denoiser, Prediction, from_x_0
from minidiff.diffusion.schedules import Level, NoiseSchedule


def gaussian(
    schedule: NoiseSchedule, mean: Float[Tensor, "d"], covariance: Float[Tensor, "d"] | Float[Tensor, "d d"]
) -> Denoiser:
    r"""The denoiser of $x_0 \sim \mathcal N(m, \Sigma)$; Σ is full (D, D), or diagonal and given as (D,).

    $\mathbb E[x_0 \mid x_t] = m + \sqrt{\bar\alpha_t}\,\Sigma\,\big(\bar\alpha_t\Sigma + (1 - \bar\alpha_t) I\big)^{-1}(x_t - \sqrt{\bar\alpha_t}\,m)$   (`oracles.gaussian`)

    Raises ValueError where Σ is not a covariance: another shape, not symmetric, or with a negative eigenvalue.
    Source: Bishop, 2006, eq. 2.116.
    """
    if covariance.shape not in ((len(mean),), (len(mean), len(mean))):
        raise ValueError(
            f"a mean of {len(mean)} numbers needs a covariance of shape (D,) or (D, D), got {tuple(covariance.shape)}"
        )
    if covariance.ndim == 1:
        spread, axes = covariance.double(), torch.eye(len(mean), dtype=torch.float64, device=mean.device)
    else:
        if not torch.allclose(covariance, covariance.T):
            raise ValueError("a covariance is symmetric, and this one is not")
        spread, axes = torch.linalg.eigh(covariance.double())
    if not (spread > -1e-9 * spread.abs().max().clamp(min=1e-300)).all():
        raise ValueError(f"a covariance has no negative eigenvalue, this one has {spread.min().item():.4g}")

    def denoise(x_t: Tensor, t: Level) -> Prediction:
        x, alpha_bar_t = _rows(schedule, x_t, t, len(mean))
        signal = alpha_bar_t.sqrt()
        along_axes = (x - signal * mean.to(x)) @ axes.to(x)
        shrunk = signal * spread.to(x) / (alpha_bar_t * spread.to(x) + 1 - alpha_bar_t) * along_axes
        return _prediction(schedule, x_t, mean.to(x) + shrunk @ axes.T.to(x), t)

    return denoise


def mixture(
    schedule: NoiseSchedule,
    weights: Float[Tensor, "k"],
    means: Float[Tensor, "k d"],
    variances: Float[Tensor, "k"] | Float[Tensor, "k d"],
) -> Denoiser:
    r"""The denoiser of $x_0 \sim \sum_k w_k\,\mathcal N(m_k, v_k)$, each component with its own variances, or with one for all D numbers.

    $\mathbb E[x_0 \mid x_t] = \sum_k r_k \Big(m_k + \frac{\sqrt{\bar\alpha_t}\,v_k}{\bar\alpha_t v_k + 1 - \bar\alpha_t}(x_t - \sqrt{\bar\alpha_t}\,m_k)\Big)$,
    $r_k \propto w_k\,\mathcal N(x_t; \sqrt{\bar\alpha_t}\,m_k,\ \bar\alpha_t v_k + 1 - \bar\alpha_t)$   (`oracles.mixture`)

    Raises ValueError for weights that are not positive or do not sum to 1, negative variances, or shapes that do not match.
    Source: Bishop, 2006, sections 2.3.9 and 9.2.
    """
    if not (weights > 0).all() or not torch.isclose(weights.sum(), torch.ones_like(weights[0])):
        raise ValueError(f"weights must be positive and sum to 1, got {weights.tolist()}")
    if means.ndim != 2 or len(means) != len(weights) or variances.shape not in ((len(weights),), means.shape):
        raise ValueError(
            f"expected means (K, D) and variances (K,) or (K, D) for {len(weights)} weights, "
            f"got {tuple(means.shape)} and {tuple(variances.shape)}"
        )
    if not (variances >= 0).all():
        raise ValueError(f"variances cannot be negative, got {variances.min().item()}")
    spreads = variances[:, None].expand_as(means) if variances.ndim == 1 else variances

    def denoise(x_t: Tensor, t: Level) -> Prediction:
        x, alpha_bar_t = _rows(schedule, x_t, t, means.shape[1])
        x, alpha_bar_t = x[:, None], alpha_bar_t[:, None]  # (B, 1, D), (B, 1, 1), against K components
        m, v = means.to(x), spreads.to(x)
        offset, total = x - alpha_bar_t.sqrt() * m, alpha_bar_t * v + 1 - alpha_bar_t
        log_likelihood = -0.5 * (total.log() + offset**2 / total).sum(-1)
        r = torch.softmax(weights.to(x).log() + log_likelihood, dim=1)
        x_0 = (r[..., None] * (m + alpha_bar_t.sqrt() * v / total * offset)).sum(1)
        return _prediction(schedule, x_t, x_0, t)

    return denoise


def dataset(schedule: NoiseSchedule, points: Float[Tensor, "n *shape"]) -> Denoiser:
    r"""The denoiser of data drawn uniformly from these points and no others: it can only recall.

    $\mathbb E[x_0 \mid x_t] = \sum_i r_i\,x_i$, $r = \mathrm{softmax}_i\Big(-\frac{\|x_t - \sqrt{\bar\alpha_t}\,x_i\|^2}{2(1 - \bar\alpha_t)}\Big)$   (`oracles.dataset`)

    Raises ValueError where there are no points. Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, eq. 57.
    """
    if len(points) == 0:
        raise ValueError("the exact denoiser of a data set needs at least one point")
    rows = points.flatten(1).double()
    half_norms = rows.pow(2).sum(1) / 2

    def denoise(x_t: Tensor, t: Level) -> Prediction:
        x, alpha_bar_t = _rows(schedule, x_t, t, rows.shape[1])
        stored = rows.to(x)
        # the square expanded; |x_t|² is the same for all points, and softmax does not see it
        logits = (alpha_bar_t.sqrt() * (x @ stored.T) - alpha_bar_t * half_norms.to(x)) / (1 - alpha_bar_t)
        return _prediction(schedule, x_t, torch.softmax(logits, dim=1) @ stored, t)

    return denoise


def _rows(schedule: NoiseSchedule, x_t: Tensor, t: Level, d: int) -> tuple[Tensor, Tensor]:
    x = x_t.flatten(1).double()
    if x.shape[1] != d:
        raise ValueError(f"this law is over {d} numbers, x_t of shape {tuple(x_t.shape)} has {x.shape[1]} an item")
    return x, schedule.at(t, like=x, low=1).alpha_bar_t.to(x)


def _prediction(schedule: NoiseSchedule, x_t: Tensor, x_0: Tensor, t: Level) -> Prediction:
    x_0, eps = from_x_0(schedule, x_t.double(), x_0.reshape(x_t.shape), t)
    return Prediction(x_0.to(x_t), eps.to(x_t))
