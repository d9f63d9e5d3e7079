import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import schedules

EVERY = [schedules.linear, schedules.scaled_linear, schedules.cosine, schedules.sigmoid]
betas = st.lists(st.floats(1e-6, 0.999), min_size=1, max_size=30)


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("T", [2, 10, 1000])
def test_every_schedule_starts_clean_and_only_loses(make, T):
    schedule = make(T)
    assert schedule.T == T
    assert schedule.betas.shape == schedule.alphas.shape == schedule.alphas_cumprod.shape == (T + 1,)
    assert schedule.betas.dtype == torch.float64
    assert schedule.betas[0] == 0
    assert schedule.alphas_cumprod[0] == 1
    assert (schedule.alphas_cumprod.diff() < 0).all()


@given(betas)
def test_alphas_cumprod_is_the_product_and_beta_sits_at_its_own_index(betas):
    schedule = schedules.from_betas(betas)
    for t in range(1, len(betas) + 1):
        assert schedule.betas[t] == betas[t - 1]
        assert math.isclose(schedule.alphas_cumprod[t], math.prod(1 - beta for beta in betas[:t]), rel_tol=1e-12)


def test_published_values():
    """DDPM's last ᾱ is 4.04e-5 (its appendix B: a prior of about 1e-5 bits); Stable Diffusion's is 0.00466; both are widely quoted."""
    assert_close(schedules.linear().alphas_cumprod[-1].item(), 4.0358e-5, rtol=1e-4, atol=0)
    assert_close(schedules.scaled_linear().alphas_cumprod[-1].item(), 0.0046602, rtol=1e-4, atol=0)


def test_scaled_linear_is_even_in_the_root():
    root = schedules.scaled_linear().betas[1:].sqrt()
    assert_close(root.diff(), root.diff()[:1].expand(999))
    assert_close(root[[0, -1]] ** 2, torch.tensor([0.00085, 0.012], dtype=torch.float64))


def test_cosine_follows_the_cosine_until_the_cap_holds():
    T, s = 100, 0.008
    abar = [
        math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2 / math.cos(s / (1 + s) * math.pi / 2) ** 2
        for t in range(T + 1)
    ]
    schedule = schedules.cosine(T)
    assert_close(schedule.alphas_cumprod[:-1], torch.tensor(abar[:-1], dtype=torch.float64))
    assert schedule.betas[-1] == 0.999
    assert schedule.betas.max() == 0.999


def test_sigmoid_is_half_way_in_the_middle():
    assert_close(schedules.sigmoid(100).alphas_cumprod[50].item(), 0.5)
    assert schedules.sigmoid(100).betas[-1] == 0.999


@given(betas.filter(lambda betas: len(betas) > 1))
def test_zero_terminal_snr_keeps_the_first_level_and_empties_the_last(betas):
    before = schedules.from_betas(betas)
    after = before.zero_terminal_snr()
    assert after.alphas_cumprod[-1] == 0
    assert after.betas[-1] == 1
    assert_close(after.alphas_cumprod[:2], before.alphas_cumprod[:2])
    assert (after.alphas_cumprod.diff() < 0).all()
    old, new = before.alphas_cumprod[1:].sqrt(), after.alphas_cumprod[1:].sqrt()
    straight = (old - old[-1]) / (old[0] - old[-1])  # where between the last and the first each level lies
    assert_close(new / new[0], straight, atol=1e-9, rtol=1e-9)
    assert_close(after.alphas.cumprod(0), after.alphas_cumprod)
    assert_close(after.zero_terminal_snr().alphas_cumprod, after.alphas_cumprod)


def test_snr_is_infinite_at_clean_data():
    snr = schedules.linear().snr
    assert snr[0] == math.inf
    assert (snr.diff()[1:] < 0).all()
    assert schedules.linear().zero_terminal_snr().snr[-1] == 0


def test_at_gathers_for_each_item_and_broadcasts():
    schedule = schedules.linear()
    t = torch.tensor([0, 7, 1000])
    at = schedule.at(t, like=torch.zeros(3, 1, 4, 4))
    assert at.alpha_bar_t.shape == (3, 1, 1, 1)
    assert_close(at.alpha_bar_t.flatten(), schedule.alphas_cumprod[t])
    assert_close(at.beta_t.flatten(), schedule.betas[t])
    assert_close(schedule.at(7, like=torch.zeros(3, 2)).alpha_t, schedule.alphas[7].expand(3, 1))
    assert_close(schedule.at(t.double(), like=torch.zeros(3, 1, 4, 4)), at)  # whole floats are the same levels


@given(st.floats(1, 999.999))
def test_between_levels_log_snr_is_linear(t):
    schedule = schedules.linear()
    abar = schedule.at(t, like=torch.zeros(1, dtype=torch.float64)).alpha_bar_t.item()
    log_snr = math.log(abar / (1 - abar))
    low, high = schedule.snr[math.floor(t)].log().item(), schedule.snr[math.floor(t) + 1].log().item()
    assert math.isclose(log_snr, low + (t - math.floor(t)) * (high - low), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize(
    "t", [-1, 1001, math.nan, math.inf, -0.5, 1000.5, 0.5, torch.tensor([1, 2]), torch.tensor([[1], [2], [3]])]
)
def test_levels_outside_the_schedule_are_errors(t):
    with pytest.raises((ValueError, TypeError)):
        schedules.linear().at(t, like=torch.zeros(3, 2))


def test_no_level_between_something_and_nothing():
    with pytest.raises(ValueError, match="0 or infinite"):
        schedules.linear().zero_terminal_snr().at(999.5, like=torch.zeros(3, 2))


@pytest.mark.parametrize(
    "data", [torch.zeros(3, 2, dtype=torch.int64), torch.full((3, 2), math.nan), torch.tensor(1.0)]
)
def test_data_that_cannot_be_noised_is_an_error(data):
    with pytest.raises((ValueError, TypeError)):
        schedules.linear().at(1, like=data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.linear(0),
        lambda: schedules.linear(10, 0.0, 0.1),
        lambda: schedules.linear(10, -0.1, 0.1),
        lambda: schedules.linear(10, 0.1, 1.1),
        lambda: schedules.linear(10, math.nan, 0.1),
        lambda: schedules.scaled_linear(10, -0.1, 0.1),
        lambda: schedules.cosine(10, s=-1),
        lambda: schedules.cosine(10, beta_max=0),
        lambda: schedules.cosine(10, beta_max=math.nan),
        lambda: schedules.sigmoid(10, start=3, end=-3),
        lambda: schedules.sigmoid(10, tau=0),
        lambda: schedules.from_betas([]),
        lambda: schedules.from_betas(torch.full((2, 2), 0.1)),
        lambda: schedules.from_betas([0.1, math.nan]),
        lambda: schedules.from_betas([0.1, 0.0]),
        lambda: schedules.by_name("quadratic"),
        lambda: schedules.linear(1).zero_terminal_snr(),
    ],
)
def test_parameters_that_make_no_schedule_are_errors(make):
    with pytest.raises((ValueError, TypeError)):
        make()


def test_an_error_says_which_beta():
    with pytest.raises(ValueError, match=r"β_3 = 1\.5"):
        schedules.from_betas([0.1, 0.2, 1.5])


@pytest.mark.parametrize("schedule", [schedules.linear(), schedules.cosine(), schedules.linear().zero_terminal_snr()])
def test_a_level_is_found_by_its_noise(schedule):
    finite = schedule.karras_sigmas[schedule.karras_sigmas.isfinite()]
    for level in (1, 2.5, 300, 417.25, len(finite) - 1):
        alpha_bar_t = schedule.at(float(level), like=torch.zeros(1, dtype=torch.float64)).alpha_bar_t
        assert schedule.level(((1 - alpha_bar_t) / alpha_bar_t).sqrt().item()) == pytest.approx(level, abs=1e-6)
    for wrong in (0.0, finite[1].item() / 2, 2 * finite[-1].item(), math.inf, math.nan):
        with pytest.raises(ValueError, match="no level has this noise"):
            schedule.level(wrong)
