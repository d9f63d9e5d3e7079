import math

import pytest
import torch
from torch.testing import assert_close

from minidiff.diffusion import forward, gaussians, oracles, prediction, schedules

SCHEDULE = schedules.linear(50, 0.01, 0.2)
EVERY = [SCHEDULE, schedules.flow(50), schedules.flow(50, shift=3), schedules.variance_exploding(50, 0.05, 20.0)]
every_schedule = pytest.mark.parametrize("schedule", EVERY, ids=repr)
LEVELS = torch.tensor([1, 10, 30, 50])
f64 = torch.float64


def by_grid(schedule, log_prior, x_t, t):
    """E[x_0|x_t] by summing Bayes' rule over a fine grid of x_0."""
    grid = torch.linspace(-10, 10, 400_001, dtype=f64)
    log_weight = log_prior(grid) + gaussians.log_density(x_t, schedule.signal[t] * grid, schedule.noise[t] ** 2)
    return (torch.softmax(log_weight, 0) * grid).sum()


@every_schedule
@pytest.mark.parametrize("t", LEVELS.tolist())
@pytest.mark.parametrize("x_t", [-2.0, 0.1, 1.5])
def test_the_gaussian_oracle_is_bayes_rule(schedule, x_t, t):
    denoise = oracles.gaussian(schedule, torch.tensor([0.7], dtype=f64), torch.tensor([0.3], dtype=f64))
    expected = by_grid(schedule, lambda x: gaussians.log_density(x, 0.7, 0.3), x_t, t)
    assert_close(denoise(torch.tensor([[x_t]], dtype=f64), t).x_0.item(), expected.item(), rtol=1e-7, atol=1e-9)


@every_schedule
@pytest.mark.parametrize("t", LEVELS.tolist())
@pytest.mark.parametrize("x_t", [-2.0, 0.1, 1.5])
def test_the_mixture_oracle_is_bayes_rule(schedule, x_t, t):
    weights, means, variances = torch.tensor([[0.2, 0.5, 0.3], [-1.0, 0.4, 2.0], [0.05, 0.3, 0.6]], dtype=f64)

    def log_prior(x):
        return torch.logsumexp(weights.log()[:, None] + gaussians.log_density(x, means[:, None], variances[:, None]), 0)

    denoise = oracles.mixture(schedule, weights, means[:, None], variances)
    expected = by_grid(schedule, log_prior, x_t, t)
    assert_close(denoise(torch.tensor([[x_t]], dtype=f64), t).x_0.item(), expected.item(), rtol=1e-6, atol=1e-8)


@every_schedule
def test_the_data_set_s_oracle_is_bayes_rule_over_its_points(schedule):
    points, x_t = torch.tensor([-1.0, 0.2, 0.5, 2.0], dtype=f64), torch.tensor([[0.6]] * 4, dtype=f64)
    signal, noise = schedule.signal[LEVELS][:, None], schedule.noise[LEVELS][:, None]
    likelihood = gaussians.log_density(x_t, signal * points, noise**2).exp()
    expected = (likelihood * points).sum(1, keepdim=True) / likelihood.sum(1, keepdim=True)
    assert_close(oracles.dataset(schedule, points[:, None])(x_t, LEVELS).x_0, expected)


@every_schedule
def test_what_an_oracle_says_of_the_noise_is_the_rest_of_x_t(schedule, generator):
    x_t = torch.randn(4, 2, generator=generator, dtype=f64)
    zeros, ones = torch.zeros(2, dtype=f64), torch.ones(2, dtype=f64)
    for denoise in (
        oracles.gaussian(schedule, zeros, ones),
        oracles.mixture(schedule, ones / 2, torch.eye(2, dtype=f64), ones),
        oracles.dataset(schedule, torch.eye(2, dtype=f64)),
    ):
        assert denoise.schedule is schedule
        assert_close(forward.q_sample(schedule, denoise(x_t, LEVELS).x_0, LEVELS, denoise(x_t, LEVELS).eps), x_t)


@every_schedule
def test_a_full_covariance_is_a_joint_conditioning(schedule, generator):
    root = torch.randn(4, 4, generator=generator, dtype=f64)
    covariance, mean = root @ root.T, torch.randn(4, generator=generator, dtype=f64)
    x_t = torch.randn(4, 4, generator=generator, dtype=f64)
    expected = torch.stack([
        mean + a * covariance @ torch.linalg.solve(a**2 * covariance + b**2 * torch.eye(4, dtype=f64), x - a * mean)
        for a, b, x in zip(schedule.signal[LEVELS], schedule.noise[LEVELS], x_t, strict=True)
    ])  # fmt: skip
    assert_close(oracles.gaussian(schedule, mean, covariance)(x_t, LEVELS).x_0, expected)


def test_a_diagonal_covariance_is_a_full_one(generator):
    mean, diagonal = torch.randn(3, generator=generator, dtype=f64), torch.rand(3, generator=generator, dtype=f64)
    x_t = torch.randn(2, 3, generator=generator, dtype=f64)
    assert_close(
        oracles.gaussian(SCHEDULE, mean, diagonal)(x_t, 7), oracles.gaussian(SCHEDULE, mean, diagonal.diag())(x_t, 7)
    )


@every_schedule
def test_one_component_is_a_gaussian_and_points_are_components_without_width(schedule, generator):
    mean, x_t = torch.randn(3, generator=generator, dtype=f64), torch.randn(4, 3, generator=generator, dtype=f64)
    ones = torch.ones(1, dtype=f64)
    mixture = oracles.mixture(schedule, ones, mean[None], 0.4 * ones)
    assert_close(mixture(x_t, LEVELS), oracles.gaussian(schedule, mean, torch.full((3,), 0.4, dtype=f64))(x_t, LEVELS))
    points = torch.randn(5, 3, generator=generator, dtype=f64)
    spikes = oracles.mixture(schedule, torch.full((5,), 0.2, dtype=f64), points, torch.zeros(5, dtype=f64))
    assert_close(oracles.dataset(schedule, points)(x_t, LEVELS), spikes(x_t, LEVELS))


@every_schedule
def test_the_score_of_the_mixture_is_the_gradient_of_its_log_density(schedule, generator):
    weights, means, variances = (
        torch.tensor([0.3, 0.7], dtype=f64),
        torch.randn(2, 2, generator=generator, dtype=f64),
        torch.tensor([0.1, 0.5], dtype=f64),
    )
    x_t = torch.randn(6, 2, generator=generator, dtype=f64).requires_grad_()
    for t in LEVELS.tolist():
        signal, noise = schedule.signal[t], schedule.noise[t]
        spread = (signal**2 * variances + noise**2)[:, None]
        each = gaussians.log_density(x_t[:, None], signal * means, spread).sum(-1)
        (gradient,) = torch.autograd.grad(torch.logsumexp(weights.log() + each, 1).sum(), x_t)
        eps = oracles.mixture(schedule, weights, means, variances)(x_t.detach(), t).eps
        assert_close(prediction.score(schedule, eps, t), gradient)


def test_pictures_keep_their_shape_and_dtype(generator):
    points = torch.rand(20, 1, 8, 8, generator=generator)
    x_t = forward.q_sample(SCHEDULE, points[:3], 5, torch.randn(3, 1, 8, 8, generator=generator))
    x_0, eps = oracles.dataset(SCHEDULE, points)(x_t, 5)
    assert x_0.shape == eps.shape == x_t.shape
    assert x_0.dtype == torch.float32
    assert_close(x_0, points[:3], atol=1e-3, rtol=0)  # with so little noise the nearest picture has all the weight
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
        lambda: oracles.dataset(SCHEDULE, torch.zeros(4, 3))(torch.zeros(2, 3), 3, "a prompt"),
    ],
)
def test_what_is_no_law_is_an_error(make):
    with pytest.raises((ValueError, TypeError)):
        make()
