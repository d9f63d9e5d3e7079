import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import forward, schedules

X = torch.tensor([[0.3, -1.2], [2.0, 0.0]], dtype=torch.float64)


def chain(schedule, x, levels):
    """Mean and variance of single steps taken one after another: α carries the variance over, β adds to it."""
    mean, variance = x, torch.zeros(len(x), 1, dtype=x.dtype)
    for t in levels:
        step_mean, added = forward.q_step(schedule, mean, t)
        variance = schedule.alphas[t] * variance + added
        mean = step_mean
    return mean, variance


@pytest.mark.parametrize(
    "schedule", [schedules.linear(), schedules.cosine(50), schedules.linear(20, 0.1, 0.3)], ids=lambda s: s.T
)
def test_all_steps_one_by_one_give_the_closed_form(schedule):
    mean, variance = X, torch.zeros(2, 1, dtype=torch.float64)
    for t in range(1, schedule.T + 1):
        step_mean, added = forward.q_step(schedule, mean, t)
        mean, variance = step_mean, schedule.alphas[t] * variance + added
        assert_close((mean, variance), forward.q_marginal(schedule, X, t), rtol=1e-10, atol=1e-12)


@given(st.integers(0, 19), st.integers(1, 20))
def test_a_transition_is_its_steps(s, t):
    schedule = schedules.linear(20, 0.1, 0.3)
    if s < t:
        assert_close(chain(schedule, X, range(s + 1, t + 1)), forward.q_transition(schedule, X, s, t))
    else:
        with pytest.raises(ValueError, match="below"):
            forward.q_transition(schedule, X, s, t)


def test_transition_from_clean_data_is_the_marginal():
    schedule = schedules.cosine(100)
    t = torch.tensor([3, 100])
    assert_close(forward.q_transition(schedule, X, 0, t), forward.q_marginal(schedule, X, t))


def test_q_sample_has_the_mean_and_variance_of_the_marginal(generator):
    schedule, n = schedules.linear(), 200_000
    x_0 = torch.full((n, 1), 0.7, dtype=torch.float64)
    for t in (1, 300, 1000):
        x_t = forward.q_sample(schedule, x_0, t, torch.randn(n, 1, generator=generator, dtype=torch.float64))
        mean, variance = (value[0].item() for value in forward.q_marginal(schedule, x_0[:1], t))
        assert abs(x_t.mean().item() - mean) < 5 * (variance / n) ** 0.5
        assert abs(x_t.var().item() - variance) < 5 * variance * (2 / n) ** 0.5


def test_at_level_0_nothing_happens():
    mean, variance = forward.q_marginal(schedules.linear(), X, 0)
    assert_close(mean, X, rtol=0, atol=0)
    assert not variance.any()


def test_each_item_has_its_own_level(generator):
    schedule, t = schedules.linear(), torch.tensor([5, 900])
    eps = torch.randn(X.shape, generator=generator, dtype=torch.float64)
    together = forward.q_sample(schedule, X, t, eps)
    alone = torch.cat([forward.q_sample(schedule, X[i : i + 1], t[i].item(), eps[i : i + 1]) for i in range(2)])
    assert_close(together, alone, rtol=0, atol=0)


def test_float32_data_meet_coefficients_rounded_once():
    """1 - ᾱ_1 = 1e-4 keeps all its digits: subtracted in float32 it would lose four of seven."""
    mean, variance = forward.q_marginal(schedules.linear(), X.float(), 1)
    assert mean.dtype == variance.dtype == torch.float32
    assert variance.shape == (2, 1)
    assert math.isclose(variance[0].item(), 1e-4, rel_tol=1e-7)


@pytest.mark.parametrize("t", [0, -1, 21, 1.5, math.nan])
def test_a_step_goes_from_an_integer_to_the_next(t):
    with pytest.raises(ValueError, match=r"t"):
        forward.q_step(schedules.linear(20, 0.1, 0.3), X, t)


def test_shapes_that_do_not_fit_are_errors():
    with pytest.raises((ValueError, TypeError)):
        forward.q_sample(schedules.linear(), X, 3, torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises((ValueError, TypeError)):
        forward.q_marginal(schedules.linear(), X, torch.tensor([1, 2, 3]))


def test_nothing_can_be_carried_on_from_nothing():
    with pytest.raises(ValueError, match="nothing is left"):
        forward.q_transition(schedules.from_betas([0.5, 1.0, 0.5]), X, 2, 3)
