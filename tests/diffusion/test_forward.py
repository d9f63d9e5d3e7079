import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import forward, schedules

X = torch.tensor([[0.3, -1.2], [2.0, 0.0]], dtype=torch.float64)
EVERY = [
    schedules.linear(20, 0.1, 0.3),
    schedules.flow(20),
    schedules.flow(20, shift=3),
    schedules.variance_exploding(20, 0.1, 9.0),
]
every_schedule = pytest.mark.parametrize("schedule", EVERY, ids=repr)
every = st.sampled_from(EVERY)


def chain(schedule, x, levels):
    """Mean and variance after single steps: each step multiplies the variance by α and adds β."""
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
    made = []
    for t in range(1, schedule.T + 1):
        step_mean, added = forward.q_step(schedule, mean, t)
        mean, variance = step_mean, schedule.alphas[t] * variance + added
        made.append((mean, variance[:1]))
    at_once = forward.q_marginal(schedule, X.expand(schedule.T, 2, 2), torch.arange(1, schedule.T + 1))
    assert_close(tuple(torch.stack(parts) for parts in zip(*made, strict=True)), at_once, rtol=1e-10, atol=1e-12)


@given(st.integers(0, 19), st.integers(1, 20))
def test_a_transition_is_its_steps(s, t):
    schedule = schedules.linear(20, 0.1, 0.3)
    if s < t:
        assert_close(chain(schedule, X, range(s + 1, t + 1)), forward.q_transition(schedule, X, s, t))
    else:
        with pytest.raises(ValueError, match="expected noise levels s < t"):
            forward.q_transition(schedule, X, s, t)


@every_schedule
def test_transitions_one_after_another_give_the_marginal_on_every_schedule(schedule):
    """A transition is linear in x, so two points determine its factor, and the marginal follows without the formula."""
    mean, variance = X, torch.zeros(2, 1, dtype=torch.float64)
    for t in range(1, schedule.T + 1):
        after, added = forward.q_transition(schedule, mean, t - 1, t)
        kept = (forward.q_transition(schedule, mean + 1, t - 1, t)[0] - after)[:, :1]
        mean, variance = after, kept**2 * variance + added
        assert_close((mean, variance), forward.q_marginal(schedule, X, t), rtol=1e-10, atol=1e-12)


@given(schedule=every, levels=st.sets(st.integers(8, 160), min_size=3, max_size=3))
def test_a_transition_by_way_of_a_level_in_between_is_the_transition(schedule, levels):
    s, between, t = (level / 8 for level in sorted(levels))
    half, added = forward.q_transition(schedule, X, s, between)
    mean, variance = forward.q_transition(schedule, half, between, t)
    kept = forward.q_transition(schedule, half + 1, between, t)[0] - mean
    expected = forward.q_transition(schedule, X, s, t)
    assert_close((mean, kept[:, :1] ** 2 * added + variance), expected, rtol=1e-9, atol=1e-11)


def test_transition_from_clean_data_is_the_marginal():
    for schedule in (schedules.cosine(100), schedules.flow(100)):
        t = torch.tensor([3, 100])
        assert_close(forward.q_transition(schedule, X, 0, t), forward.q_marginal(schedule, X, t))


def test_between_neighbouring_levels_what_is_kept_is_the_root_of_alpha_and_what_is_added_is_beta():
    schedule = schedules.scaled_linear()
    like, t = torch.zeros(1000, 1, dtype=torch.bfloat16), torch.arange(1, 1001)
    r, beta = forward.step_between(schedule.at(t - 1, like), schedule.at(t, like))
    assert_close(r.flatten(), schedule.alphas[1:].sqrt(), rtol=1e-12, atol=0)
    assert_close(beta.flatten(), schedule.betas[1:], rtol=1e-11, atol=0)


@every_schedule
def test_q_sample_has_the_mean_and_variance_of_the_marginal(schedule, generator):
    n = 200_000
    x_0 = torch.full((n, 1), 0.7, dtype=torch.float64)
    for t in (1, 6, 20):
        x_t = forward.q_sample(schedule, x_0, t, torch.randn(n, 1, generator=generator, dtype=torch.float64))
        mean, variance = (value[0].item() for value in forward.q_marginal(schedule, x_0[:1], t))
        assert abs(x_t.mean().item() - mean) < 5 * (variance / n) ** 0.5
        assert abs(x_t.var().item() - variance) < 5 * variance * (2 / n) ** 0.5


@every_schedule
def test_at_level_0_nothing_happens(schedule):
    mean, variance = forward.q_marginal(schedule, X, 0)
    assert_close(mean, X, rtol=0, atol=0)
    assert not variance.any()


@every_schedule
def test_each_item_has_its_own_level(schedule, generator):
    t = torch.tensor([5, 19])
    eps = torch.randn(X.shape, generator=generator, dtype=torch.float64)
    together = forward.q_sample(schedule, X, t, eps)
    alone = torch.cat([forward.q_sample(schedule, X[i : i + 1], t[i].item(), eps[i : i + 1]) for i in range(2)])
    assert_close(together, alone, rtol=0, atol=0)


def test_float32_data_meet_coefficients_rounded_once():
    """1 - ᾱ_1 = 1e-4 keeps all its digits. Subtracted in float32, it would lose four of seven."""
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


@pytest.mark.parametrize(
    ("schedule", "s", "t"),
    [
        (schedules.from_betas([0.5, 1.0, 0.5]), 2, 3),  # the signal is 0 at t = 2
        (schedules.flow(20), 20, 20),
        (schedules.flow(20), 7.5, 7.5),
        (schedules.flow(20), 8, 7),
        (schedules.variance_exploding(20), 8, 7),
        (schedules.flow(20), torch.tensor([3, 9]), torch.tensor([5, 4])),
    ],
)
def test_no_step_leads_down_or_up_from_nothing(schedule, s, t):
    with pytest.raises(ValueError, match="expected noise levels s < t with signal_s > 0"):
        forward.q_transition(schedule, X, s, t)


def test_one_step_of_ddpm_needs_its_beta():
    with pytest.raises((AttributeError, TypeError)):
        forward.q_step(schedules.flow(20), X, 3)
