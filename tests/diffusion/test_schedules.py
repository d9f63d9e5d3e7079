import math
from fractions import Fraction
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.diffusion import schedules

PRESERVING = [schedules.linear, schedules.scaled_linear, schedules.cosine, schedules.sigmoid]
EVERY = [*PRESERVING, schedules.flow, partial(schedules.flow, shift=3), schedules.variance_exploding]
betas = st.lists(st.floats(1e-6, 0.999), min_size=1, max_size=30)
X = torch.zeros(1, dtype=torch.float64)


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("T", [2, 10, 1000])
def test_every_schedule_starts_clean_and_only_loses(make, T):
    schedule = make(T)
    assert schedule.T == T
    for array in (schedule.signal, schedule.noise, schedule.snr, schedule.karras_sigmas):
        assert (array.shape, array.dtype, array.device.type) == ((T + 1,), torch.float64, "cpu")
    assert (schedule.signal[0], schedule.noise[0]) == (1, 0)
    assert (schedule.karras_sigmas.diff() > 0).all()


@pytest.mark.parametrize("make", PRESERVING)
@pytest.mark.parametrize("T", [1, 10, 1000])
def test_ddpm_s_schedules_keep_a_variance_of_1(make, T):
    schedule = make(T)
    assert_close(schedule.signal**2 + schedule.noise**2, torch.ones(T + 1, dtype=torch.float64), rtol=0, atol=1e-15)
    assert_close(schedule.signal**2, schedule.alphas_cumprod)
    assert schedule.betas.shape == schedule.alphas.shape == (T + 1,)
    assert schedule.betas[0] == 0
    assert schedule.prior_std(T) == schedule.prior_std(T / 2 + 0.5) == 1


@given(T=st.integers(1, 1000), shift=st.floats(1e-3, 1e3))
def test_a_flow_is_a_straight_line_with_exact_ends(T, shift):
    schedule = schedules.flow(T, shift)
    assert_close(schedule.signal + schedule.noise, torch.ones(T + 1, dtype=torch.float64), rtol=0, atol=1e-15)
    assert (schedule.signal[0], schedule.noise[0], schedule.signal[T], schedule.noise[T]) == (1, 0, 0, 1)
    assert (schedule.noise.diff() > 0).all()


@given(T=st.integers(2, 1000), shift=st.floats(1e-3, 1e3))
def test_a_shift_multiplies_the_ratio_of_noise_to_signal(T, shift):
    """A shift has the same effect as dividing the data by it."""
    shifted, plain = schedules.flow(T, shift), schedules.flow(T)
    assert_close(shifted.karras_sigmas[:-1], shift * plain.karras_sigmas[:-1], rtol=1e-12, atol=0)


def test_variance_exploding_takes_nothing_away_and_multiplies_the_noise():
    schedule = schedules.variance_exploding(100, 0.02, 80.0)
    assert (schedule.signal == 1).all()
    assert schedule.noise[0] == 0
    assert_close(schedule.noise[[1, 100]], torch.tensor([0.02, 80.0], dtype=torch.float64))
    assert_close(schedule.noise[2:] / schedule.noise[1:-1], torch.full((99,), 4000 ** (1 / 99), dtype=torch.float64))


@given(betas)
def test_alphas_cumprod_is_the_product_and_beta_sits_at_its_own_index(betas):
    schedule = schedules.from_betas(betas)
    for t in range(1, len(betas) + 1):
        assert schedule.betas[t] == betas[t - 1]
        assert math.isclose(schedule.alphas_cumprod[t], math.prod(1 - beta for beta in betas[:t]), rel_tol=1e-12)


def test_published_values():
    """The last ᾱ of DDPM is 4.04e-5 (its appendix B: a prior of about 1e-5 bits), that of Stable Diffusion 0.00466; both are widely quoted."""
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
    straight = (old - old[-1]) / (old[0] - old[-1])  # 0 at the last level, 1 at the first
    assert_close(new / new[0], straight, atol=1e-9, rtol=1e-9)
    assert_close(after.alphas.cumprod(0), after.alphas_cumprod)
    assert_close(after.zero_terminal_snr().alphas_cumprod, after.alphas_cumprod)


def test_snr_is_infinite_at_clean_data():
    snr = schedules.linear().snr
    assert snr[0] == math.inf
    assert (snr.diff()[1:] < 0).all()
    assert schedules.linear().zero_terminal_snr().snr[-1] == 0


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_at_gathers_for_each_item_and_broadcasts_in_float64(make, dtype):
    schedule, data = make(1000), torch.zeros(3, 1, 4, 4, dtype=dtype)
    t = torch.tensor([0, 7, 1000])
    at = schedule.at(t, like=data)
    for scale, array in ((at.signal, schedule.signal), (at.noise, schedule.noise)):
        assert (scale.shape, scale.dtype, scale.device.type) == ((3, 1, 1, 1), torch.float64, "cpu")
        assert torch.equal(scale.flatten(), array[t])
    for one in (7, torch.tensor(7), 7.0):
        assert_close(schedule.at(one, like=data[:, 0, 0]).noise, schedule.noise[7].expand(3, 1))
    assert_close(schedule.at(t.double(), like=data), at)  # floats that are integers give the same levels
    assert_close(schedule.at(t.float(), like=data), at)


@pytest.mark.parametrize("make", EVERY)
def test_at_asks_for_the_shape_of_the_data_and_never_reads_them(make):
    """Tensors on the meta device have no values, so a read would fail; without a read nothing waits for a GPU."""
    schedule, t = make(10), torch.tensor([1, 10])
    assert_close(
        schedule.at(t, like=torch.zeros(2, 3, device="meta")), schedule.at(t, like=torch.full((2, 3), math.nan))
    )


@given(st.floats(1, 999.999))
def test_between_levels_log_snr_is_linear(t):
    schedule = schedules.linear()
    signal, noise = (scale.item() for scale in schedule.at(t, like=X))
    low, high = schedule.snr[math.floor(t)].log().item(), schedule.snr[math.floor(t) + 1].log().item()
    expected = low + (t - math.floor(t)) * (high - low)
    assert math.isclose(2 * math.log(signal / noise), expected, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(signal**2 + noise**2, 1, rel_tol=1e-12)


@given(t=st.floats(0, 10), shift=st.floats(0.01, 100))
def test_a_flow_has_its_closed_form_at_every_real_level(t, shift):
    """Also below the first level and between the last two. The expected values are exact fractions."""
    u, s = Fraction(t) / 10, Fraction(shift)
    tau = s * u / (1 + (s - 1) * u)
    signal, noise = (scale.item() for scale in schedules.flow(10, shift).at(t, like=X))
    assert math.isclose(noise, tau, rel_tol=1e-13, abs_tol=1e-300)
    assert math.isclose(signal, 1 - tau, rel_tol=1e-13, abs_tol=1e-15)


@given(st.floats(1, 100))
def test_between_levels_of_variance_exploding_the_logarithm_of_the_noise_is_linear(t):
    schedule = schedules.variance_exploding(100, 0.02, 80.0)
    signal, noise = (scale.item() for scale in schedule.at(t, like=X))
    assert signal == 1
    assert math.isclose(noise, 0.02 * 4000 ** ((t - 1) / 99), rel_tol=1e-10)


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize(
    "t", [-1, 1001, math.nan, math.inf, -0.5, 1000.5, torch.tensor([1, 2]), torch.tensor([[1], [2], [3]]), "1"]
)
def test_levels_outside_the_schedule_are_errors(make, t):
    with pytest.raises((ValueError, TypeError)):
        make(1000).at(t, like=torch.zeros(3, 2))


def test_one_bad_level_among_good_ones_is_named():
    for bad in (math.nan, 1000.5):
        with pytest.raises(ValueError, match=rf"t must lie in 0…1000 here, got {bad}"):
            schedules.flow().at(torch.tensor([1.0, bad, 3.0], dtype=torch.float64), like=torch.zeros(3, 2))


@pytest.mark.parametrize("t", [torch.tensor([True, True, False]), torch.ones(3, dtype=torch.complex64)])
def test_a_level_is_a_real_number(t):
    with pytest.raises(TypeError):
        schedules.linear().at(t, like=torch.zeros(3, 2))


@pytest.mark.parametrize("make", [*PRESERVING, schedules.variance_exploding])
def test_only_a_flow_has_levels_between_clean_data_and_the_first(make):
    with pytest.raises(ValueError, match="0 or infinite"):
        make(1000).at(0.5, like=torch.zeros(3, 2))


def test_no_level_between_something_and_nothing():
    with pytest.raises(ValueError, match="0 or infinite"):
        schedules.linear().zero_terminal_snr().at(999.5, like=torch.zeros(3, 2))


@pytest.mark.parametrize(
    "data", [torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.bool), torch.tensor(1.0)]
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
        lambda: schedules.flow(0),
        lambda: schedules.flow(10.0),
        lambda: schedules.flow(True),
        lambda: schedules.flow(10, 0),
        lambda: schedules.flow(10, -3),
        lambda: schedules.flow(10, math.nan),
        lambda: schedules.flow(10, math.inf),
        lambda: schedules.variance_exploding(1),
        lambda: schedules.variance_exploding(10, 0, 1),
        lambda: schedules.variance_exploding(10, 2, 1),
        lambda: schedules.variance_exploding(10, 0.1, math.inf),
        lambda: schedules.variance_exploding(10, math.nan, 1),
    ],
)
def test_parameters_that_make_no_schedule_are_errors(make):
    with pytest.raises((ValueError, TypeError)):
        make()


def test_an_error_says_which_beta():
    with pytest.raises(ValueError, match=r"β_3 = 1\.5"):
        schedules.from_betas([0.1, 0.2, 1.5])


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.linear(),
        schedules.cosine(),
        schedules.linear().zero_terminal_snr(),
        schedules.flow(),
        schedules.flow(shift=3),
        schedules.variance_exploding(),
    ],
    ids=repr,
)
def test_a_level_is_found_by_its_noise(schedule):
    finite = schedule.karras_sigmas[schedule.karras_sigmas.isfinite()]
    for level in (1, 2.5, 300, 417.25, len(finite) - 1):
        signal, noise = schedule.at(float(level), like=X)
        assert schedule.level((noise / signal).item()) == pytest.approx(level, abs=1e-6)
    for wrong in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="no level has"):
            schedule.level(wrong)


@pytest.mark.parametrize("make", [*PRESERVING, schedules.variance_exploding])
def test_noise_below_the_first_level_or_above_the_last_has_no_level(make):
    sigmas = make(1000).karras_sigmas
    for wrong in (0.0, sigmas[1].item() / 2, 2 * sigmas[-1].item()):
        with pytest.raises(ValueError, match="no level has"):
            make(1000).level(wrong)


@given(st.floats(0, 1e6))
def test_a_flow_has_a_level_for_every_noise(karras_sigma):
    signal, noise = schedules.flow(100, 3).at(schedules.flow(100, 3).level(karras_sigma), like=X)
    assert math.isclose(noise / signal, karras_sigma, rel_tol=1e-9, abs_tol=1e-300)


@pytest.mark.parametrize("make", [schedules.flow, partial(schedules.flow, shift=3), schedules.variance_exploding])
def test_where_the_variance_is_not_kept_a_sampler_begins_with_noise_of_the_level_s_size(make):
    schedule = make(1000)
    assert [schedule.prior_std(t) for t in (1, 500, 1000)] == schedule.noise[[1, 500, 1000]].tolist()
    assert schedule.noise[500] < schedule.prior_std(500.5) < schedule.noise[501]


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_a_schedule_made_by_its_name_is_shared_with_the_one_made_by_its_function(name):
    made = schedules.by_name(name, T=20)
    same = getattr(schedules, name)(20)
    assert schedules.shared(made, same, made) is made
    with pytest.raises(ValueError, match="different schedules"):
        schedules.shared(made, same, schedules.by_name(name, T=21))


def test_parameters_reach_a_schedule_that_is_made_by_name():
    assert schedules.by_name("flow", T=10, shift=3.0).noise[5] == 0.75
    assert_close(schedules.by_name("variance_exploding", T=10, sigma_min=0.1, sigma_max=9.0).prior_std(10), 9.0)
    with pytest.raises(ValueError, match=r"unknown schedule 'quadratic': choose one of linear, .*variance_exploding"):
        schedules.by_name("quadratic")


def test_schedules_that_differ_in_one_number_are_not_shared():
    for pair in (
        (schedules.flow(10), schedules.flow(10, shift=1.001)),
        (schedules.linear(10), schedules.linear(10, beta_T=0.0201)),
        (schedules.variance_exploding(10), schedules.variance_exploding(10, sigma_max=50.1)),
    ):
        with pytest.raises(ValueError, match="different schedules"):
            schedules.shared(*pair)


@pytest.mark.parametrize("make", [schedules.flow, schedules.variance_exploding])
@pytest.mark.parametrize("name", ["betas", "alphas", "alphas_cumprod", "beta", "zero_terminal_snr"])
def test_asked_for_beta_a_schedule_without_it_says_what_has_it(make, name):
    with pytest.raises(AttributeError, match=f"has no {name}.*linear, scaled_linear, cosine, sigmoid"):
        getattr(make(10), name)
    with pytest.raises(AttributeError, match=r"has no sigmas$"):
        make(10).sigmas  # noqa: B018


def test_beta_is_gathered_at_the_step_s_own_index_and_refuses_all_else():
    schedule, t = schedules.linear(20, 0.1, 0.3), torch.tensor([1, 7, 20])
    made = schedule.beta(t, like=torch.zeros(3, 2, 2, dtype=torch.bfloat16))
    assert (made.shape, made.dtype) == ((3, 1, 1), torch.float64)
    assert torch.equal(made.flatten(), schedule.betas[t])
    assert torch.equal(schedule.beta(7.0, like=torch.zeros(1, 2)), schedule.betas[7].view(1, 1))
    for wrong in (0, 21, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"t"):
            schedule.beta(wrong, like=torch.zeros(3, 2))
