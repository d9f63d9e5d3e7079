import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import forward, gaussians, prediction, schedules

SCHEDULE = schedules.cosine(100)
x = st.floats(-3, 3)
t = st.integers(1, 100)


def one(value):
    return torch.tensor([[value]], dtype=torch.float64)


@given(x, x, t)
def test_each_parameterisation_tells_both_ends(x_0, eps, t):
    x_0, eps = one(x_0), one(eps)
    x_t = forward.q_sample(SCHEDULE, x_0, t, eps)
    v = prediction.v(SCHEDULE, x_0, eps, t)
    for convert, value in ((prediction.from_eps, eps), (prediction.from_x_0, x_0), (prediction.from_v, v)):
        assert_close(convert(SCHEDULE, x_t, value, t), prediction.Prediction(x_0, eps), rtol=1e-7, atol=1e-7)


@given(x, x, t)
def test_v_and_x_t_are_a_rotation_of_eps_and_x_0(x_0, eps, t):
    x_t = forward.q_sample(SCHEDULE, one(x_0), t, one(eps))
    v = prediction.v(SCHEDULE, one(x_0), one(eps), t)
    angle = math.acos(SCHEDULE.alphas_cumprod[t].sqrt())
    turned = complex(x_0, eps) * complex(math.cos(angle), -math.sin(angle))
    assert_close((x_t.item(), v.item()), (turned.real, turned.imag), rtol=1e-9, atol=1e-9)


def test_v_at_the_ends_is_eps_and_minus_x_0():
    schedule = SCHEDULE.zero_terminal_snr()
    assert_close(prediction.v(schedule, one(0.3), one(0.9), 0), one(0.9))
    assert_close(prediction.v(schedule, one(0.3), one(0.9), 100), one(-0.3))


def test_score_is_the_gradient_of_the_log_density():
    x_0, x_t = one(0.4), one(1.1).requires_grad_()
    for t in (1, 30, 100):
        mean, variance = forward.q_marginal(SCHEDULE, x_0, t)
        (gradient,) = torch.autograd.grad(gaussians.log_density(x_t, mean, variance).sum(), x_t)
        eps = prediction.from_x_0(SCHEDULE, x_t.detach(), x_0, t).eps
        assert_close(prediction.score(SCHEDULE, eps, t), gradient)


@pytest.mark.parametrize("prediction_type", ["eps", "x_0", "v"])
def test_a_model_that_is_right_becomes_a_denoiser_that_is_right(prediction_type):
    x_0, eps = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    t = torch.tensor([1, 50, 99])
    right = prediction.target(prediction_type, SCHEDULE, x_0, eps, t)
    denoise = prediction.as_denoiser(lambda x_t, t: right, SCHEDULE, prediction_type)
    assert_close(denoise(forward.q_sample(SCHEDULE, x_0, t, eps), t), prediction.Prediction(x_0, eps))


def test_the_network_is_told_its_own_count_of_levels_and_the_context():
    told = []

    def model(x_t, t, *context):
        told.append((t.tolist(), [part.tolist() for part in context]))
        return x_t

    denoise = prediction.as_denoiser(model, SCHEDULE, "v", time_offset=-1)
    denoise(torch.zeros(2, 1), 100)
    denoise(torch.zeros(2, 1), torch.tensor([1, 7]), torch.tensor([3.0]))
    assert told == [([99, 99], []), ([0, 6], [[3.0]])]


def test_clipping_holds_x_0_and_keeps_x_t_on_the_line():
    x_t = torch.tensor([[3.0, -0.2, -5.0]], dtype=torch.float64)
    denoise = prediction.as_denoiser(lambda x_t, t: torch.zeros_like(x_t), SCHEDULE, "eps")
    x_0, eps = prediction.clip_x_0(denoise, SCHEDULE)(x_t, 40)
    assert_close(x_0, (x_t / SCHEDULE.alphas_cumprod[40].sqrt()).clamp(-1, 1))
    assert_close(forward.q_sample(SCHEDULE, x_0, 40, eps), x_t)
    with pytest.raises(ValueError, match="low must be below high"):
        prediction.clip_x_0(denoise, SCHEDULE, 1, -1)


@pytest.mark.parametrize("convert", [prediction.from_eps, prediction.from_x_0, prediction.from_v])
def test_there_is_nothing_to_predict_at_clean_data(convert):
    with pytest.raises(ValueError, match="1…100"):
        convert(SCHEDULE, one(0.0), one(0.0), 0)


def test_eps_says_nothing_where_nothing_is_left():
    schedule = SCHEDULE.zero_terminal_snr()
    with pytest.raises(ValueError, match="predict v or x_0"):
        prediction.from_eps(schedule, one(0.5), one(0.5), 100)
    assert_close(prediction.from_v(schedule, one(0.5), one(-0.3), 100), prediction.Prediction(one(0.3), one(0.5)))
    assert_close(prediction.from_x_0(schedule, one(0.5), one(0.3), 100).eps, one(0.5))


def test_unknown_types_and_shapes_are_errors():
    with pytest.raises(ValueError, match="unknown prediction type 'noise'"):
        prediction.as_denoiser(lambda x, t: x, SCHEDULE, "noise")
    with pytest.raises(ValueError, match="unknown prediction type"):
        prediction.target("noise", SCHEDULE, one(0.0), one(0.0), 1)
    with pytest.raises((ValueError, TypeError)):
        prediction.from_eps(SCHEDULE, torch.zeros(2, 3), torch.zeros(2, 1), 5)
