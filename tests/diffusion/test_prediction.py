import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import forward, gaussians, prediction, schedules
from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.nets import Condition

SCHEDULE = schedules.cosine(100)
EVERY = [SCHEDULE, schedules.flow(100), schedules.flow(100, shift=3), schedules.variance_exploding(100, 0.01, 50.0)]
every_schedule = pytest.mark.parametrize("schedule", EVERY, ids=repr)
every = st.sampled_from(EVERY)
EMPTY = [SCHEDULE.zero_terminal_snr(), schedules.flow(100)]  # the signal is 0 at their last level
x = st.floats(-3, 3)
t = st.integers(1, 100)


def one(value):
    return torch.tensor([[value]], dtype=torch.float64)


@given(schedule=every, x_0=x, eps=x, t=t)
def test_each_parameterisation_tells_both_ends(schedule, x_0, eps, t):
    x_0, eps = one(x_0), one(eps)
    x_t = forward.q_sample(schedule, x_0, t, eps)
    values = {"eps": eps, "x_0": x_0, "v": prediction.v(schedule, x_0, eps, t), "u": prediction.u(x_0, eps)}
    if schedule.signal[t] == 0:
        del values["eps"]
    for kind, value in values.items():
        assert_close(prediction.FROM[kind](schedule, x_t, value, t), Prediction(x_0, eps), rtol=1e-7, atol=1e-7)


@given(schedule=every, x_t=x, value=x, t=t)
def test_whatever_was_predicted_x_t_lies_between_both_ends(schedule, x_t, value, t):
    for kind, convert in prediction.FROM.items():
        if kind != "eps" or schedule.signal[t] > 0:
            both = convert(schedule, one(x_t), one(value), t)
            assert_close(both.at(schedule.at(t, like=one(x_t))), one(x_t), rtol=1e-9, atol=1e-9)


@given(x, x, t)
def test_v_and_x_t_are_a_rotation_of_eps_and_x_0(x_0, eps, t):
    x_t = forward.q_sample(SCHEDULE, one(x_0), t, one(eps))
    v = prediction.v(SCHEDULE, one(x_0), one(eps), t)
    angle = math.acos(SCHEDULE.alphas_cumprod[t].sqrt())
    turned = complex(x_0, eps) * complex(math.cos(angle), -math.sin(angle))
    assert_close((x_t.item(), v.item()), (turned.real, turned.imag), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", EMPTY, ids=repr)
def test_v_at_the_ends_is_eps_and_minus_x_0(schedule):
    assert_close(prediction.v(schedule, one(0.3), one(0.9), 0), one(0.9))
    assert_close(prediction.v(schedule, one(0.3), one(0.9), 100), one(-0.3))


@given(x_0=x, eps=x, t=st.floats(1, 99))
def test_on_a_flow_u_is_how_fast_x_moves_as_its_noise_grows(x_0, eps, t):
    """A finite difference in the noise τ is exact: x moves on a straight line, with any shift."""
    for schedule in (schedules.flow(100), schedules.flow(100, shift=3)):
        x_before, x_after = (forward.q_sample(schedule, one(x_0), t + step, one(eps)) for step in (-0.5, 0.5))
        before, after = (schedule.at(t + step, like=one(x_0)).noise for step in (-0.5, 0.5))
        velocity = (x_after - x_before) / (after - before)
        assert_close(velocity, prediction.u(one(x_0), one(eps)), rtol=1e-9, atol=1e-9)


@every_schedule
def test_score_is_the_gradient_of_the_log_density(schedule):
    x_0, x_t = one(0.4), one(1.1).requires_grad_()
    for t in (1, 30, 99.5, 100):
        mean, variance = forward.q_marginal(schedule, x_0, t)
        (gradient,) = torch.autograd.grad(gaussians.log_density(x_t, mean, variance).sum(), x_t)
        eps = prediction.from_x_0(schedule, x_t.detach(), x_0, t).eps
        assert_close(prediction.score(schedule, eps, t), gradient)


@every_schedule
@pytest.mark.parametrize("prediction_type", prediction.FROM)
def test_a_model_that_is_right_becomes_a_denoiser_that_is_right(schedule, prediction_type):
    x_0, eps = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    t = torch.tensor([1, 50, 99])
    right = prediction.target(prediction_type, schedule, x_0, eps, t)
    denoise = prediction.as_denoiser(lambda x_t, t: right, schedule, prediction_type)
    assert denoise.schedule is schedule
    assert_close(denoise(forward.q_sample(schedule, x_0, t, eps), t), Prediction(x_0, eps))


def test_the_network_is_told_its_own_count_of_levels_and_the_condition():
    told = []

    def model(x_t, t, *condition):
        told.append((t.tolist(), condition))
        return x_t

    denoise = prediction.as_denoiser(model, SCHEDULE, "v", time_offset=-1)
    condition = Condition(labels=torch.tensor([3, 4]))
    denoise(torch.zeros(2, 1), 100)
    denoise(torch.zeros(2, 1), torch.tensor([1, 7]), condition)
    assert told == [([99, 99], ()), ([0, 6], (condition,))]


def test_a_denoiser_passes_a_condition_on_only_where_there_is_one():
    told = []

    def predict(*arguments):
        told.append(len(arguments))
        return Prediction(arguments[0], arguments[0])

    for denoise in (Denoiser(SCHEDULE, predict), prediction.clip_x_0(Denoiser(SCHEDULE, predict))):
        denoise(one(0.1), 3)
        denoise(one(0.1), 3, None)
        denoise(one(0.1), 3, Condition())
    assert told == [2, 2, 3, 2, 2, 3]


def test_a_denoiser_that_takes_no_condition_refuses_one():
    """If the condition were ignored, a forgotten argument would go unnoticed."""
    plain = Denoiser(SCHEDULE, lambda x_t, t: Prediction(x_t, x_t))
    network = prediction.as_denoiser(lambda x_t, t: x_t, SCHEDULE, "v")
    for denoise in (plain, network, prediction.clip_x_0(plain)):
        assert denoise.schedule is SCHEDULE
        with pytest.raises(TypeError, match="positional arguments"):
            denoise(one(0.1), 3, Condition(labels=torch.tensor([3])))


@given(schedule=every, x_0=x, eps=x, s=st.integers(0, 100))
def test_both_ends_tell_x_at_every_level(schedule, x_0, eps, s):
    made = Prediction(one(x_0), one(eps)).at(schedule.at(s, like=one(x_0)))
    assert_close(made, forward.q_sample(schedule, one(x_0), s, one(eps)))


@every_schedule
def test_clipping_holds_x_0_and_keeps_x_t_on_the_line(schedule):
    x_t = torch.tensor([[30.0, -0.2, -50.0]], dtype=torch.float64)
    denoise = prediction.as_denoiser(lambda x_t, t: torch.zeros_like(x_t), schedule, "eps")
    clipped = prediction.clip_x_0(denoise)
    x_0, eps = clipped(x_t, 40)
    assert clipped.schedule is schedule
    assert_close(x_0, (x_t / schedule.signal[40]).clamp(-1, 1))
    assert_close(forward.q_sample(schedule, x_0, 40, eps), x_t)
    assert prediction.clip_x_0(denoise, -4, 0.5)(x_t, 40).x_0.tolist()[0][::2] == [0.5, -4]
    with pytest.raises(ValueError, match="low must be below high"):
        prediction.clip_x_0(denoise, 1, -1)


@every_schedule
@pytest.mark.parametrize("convert", prediction.FROM.values())
def test_there_is_nothing_to_predict_at_clean_data(schedule, convert):
    with pytest.raises(ValueError, match="1…100"):
        convert(schedule, one(0.0), one(0.0), 0)


@pytest.mark.parametrize("schedule", EMPTY, ids=repr)
def test_eps_says_nothing_where_nothing_is_left_and_all_else_does(schedule):
    with pytest.raises(ValueError, match=r"where the signal is 0 \(t = 100\).*predict v, u or x_0"):
        prediction.from_eps(schedule, one(0.5), one(0.5), 100)
    ends = Prediction(one(0.3), one(0.5))  # x_T is ε itself
    assert_close(prediction.from_v(schedule, one(0.5), one(-0.3), 100), ends)
    assert_close(prediction.from_u(schedule, one(0.5), one(0.2), 100), ends)
    assert_close(prediction.from_x_0(schedule, one(0.5), one(0.3), 100), ends)


def test_unknown_types_and_shapes_are_errors():
    with pytest.raises(ValueError, match="unknown prediction type 'noise': choose one of eps, x_0, v, u"):
        prediction.as_denoiser(lambda x, t: x, SCHEDULE, "noise")
    with pytest.raises(ValueError, match="unknown prediction type"):
        prediction.target("noise", SCHEDULE, one(0.0), one(0.0), 1)
    for convert in prediction.FROM.values():
        with pytest.raises((ValueError, TypeError)):
            convert(SCHEDULE, torch.zeros(2, 3), torch.zeros(2, 1), 5)
