import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import forward, gaussians, posterior, schedules

SCHEDULE = schedules.linear(20, 0.05, 0.4)
EVERY = [SCHEDULE, schedules.flow(20), schedules.flow(20, shift=3), schedules.variance_exploding(20, 0.1, 4.0)]
every_schedule = pytest.mark.parametrize("schedule", EVERY, ids=repr)
every = st.sampled_from(EVERY)
x = st.floats(-3, 3)


def one(value):
    return torch.tensor([[value]], dtype=torch.float64)


@every_schedule
@pytest.mark.parametrize(("x_0", "x_t", "t"), [(0.5, -1.0, 2), (-2.0, 0.3, 9), (1.0, 1.0, 20)])
def test_posterior_is_the_product_of_two_densities_on_a_grid(schedule, x_0, x_t, t):
    """Bayes' rule by brute force: q(x_t|x_{t-1}) q(x_{t-1}|x_0), normalised by its sum over the grid."""
    grid = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    mean_t, variance_t = forward.q_transition(schedule, grid[:, None], t - 1, t)
    likelihood = gaussians.log_density(x_t, mean_t[:, 0], variance_t[:, 0])
    prior = gaussians.log_density(grid, *(part[0, 0] for part in forward.q_marginal(schedule, one(x_0), t - 1)))
    weight = torch.softmax(likelihood + prior, 0)
    mean = (weight * grid).sum()
    variance = (weight * (grid - mean) ** 2).sum()
    assert_close(
        posterior.q_posterior(schedule, one(x_0), one(x_t), t),
        (mean.view(1, 1), variance.view(1, 1)),
        rtol=1e-8,
        atol=1e-10,
    )


@given(schedule=every, x_0=x, x_t=x, t=st.integers(2, 20), data=st.data())
def test_posterior_of_any_two_levels_is_conditioning(schedule, x_0, x_t, t, data):
    s = data.draw(st.integers(1, t - 1))
    prior_mean, prior_variance = forward.q_marginal(schedule, one(x_0), s)
    a = (schedule.signal[t] / schedule.signal[s]).item()
    added = schedule.noise[t] ** 2 - a**2 * schedule.noise[s] ** 2
    expected = gaussians.condition(prior_mean, prior_variance, a, added, one(x_t))
    assert_close(posterior.q_posterior(schedule, one(x_0), one(x_t), t, s), expected, rtol=1e-9, atol=1e-11)


@given(schedule=every, x_0=x, levels=st.sets(st.integers(8, 160), min_size=2, max_size=2))
def test_a_step_forward_and_a_step_back_leave_the_marginal(schedule, x_0, levels):
    """Averaged over x_t ~ q(x_t|x_0), the posterior is q(x_s|x_0). Its mean is linear in x_t, so the average is exact."""
    s, t = (level / 8 for level in sorted(levels))
    mean_t, variance_t = forward.q_marginal(schedule, one(x_0), t)
    mean, variance = posterior.q_posterior(schedule, one(x_0), mean_t, t, s)
    slope = posterior.q_posterior(schedule, one(x_0), mean_t + 1, t, s)[0] - mean
    assert_close(
        (mean, slope**2 * variance_t + variance), forward.q_marginal(schedule, one(x_0), s), rtol=1e-9, atol=1e-11
    )


def in_beta(schedule):
    """The posterior's weights of x_0 and x_t, and its variance, at t = 2…T: Ho et al., 2020, eq. 7."""
    beta_t, alpha_t = schedule.betas[2:], schedule.alphas[2:]
    before, now = schedule.alphas_cumprod[1:-1], schedule.alphas_cumprod[2:]
    return (
        before.sqrt() * beta_t / (1 - now),
        alpha_t.sqrt() * (1 - before) / (1 - now),
        (1 - before) / (1 - now) * beta_t,
    )


def in_fractions(schedule):
    """The same on a flow schedule in exact fractions, rounded once at the end."""
    rows = []
    for t in range(2, schedule.T + 1):
        s_noise, t_noise = Fraction(t - 1, schedule.T), Fraction(t, schedule.T)
        r = (1 - t_noise) / (1 - s_noise)
        beta = t_noise**2 - (r * s_noise) ** 2
        share = (s_noise / t_noise) ** 2
        rows.append([float((1 - s_noise) * beta / t_noise**2), float(r * share), float(share * beta)])
    return torch.tensor(rows, dtype=torch.float64).unbind(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("schedule", "exact"),
    [(schedules.scaled_linear(), in_beta), (schedules.flow(), in_fractions)],
    ids=["scaled_linear", "flow"],
)
def test_the_posterior_of_low_precision_data_is_rounded_once(schedule, exact, dtype):
    t = torch.arange(2, schedule.T + 1)
    all_0, all_1 = torch.zeros(len(t), 1, dtype=dtype), torch.ones(len(t), 1, dtype=dtype)
    of_x_0, variance = posterior.q_posterior(schedule, all_1, all_0, t)
    of_x_t, between = posterior.between(all_0, all_1, schedule.at(t, like=all_0), schedule.at(t - 1, like=all_0))
    for made, expected in zip((of_x_0, of_x_t, variance), exact(schedule), strict=True):
        assert torch.equal(made.flatten(), expected.to(dtype))
    assert torch.equal(between.to(dtype), variance)
    assert (variance > 0).all()


def test_beta_computed_in_bfloat16_would_not_be_positive():
    """The reason for float64: bfloat16 cannot resolve the differences between neighbouring levels."""
    schedule = schedules.scaled_linear()
    signal, noise = schedule.signal.bfloat16(), schedule.noise.bfloat16()
    beta = noise[1:] ** 2 - (signal[1:] / signal[:-1]) ** 2 * noise[:-1] ** 2
    assert (beta <= 0).sum() == 276  # of 1,000


@given(x, x, st.integers(1, 20))
def test_the_eps_form_is_the_same_mean(x_0, eps, t):
    x_t = forward.q_sample(SCHEDULE, one(x_0), t, one(eps))
    mean, _ = posterior.q_posterior(SCHEDULE, one(x_0), x_t, t)
    assert_close(posterior.mean_from_eps(SCHEDULE, x_t, one(eps), t), mean, rtol=1e-9, atol=1e-9)


@every_schedule
def test_the_last_step_is_x_0_itself(schedule):
    mean, variance = posterior.q_posterior(schedule, one(0.7), one(-1.0), 1)
    assert_close(mean, one(0.7))
    assert variance.item() == 0


@every_schedule
def test_each_item_has_its_own_levels(schedule):
    x_0, x_t = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t, s = torch.tensor([20, 2, 7]), torch.tensor([3, 0, 6])
    together = posterior.q_posterior(schedule, x_0, x_t, t, s)
    alone = [posterior.q_posterior(schedule, x_0[[i]], x_t[[i]], t[i].item(), s[i].item()) for i in range(3)]
    assert_close(together, tuple(torch.cat(parts) for parts in zip(*alone, strict=True)))


@pytest.mark.parametrize("schedule", [SCHEDULE.zero_terminal_snr(), schedules.flow(20)], ids=repr)
def test_it_holds_where_nothing_of_the_picture_is_left(schedule):
    made = posterior.q_posterior(schedule, one(0.5), one(2.0), 20)
    assert_close(made, forward.q_marginal(schedule, one(0.5), 19))  # x_T holds no data, so only x_0 counts


def test_the_noise_says_nothing_where_nothing_of_the_picture_is_left():
    with pytest.raises(ValueError, match="ᾱ_t = 0"):
        posterior.mean_from_eps(SCHEDULE.zero_terminal_snr(), one(2.0), one(0.1), 20)


@every_schedule
@pytest.mark.parametrize(("t", "t_prev"), [(0, None), (21, None), (5, 5), (5, 6), (5, -1), (math.nan, None)])
def test_levels_out_of_order_are_errors(schedule, t, t_prev):
    with pytest.raises(ValueError, match=r"t must lie in|expected noise levels s < t"):
        posterior.q_posterior(schedule, one(0.0), one(0.0), t, t_prev)


def test_only_a_flow_steps_back_to_between_clean_data_and_the_first_level():
    with pytest.raises(ValueError, match="no level between"):
        posterior.q_posterior(SCHEDULE, one(0.0), one(0.0), 1, 0.5)
    mean, variance = posterior.q_posterior(schedules.flow(20), one(0.0), one(0.0), 1, 0.5)
    assert mean == 0
    assert variance > 0


def test_shapes_must_agree():
    with pytest.raises((ValueError, TypeError)):
        posterior.q_posterior(SCHEDULE, torch.zeros(2, 3), torch.zeros(2, 4), 5)
    with pytest.raises((ValueError, TypeError)):
        posterior.mean_from_eps(SCHEDULE, torch.zeros(2, 3), torch.zeros(2, 4), 5)
