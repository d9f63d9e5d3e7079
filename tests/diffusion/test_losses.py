import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import gaussians, losses, oracles, prediction, schedules
from minidiff.diffusion.prediction import Denoiser

f64 = torch.float64
SCHEDULE = schedules.linear(20, 0.02, 0.5)
WITHOUT_BETA = [schedules.flow(20), schedules.flow(20, shift=3), schedules.variance_exploding(20, 0.05, 9.0)]


def one(value):
    return torch.tensor([[value]], dtype=f64)


@pytest.mark.parametrize(
    ("kind", "each"),
    [("mse", lambda d: d * d), ("l1", abs), ("huber", lambda d: d * d / 2 if abs(d) <= 1 else abs(d) - 0.5)],
)
def test_simple_is_the_mean_of_its_kind(kind, each, generator):
    pred, target = 2 * torch.randn(2, 4, 3, generator=generator, dtype=f64)
    expected = sum(each(d) for d in (pred - target).flatten().tolist()) / 12
    assert_close(losses.simple(pred, target, kind).item(), expected)


def test_weights_multiply_each_item(generator):
    pred, target = torch.randn(2, 3, 5, generator=generator, dtype=f64)
    weight = torch.tensor([0.0, 1.0, 4.0], dtype=f64)
    expected = (F.mse_loss(pred[1], target[1]) + 4 * F.mse_loss(pred[2], target[2])) / 3
    assert_close(losses.simple(pred, target, weight=weight), expected)
    one_number_each = losses.simple(pred[:, 0], target[:, 0], weight=weight)
    assert_close(one_number_each, (weight * (pred - target)[:, 0] ** 2).mean())


@given(schedule=st.sampled_from([SCHEDULE, *WITHOUT_BETA]), t=st.integers(1, 20), gamma=st.floats(0.1, 20))
def test_min_snr_weights_are_one_loss_in_four_dresses(schedule, t, gamma):
    """An error of x_0, expressed as an error of ε, v or u, has the same loss: min(SNR, γ) times its square."""
    x_0, eps, error = one(0.3), one(-0.8), one(0.01)
    x_t = schedule.signal[t] * x_0 + schedule.noise[t] * eps
    wrong_x_0, wrong_eps = prediction.from_x_0(schedule, x_t, x_0 + error, t)
    expected = min(schedule.snr[t].item(), gamma) * 0.01**2
    for kind in prediction.FROM:
        right = prediction.target(kind, schedule, x_0, eps, t)
        square = (prediction.target(kind, schedule, wrong_x_0, wrong_eps, t) - right).square().item()
        made = losses.min_snr_weight(schedule, t, kind, gamma).item() * square
        assert math.isclose(made, expected, rel_tol=1e-7, abs_tol=1e-18)


@pytest.mark.parametrize("schedule", [SCHEDULE.zero_terminal_snr(), schedules.flow(20)], ids=repr)
def test_weights_are_shaped_like_t_and_finite_at_the_end(schedule):
    assert losses.min_snr_weight(schedule, torch.tensor([1, 20]), "v").shape == (2,)
    assert losses.min_snr_weight(schedule, 20, "eps").item() == 1
    assert [losses.min_snr_weight(schedule, 20, kind).item() for kind in ("x_0", "v", "u")] == [0, 0, 0]


@pytest.mark.parametrize("t", [2, 9, 20])
def test_vlb_weight_turns_an_error_of_eps_into_nats(t, generator):
    x_0, error = one(0.4), 0.05
    right = Denoiser(SCHEDULE, lambda x_t, t: prediction.from_x_0(SCHEDULE, x_t, x_0, t))
    wrong = Denoiser(SCHEDULE, lambda x_t, t: prediction.from_eps(SCHEDULE, x_t, right(x_t, t).eps + error, t))
    choices = {"variance": "beta", "decoder": "gaussian"}
    much, none = (losses.vlb_terms(SCHEDULE, x_0, denoise, generator, **choices)[0, t] for denoise in (wrong, right))
    assert_close((much - none).item(), losses.vlb_weight(SCHEDULE, t).item() * error**2, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("decoder", ["gaussian", "discrete"])
def test_the_bound_of_the_exact_model_is_tight_for_small_steps(decoder, generator):
    """For x_0 ~ N(0, c) the mean bound of the exact denoiser is above the entropy, and close to it with many steps."""
    n, c, T = 3000, 0.05, 200
    schedule = schedules.linear(T, 0.1 / T, 20 / T)
    x_0 = (c**0.5 * torch.randn(n, 1, generator=generator, dtype=f64)).clamp(-1, 1)
    if decoder == "discrete":
        x_0 = ((x_0 + 1) * 127.5).round() / 127.5 - 1
    denoise = oracles.gaussian(schedule, torch.zeros(1, dtype=f64), torch.full((1,), c, dtype=f64))
    bound = losses.vlb_terms(schedule, x_0, denoise, generator, variance="beta", decoder=decoder).sum(1)
    truth = gaussians.entropy(c).item() + (math.log(127.5) if decoder == "discrete" else 0)
    gap, error = bound.mean().item() - truth, (bound.std() / n**0.5).item()
    assert -5 * error < gap < 0.06 + 5 * error


def test_terms_are_a_prior_a_decoder_and_kls(generator):
    x_0 = torch.rand(3, 1, 2, 2, generator=generator, dtype=f64) - 0.5
    right = Denoiser(SCHEDULE, lambda x_t, t: prediction.from_x_0(SCHEDULE, x_t, x_0, t))
    terms = losses.vlb_terms(SCHEDULE, x_0, right, generator, variance="posterior", decoder="discrete")
    assert terms.shape == (3, 21)
    abar = SCHEDULE.alphas_cumprod[-1]
    assert_close(terms[:, 0], gaussians.kl(abar.sqrt() * x_0, 1 - abar, 0, 1).sum((1, 2, 3)))
    assert_close(
        terms[:, 1:], torch.zeros(3, 20, dtype=f64)
    )  # the denoiser returns x_0, and β̃_1 = 0 puts the decoder in its grey value
    terms[:] = 1.0
    assert_close(losses.bits_per_dimension(terms, x_0), torch.full((3,), 21 / (4 * math.log(2)), dtype=f64))


def test_a_gaussian_decoder_without_variance_is_infinite(generator):
    denoise = oracles.gaussian(SCHEDULE, torch.zeros(1, dtype=f64), torch.ones(1, dtype=f64))
    terms = losses.vlb_terms(SCHEDULE, one(0.3), denoise, generator, variance="posterior", decoder="gaussian")
    assert terms[0, 1] == math.inf
    assert terms[0, 2:].isfinite().all()
    assert losses.gaussian_decoder(one(0.3), one(0.3), one(0.0)) == -math.inf


@pytest.mark.parametrize("other", [schedules.linear(20, 0.02, 0.4), *WITHOUT_BETA], ids=repr)
def test_the_bound_is_that_of_the_denoiser_s_own_schedule(other, generator):
    """Terms of one schedule at samples of another schedule are not a bound."""
    choices = {"variance": "beta", "decoder": "gaussian"}
    zero, single = torch.zeros(1, dtype=f64), torch.ones(1, dtype=f64)
    with pytest.raises(ValueError, match="different schedules"):
        losses.vlb_terms(SCHEDULE, one(0.1), oracles.gaussian(other, zero, single), generator, **choices)
    same = oracles.gaussian(schedules.linear(20, 0.02, 0.5), zero, single)
    assert losses.vlb_terms(SCHEDULE, one(0.1), same, generator, **choices).isfinite().all()


@given(st.floats(-1.5, 1.5), st.floats(1e-3, 1.0))
def test_the_discrete_decoder_is_a_law_over_256_grey_levels(mean, sigma):
    grey = torch.linspace(-1, 1, 256, dtype=f64)[:, None]
    nll = losses.discrete_decoder(grey, torch.full_like(grey, mean), torch.full_like(grey, sigma**2))
    assert math.isclose((-nll).exp().sum(), 1, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("x_0", "mean", "sigma"),
    [(51 / 255, 0.19, 0.02), (-1.0, 0.9, 0.1), (1.0, -0.8, 0.05), (3 / 255, 0.9, 0.02), (-51 / 255, -0.9, 0.02)],
)
def test_the_discrete_decoder_is_exact_in_the_tails(x_0, mean, sigma):
    mpmath.mp.dps = 400
    low = mpmath.mpf("-inf") if x_0 == -1 else (mpmath.mpf(x_0) - mpmath.mpf(1) / 255 - mean) / sigma
    high = mpmath.mpf("inf") if x_0 == 1 else (mpmath.mpf(x_0) + mpmath.mpf(1) / 255 - mean) / sigma
    expected = -mpmath.log(mpmath.ncdf(high) - mpmath.ncdf(low))
    assert_close(
        losses.discrete_decoder(one(x_0), one(mean), one(sigma**2)).item(), float(expected), rtol=1e-8, atol=1e-10
    )


EXACT = oracles.gaussian(SCHEDULE, torch.zeros(1, dtype=f64), torch.ones(1, dtype=f64))


@pytest.mark.parametrize(
    "call",
    [
        lambda g: losses.simple(torch.zeros(2, 3), torch.zeros(2, 3), "l3"),
        lambda g: losses.simple(torch.zeros(2, 3), torch.zeros(2, 1)),
        lambda g: losses.simple(torch.zeros(2, 3), torch.zeros(2, 3), weight=torch.zeros(3)),
        lambda g: losses.min_snr_weight(SCHEDULE, 0, "eps"),
        lambda g: losses.min_snr_weight(SCHEDULE, 1, "noise"),
        lambda g: losses.min_snr_weight(SCHEDULE, 1, "eps", gamma=0),
        lambda g: losses.vlb_weight(SCHEDULE, 21),
        lambda g: losses.vlb_weight(SCHEDULE.zero_terminal_snr(), 20),
        lambda g: losses.vlb_terms(SCHEDULE, one(0.1), EXACT, g, variance="small", decoder="gaussian"),
        lambda g: losses.vlb_terms(SCHEDULE, one(0.1), EXACT, g, variance="beta", decoder="cauchy"),
        lambda g: losses.vlb_terms(SCHEDULE, one(0.1), EXACT.predict, g, variance="beta", decoder="gaussian"),
        lambda g: losses.discrete_decoder(one(1.1), one(0.0), one(1.0)),
    ],
)  # fmt: skip
def test_bad_input_is_an_error(call, generator):
    with pytest.raises((ValueError, TypeError)):
        call(generator)
