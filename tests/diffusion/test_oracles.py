import math

import pytest
import torch
from torch.testing import assert_close

from minidiff.diffusion import forward, gaussians, oracles, prediction, schedules

SCHEDULE = schedules.linear(50, 0.01, 0.2)
LEVELS = torch.tensor([1, 10, 30, 50])
f64 = torch.float64


def by_grid(log_prior, x_t, t):
    """E[x_0|x_t] by summing Bayes' rule over a fine grid of x_0."""
    grid = torch.linspace(-10, 10, 400_001, dtype=f64)
    abar = SCHEDULE.alphas_cumprod[t]
    log_weight = log_prior(grid) + gaussians.log_density(x_t, abar.sqrt() * grid, 1 - abar)
    return (torch.softmax(log_weight, 0) * grid).sum()


@pytest.mark.parametrize("t", LEVELS.tolist())
@pytest.mark.parametrize("x_t", [-2.0, 0.1, 1.5])
def test_the_gaussian_oracle_is_bayes_rule(x_t, t):
    denoise = oracles.gaussian(SCHEDULE, torch.tensor([0.7], dtype=f64), torch.tensor([0.3], dtype=f64))
    expected = by_grid(lambda x: gaussians.log_density(x, 0.7, 0.3), x_t, t)
    assert_close(denoise(torch.tensor([[x_t]], dtype=f64), t).x_0.item(), expected.item(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("t", LEVELS.tolist())
@pytest.mark.parametrize("x_t", [-2.0, 0.1, 1.5])
def test_the_mixture_oracle_is_bayes_rule(x_t, t):
    weights, means, variances = torch.tensor([[0.2, 0.5, 0.3], [-1.0, 0.4, 2.0], [0.05, 0.3, 0.6]], dtype=f64)

    def log_prior(x):
        return torch.logsumexp(weights.log()[:, None] + gaussians.log_density(x, means[:, None], variances[:, None]), 0)

    denoise = oracles.mixture(SCHEDULE, weights, means[:, None], variances)
    assert_close(
        denoise(torch.tensor([[x_t]], dtype=f64), t).x_0.item(), by_grid(log_prior, x_t, t).item(), rtol=1e-6, atol=1e-8
    )


def test_a_full_covariance_is_a_joint_conditioning(generator):
    root = torch.randn(4, 4, generator=generator, dtype=f64)
    covariance, mean = root @ root.T, torch.randn(4, generator=generator, dtype=f64)
    x_t = torch.randn(4, 4, generator=generator, dtype=f64)
    abar = SCHEDULE.alphas_cumprod[LEVELS]
    expected = torch.stack([
        mean + a.sqrt() * covariance @ torch.linalg.solve(a * covariance + (1 - a) * torch.eye(4, dtype=f64), x - a.sqrt() * mean)
        for a, x in zip(abar, x_t, strict=True)
    ])  # fmt: skip
    assert_close(oracles.gaussian(SCHEDULE, mean, covariance)(x_t, LEVELS).x_0, expected)


def test_a_diagonal_covariance_is_a_full_one(generator):
    mean, diagonal = torch.randn(3, generator=generator, dtype=f64), torch.rand(3, generator=generator, dtype=f64)
    x_t = torch.randn(2, 3, generator=generator, dtype=f64)
    assert_close(
        oracles.gaussian(SCHEDULE, mean, diagonal)(x_t, 7), oracles.gaussian(SCHEDULE, mean, diagonal.diag())(x_t, 7)
    )


def test_one_component_is_a_gaussian_and_points_are_components_without_width(generator):
    mean, x_t = torch.randn(3, generator=generator, dtype=f64), torch.randn(4, 3, generator=generator, dtype=f64)
    ones = torch.ones(1, dtype=f64)
    mixture = oracles.mixture(SCHEDULE, ones, mean[None], 0.4 * ones)
    assert_close(mixture(x_t, LEVELS), oracles.gaussian(SCHEDULE, mean, torch.full((3,), 0.4, dtype=f64))(x_t, LEVELS))
    points = torch.randn(5, 3, generator=generator, dtype=f64)
    spikes = oracles.mixture(SCHEDULE, torch.full((5,), 0.2, dtype=f64), points, torch.zeros(5, dtype=f64))
    assert_close(oracles.dataset(SCHEDULE, points)(x_t, LEVELS), spikes(x_t, LEVELS))


def test_the_score_of_the_mixture_is_the_gradient_of_its_log_density(generator):
    weights, means, variances = (
        torch.tensor([0.3, 0.7], dtype=f64),
        torch.randn(2, 2, generator=generator, dtype=f64),
        torch.tensor([0.1, 0.5], dtype=f64),
    )
    x_t = torch.randn(6, 2, generator=generator, dtype=f64).requires_grad_()
    for t in LEVELS.tolist():
        abar = SCHEDULE.alphas_cumprod[t]
        each = gaussians.log_density(
            x_t[:, None], abar.sqrt() * means, (abar * variances + 1 - abar)[:, None].expand(2, 2)
        ).sum(-1)
        (gradient,) = torch.autograd.grad(torch.logsumexp(weights.log() + each, 1).sum(), x_t)
        eps = oracles.mixture(SCHEDULE, weights, means, variances)(x_t.detach(), t).eps
        assert_close(prediction.score(SCHEDULE, eps, t), gradient)


def test_pictures_keep_their_shape_and_dtype(generator):
    points = torch.rand(20, 1, 8, 8, generator=generator)
    x_t = forward.q_sample(SCHEDULE, points[:3], 5, torch.randn(3, 1, 8, 8, generator=generator))
    x_0, eps = oracles.dataset(SCHEDULE, points)(x_t, 5)
    assert x_0.shape == eps.shape == x_t.shape
    assert x_0.dtype == torch.float32
    assert_close(x_0, points[:3], atol=1e-3, rtol=0)  # with so little noise it knows which picture it was
    assert_close(
        oracles.dataset(SCHEDULE, points)(1e4 * torch.ones_like(x_t), 1).x_0.isfinite().all(), torch.tensor(True)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: oracles.gaussian(SCHEDULE, torch.zeros(2), torch.ones(3)),
        lambda: oracles.gaussian(SCHEDULE, torch.zeros(2), torch.tensor([1.0, -1.0])),
        lambda: oracles.gaussian(SCHEDULE, torch.zeros(2), torch.tensor([[1.0, 0.5], [0.2, 1.0]])),
        lambda: oracles.gaussian(SCHEDULE, torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
        lambda: oracles.gaussian(SCHEDULE, torch.zeros(2), torch.tensor([1.0, math.nan])),
        lambda: oracles.mixture(SCHEDULE, torch.tensor([0.5, 0.6]), torch.zeros(2, 1), torch.ones(2)),
        lambda: oracles.mixture(SCHEDULE, torch.tensor([1.5, -0.5]), torch.zeros(2, 1), torch.ones(2)),
        lambda: oracles.mixture(SCHEDULE, torch.tensor([0.5, 0.5]), torch.zeros(3, 1), torch.ones(2)),
        lambda: oracles.mixture(SCHEDULE, torch.tensor([0.5, 0.5]), torch.zeros(2, 1), -torch.ones(2)),
        lambda: oracles.dataset(SCHEDULE, torch.zeros(0, 3)),
        lambda: oracles.dataset(SCHEDULE, torch.zeros(4, 3))(torch.zeros(2, 5), 3),
        lambda: oracles.dataset(SCHEDULE, torch.zeros(4, 3))(torch.zeros(2, 3), 0),
    ],
)
def test_what_is_no_law_is_an_error(make):
    with pytest.raises((ValueError, TypeError)):
        make()
