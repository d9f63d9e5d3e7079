r"""Exact denoisers: $\hat x_0 = \mathbb E[x_0 \mid x_t]$ in closed form, for data of a known distribution.

Samplers and bounds are tested with them. Data may have any shape (B, …). The distribution is over the D numbers of an item, flattened.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion.prediction import Denoiser, Prediction, from_x_0
from minidiff.diffusion.schedules import Level, Schedule


def gaussian(
    schedule: Schedule, mean: Float[Tensor, "d"], covariance: Float[Tensor, "d"] | Float[Tensor, "d d"]
) -> Denoiser:
    r"""The exact denoiser for $x_0 \sim \mathcal N(m, \Sigma)$. Σ has shape (D, D), or (D,) where it is diagonal.

    $\mathbb E[x_0 \mid x_t] = m + a\,\Sigma\,\big(a^2\Sigma + b^2 I\big)^{-1}(x_t - a\,m)$ with a = signal_t, b = noise_t   (`oracles.gaussian`)

    Raises ValueError for any other shape, and for a Σ that is not symmetric or has a negative eigenvalue. Source: Bishop, 2006, eq. 2.116.
    """
    if covariance.shape not in ((len(mean),), (len(mean), len(mean))):
        raise ValueError(f"covariance must be (D,) or (D, D) for D = {len(mean)}, got {tuple(covariance.shape)}")
    if covariance.ndim == 1:
        eigenvalues, eigenvectors = covariance.double(), torch.eye(len(mean), dtype=torch.float64, device=mean.device)
    else:
        if not torch.allclose(covariance, covariance.T):
            raise ValueError("covariance must be symmetric")
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance.double())
    if not (eigenvalues > -1e-9 * eigenvalues.abs().max().clamp(min=1e-300)).all():
        raise ValueError(f"covariance must have no negative eigenvalue, got {eigenvalues.min().item():.4g}")

    def predict(x_t: Tensor, t: Level) -> Prediction:
        x, signal, noise = _rows(schedule, x_t, t, len(mean))
        variances, axes = eigenvalues.to(x), eigenvectors.to(x)
        offset = signal * variances / (signal**2 * variances + noise**2) * ((x - signal * mean.to(x)) @ axes)
        return _prediction(schedule, x_t, mean.to(x) + offset @ axes.T, t)

    return Denoiser(schedule, predict)


def mixture(
    schedule: Schedule, weights: Float[Tensor, "k"], means: Float[Tensor, "k d"], variances: Float[Tensor, "k ..."]
) -> Denoiser:
    r"""The exact denoiser for a mixture of K Gaussians, $x_0 \sim \sum_k w_k\,\mathcal N(m_k, v_k)$; `variances` has shape (K,) or (K, D).

    $\mathbb E[x_0 \mid x_t] = \sum_k r_k \Big(m_k + \frac{a\,v_k}{a^2 v_k + b^2}(x_t - a\,m_k)\Big)$,
    $r_k \propto w_k\,\mathcal N(x_t; a\,m_k,\ a^2 v_k + b^2)$ with a = signal_t, b = noise_t   (`oracles.mixture`)

    Raises ValueError for weights that are not positive or do not sum to 1, for negative variances, and for other shapes. Source: Bishop, 2006, sections 2.3.9 and 9.2.
    """
    if not (weights > 0).all() or not torch.isclose(weights.sum(), torch.ones_like(weights[0])):
        raise ValueError(f"weights must be positive and sum to 1, got {weights.tolist()}")
    if means.ndim != 2 or len(means) != len(weights) or variances.shape not in ((len(weights),), means.shape):
        shapes = f"{tuple(means.shape)} and {tuple(variances.shape)}"
        raise ValueError(
            f"expected means (K, D) and variances (K,) or (K, D) for K = {len(weights)} weights, got {shapes}"
        )
    if not (variances >= 0).all():
        raise ValueError(f"variances must not be negative, got {variances.min().item()}")
    variances = variances[:, None].expand_as(means) if variances.ndim == 1 else variances

    def predict(x_t: Tensor, t: Level) -> Prediction:
        rows, signal, noise = _rows(schedule, x_t, t, means.shape[1])
        x, signal, noise = rows[:, None], signal[:, None], noise[:, None]  # (B, 1, D), (B, 1, 1); components are (K, D)
        m, v = means.to(x), variances.to(x)
        offset, total = x - signal * m, signal**2 * v + noise**2
        log_likelihood = -0.5 * (total.log() + offset**2 / total).sum(-1)
        r = torch.softmax(weights.to(x).log() + log_likelihood, dim=1)
        x_0 = (r[..., None] * (m + signal * v / total * offset)).sum(1)
        return _prediction(schedule, x_t, x_0, t)

    return Denoiser(schedule, predict)


def dataset(schedule: Schedule, points: Float[Tensor, "n *shape"]) -> Denoiser:
    r"""The exact denoiser for data drawn uniformly from `points`. A sampler with this denoiser reproduces the points.

    $\mathbb E[x_0 \mid x_t] = \sum_i r_i\,x_i$, $r = \mathrm{softmax}_i\Big(-\frac{\|x_t - \mathrm{signal}_t\,x_i\|^2}{2\,\mathrm{noise}_t^2}\Big)$   (`oracles.dataset`)

    Raises ValueError for no points. Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, eq. 57.
    """
    if len(points) == 0:
        raise ValueError("points must hold at least one point, got none")
    rows = points.flatten(1).double()
    half_norms = rows.pow(2).sum(1) / 2

    def predict(x_t: Tensor, t: Level) -> Prediction:
        x, signal, noise = _rows(schedule, x_t, t, rows.shape[1])
        stored = rows.to(x)
        # the square is expanded and |x_t|² left out: it is the same for all points, so softmax does not change
        logits = (signal * (x @ stored.T) - signal**2 * half_norms.to(x)) / noise**2
        return _prediction(schedule, x_t, torch.softmax(logits, dim=1) @ stored, t)

    return Denoiser(schedule, predict)


def _rows(schedule: Schedule, x_t: Tensor, t: Level, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """x_t as float64 of shape (B, D), and signal and noise at t, cast to it."""
    x = x_t.flatten(1).double()
    if x.shape[1] != d:
        raise ValueError(f"x_t must have {d} numbers per item, as the distribution has; got shape {tuple(x_t.shape)}")
    signal, noise = schedule.at(t, like=x, noisy=True)
    return x, signal.to(x), noise.to(x)


def _prediction(schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Level) -> Prediction:
    """The prediction in the shape and dtype of x_t, with ε̂ computed from x̂_0 in float64."""
    x_0, eps = from_x_0(schedule, x_t.double(), x_0.reshape(x_t.shape), t)
    return Prediction(x_0.to(x_t), eps.to(x_t))
