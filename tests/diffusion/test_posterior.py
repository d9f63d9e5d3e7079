import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import forward, gaussians, posterior, schedules

SCHEDULE = schedules.linear(20, 0.05, 0.4)
x = st.floats(-3, 3)


def one(value):
    return torch.tensor([[value]], dtype=torch.float64)


@pytest.mark.parametrize(("x_0", "x_t", "t"), [(0.5, -1.0, 2), (-2.0, 0.3, 9), (1.0, 1.0, 20)])
def test_posterior_is_the_product_of_two_densities_on_a_grid(x_0, x_t, t):
    """Bayes by brute force: q(x_t|x_{t-1}) q(x_{t-1}|x_0), normalised by summing it up."""
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    likelihood = gaussians.log_density(x_t, SCHEDULE.alphas[t].sqrt() * grid, SCHEDULE.betas[t])
    prior = gaussians.log_density(grid, *(part[0, 0] for part in forward.q_marginal(SCHEDULE, one(x_0), t - 1)))
    weight = torch.softmax(likelihood + prior, 0)
    mean = (weight * grid).sum()
    variance = (weight * (grid - mean) ** 2).sum()
    assert_close(
        posterior.q_posterior(SCHEDULE, one(x_0), one(x_t), t),
        (mean.view(1, 1), variance.view(1, 1)),
        rtol=1e-8,
        atol=1e-10,
    )


@given(x, x, st.integers(2, 20), st.data())
def test_posterior_of_any_two_levels_is_conditioning(x_0, x_t, t, data):
    s = data.draw(st.integers(1, t - 1))
    prior_mean, prior_variance = forward.q_marginal(SCHEDULE, one(x_0), s)
    a = (SCHEDULE.alphas_cumprod[t] / SCHEDULE.alphas_cumprod[s]).item()
    expected = gaussians.condition(prior_mean, prior_variance, a**0.5, 1 - a, one(x_t))
    assert_close(posterior.q_posterior(SCHEDULE, one(x_0), one(x_t), t, s), expected, rtol=1e-9, atol=1e-11)


@given(x, st.integers(1, 20))
def test_a_step_forward_and_a_step_back_leave_the_marginal(x_0, t):
    """Averaged over x_t ~ q(x_t|x_0), the posterior is q(x_{t-1}|x_0): the mean is linear in x_t, so its law is known."""
    mean_t, variance_t = forward.q_marginal(SCHEDULE, one(x_0), t)
    mean, variance = posterior.q_posterior(SCHEDULE, one(x_0), mean_t, t)
    slope = posterior.q_posterior(SCHEDULE, one(x_0), mean_t + 1, t)[0] - mean
    assert_close(
        (mean, slope**2 * variance_t + variance), forward.q_marginal(SCHEDULE, one(x_0), t - 1), rtol=1e-9, atol=1e-11
    )


@given(x, x, st.integers(1, 20))
def test_the_eps_form_is_the_same_mean(x_0, eps, t):
    x_t = forward.q_sample(SCHEDULE, one(x_0), t, one(eps))
    mean, _ = posterior.q_posterior(SCHEDULE, one(x_0), x_t, t)
    assert_close(posterior.mean_from_eps(SCHEDULE, x_t, one(eps), t), mean, rtol=1e-9, atol=1e-9)


def test_the_last_step_is_x_0_itself():
    mean, variance = posterior.q_posterior(SCHEDULE, one(0.7), one(-1.0), 1)
    assert_close(mean, one(0.7))
    assert variance.item() == 0


def test_each_item_has_its_own_levels():
    x_0, x_t = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t, s = torch.tensor([20, 2, 7]), torch.tensor([3, 0, 6])
    together = posterior.q_posterior(SCHEDULE, x_0, x_t, t, s)
    alone = [posterior.q_posterior(SCHEDULE, x_0[[i]], x_t[[i]], t[i].item(), s[i].item()) for i in range(3)]
    assert_close(together, tuple(torch.cat(parts) for parts in zip(*alone, strict=True)))


def test_it_holds_where_nothing_of_the_picture_is_left():
    schedule = SCHEDULE.zero_terminal_snr()
    mean, variance = posterior.q_posterior(schedule, one(0.5), one(2.0), 20)
    assert_close((mean, variance), forward.q_marginal(schedule, one(0.5), 19))  # x_T tells nothing, so only x_0 counts
    with pytest.raises(ValueError, match="ᾱ_t = 0"):
        posterior.mean_from_eps(schedule, one(2.0), one(0.1), 20)


@pytest.mark.parametrize(("t", "t_prev"), [(0, None), (21, None), (5, 5), (5, 6), (5, -1), (math.nan, None), (1, 0.5)])
def test_levels_out_of_order_are_errors(t, t_prev):
    with pytest.raises(ValueError, match=r"t|level"):
        posterior.q_posterior(SCHEDULE, one(0.0), one(0.0), t, t_prev)


def test_shapes_must_agree():
    with pytest.raises((ValueError, TypeError)):
        posterior.q_posterior(SCHEDULE, torch.zeros(2, 3), torch.zeros(2, 4), 5)
    with pytest.raises((ValueError, TypeError)):
        posterior.mean_from_eps(SCHEDULE, torch.zeros(2, 3), torch.zeros(2, 4), 5)
