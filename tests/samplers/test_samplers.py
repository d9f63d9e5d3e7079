"""What all samplers have in common. That each draws from its own exact law is in test_laws.py, how fast it converges in test_orders.py."""

import math

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import noise, oracles, schedules
from minidiff.diffusion.prediction import Prediction

f64 = torch.float64
SCHEDULE = schedules.linear(100, 0.001, 0.15)
MEAN, VARIANCE = 0.8, 0.3
DENOISE = oracles.gaussian(SCHEDULE, torch.tensor([MEAN], dtype=f64), torch.tensor([VARIANCE], dtype=f64))
GRIDS = {"all": samplers.times(100, 100), "ten": samplers.times(100, 10), "uneven": [100, 60, 59, 20, 3, 1, 0]}
EMPTY = SCHEDULE.zero_terminal_snr()  # nothing of the picture is left at its last level
EVERY = pytest.mark.parametrize("sampler", samplers.BY_NAME.values(), ids=samplers.BY_NAME)


@EVERY
def test_a_data_set_s_exact_denoiser_can_only_recall(sampler, generator):
    points = torch.randn(8, 2, generator=generator, dtype=f64)
    denoise = oracles.dataset(SCHEDULE, points)
    x_T = torch.randn(64, 2, generator=generator, dtype=f64)
    *_, last = sampler(denoise, SCHEDULE, x_T, GRIDS["all"], generator=generator)
    x = last.x_0 if sampler is samplers.plms else last.x_t  # PLMS ends beside its last guess: its past weighs in
    assert torch.cdist(x, points).min(1).values.max() < 1e-6
    assert len(torch.cdist(x, points).argmin(1).unique()) >= 6


@EVERY
def test_steps_tell_level_and_x_0_and_end_at_the_guess(sampler, generator):
    x = torch.randn(3, 1, generator=generator, dtype=f64)
    steps = list(sampler(DENOISE, SCHEDULE, x, GRIDS["uneven"], generator=generator))
    assert [step.t for step in steps] == GRIDS["uneven"][1:]
    if sampler is not samplers.plms:
        assert_close(steps[-1].x_t, steps[-1].x_0)
    assert_close(steps[0].x_0, DENOISE(x, 100).x_0)


@EVERY
def test_an_image_does_not_depend_on_its_batch(sampler):
    def draw(seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        x = noise.randn_like(torch.zeros(len(seeds), 1, dtype=f64), generators)
        return samplers.final(sampler(DENOISE, SCHEDULE, x, GRIDS["ten"], generator=generators))

    assert_close(draw([3, 4, 5])[1], draw([4])[0])


@EVERY
def test_no_gradient_is_recorded_inside_and_none_is_switched_off_outside(sampler, generator):
    weight = torch.ones(1, requires_grad=True, dtype=f64)
    seen = []

    def denoise(x_t, t):
        seen.append(torch.is_grad_enabled())
        return Prediction(weight * x_t, x_t)

    for step in sampler(denoise, SCHEDULE, torch.zeros(1, 1, dtype=f64), GRIDS["uneven"], generator=generator):
        assert torch.is_grad_enabled()
        assert not step.x_t.requires_grad
    assert len(seen) >= 6
    assert not any(seen)


@EVERY
def test_a_constraint_is_what_the_next_step_goes_on_from(sampler, generator):
    levels, last_asked = [], {}

    def constrain(x, t):
        levels.append(t)
        return torch.full_like(x, float(t))

    def denoise(x_t, t):
        last_asked[t] = x_t.item()
        return DENOISE(x_t, t)

    last = samplers.final(
        sampler(
            denoise, SCHEDULE, torch.zeros(1, 1, dtype=f64), [100, 50, 7, 0], generator=generator, constrain=constrain
        )
    )
    assert levels == [50, 7, 0]
    assert last_asked == {100: 0, 50: 50, 7: 7}
    assert last.item() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x, [0, 100]),
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x, [100]),
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x, [50, 50, 0]),
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x, [101, 0]),
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x, [100, -1]),
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x, [100, 0], eta=1.5),
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x, [100, 0], eta=0.5),
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x * math.nan, [100, 0]),
        lambda x, g: samplers.ddim(DENOISE, SCHEDULE, x.long(), [100, 0]),
        lambda x, g: samplers.ddpm(DENOISE, SCHEDULE, x, [100, 0]),
        lambda x, g: samplers.ddpm(DENOISE, SCHEDULE, x, [100, 0], generator=[g]),
        lambda x, g: samplers.ddpm(DENOISE, SCHEDULE, x, [100, 0], generator=g, variance="large"),
        lambda x, g: samplers.ddim(DENOISE, schedules.from_betas([0.5, 1.0, 1.0]), x, [3, 2, 1, 0]),
        lambda x, g: samplers.ddim_inversion(DENOISE, SCHEDULE, x, [0, 100]),
        lambda x, g: samplers.plms(DENOISE, SCHEDULE, x, [100, 0], warmup="none"),
        lambda x, g: samplers.plms(DENOISE, SCHEDULE, x, [50, 0], history=[(50, DENOISE(x, 50))]),
        lambda x, g: samplers.plms(DENOISE, SCHEDULE, x, [50, 0], history=[(60, DENOISE(x, 60)), (70, DENOISE(x, 70))]),
        lambda x, g: samplers.plms(DENOISE, EMPTY, x, [100, 0], warmup="averaged"),
        lambda x, g: samplers.dpm_solver_pp(DENOISE, SCHEDULE, x, [100, 0], order=3),
        lambda x, g: samplers.dpm_solver_pp(DENOISE, SCHEDULE, x, [100, 0], stochastic=True),
        lambda x, g: samplers.dpm_solver_pp(DENOISE, SCHEDULE, x, [50, 0], history=[(40, DENOISE(x, 40))]),
        lambda x, g: samplers.euler(DENOISE, SCHEDULE, x, [100, 0], churn=-1.0),
        lambda x, g: samplers.euler(DENOISE, SCHEDULE, x, [100, 0], churn=1.0),
        lambda x, g: samplers.euler(DENOISE, EMPTY, x, [100, 0], churn=1.0, generator=g),
        lambda x, g: samplers.euler_ancestral(DENOISE, SCHEDULE, x, [100, 0]),
        lambda x, g: samplers.heun(DENOISE, EMPTY, x, [100, 50, 0]),
    ],
)
def test_bad_arguments_are_errors_at_the_call(call, generator):
    with pytest.raises((ValueError, TypeError)):
        call(torch.ones(2, 1, dtype=f64), generator)


def test_a_used_up_sampler_has_no_final():
    steps = samplers.ddim(DENOISE, SCHEDULE, torch.zeros(1, 1, dtype=f64), [100, 0])
    samplers.final(steps)
    with pytest.raises(ValueError, match="no steps left"):
        samplers.final(steps)


@pytest.mark.parametrize(("sampler", "options", "calls"), [
    (samplers.ddim, {}, 10),
    (samplers.plms, {}, 10),
    (samplers.plms, {"warmup": "averaged"}, 11),
    (samplers.dpm_solver_pp, {}, 10),
    (samplers.euler, {}, 10),
    (samplers.heun, {}, 19),
])  # fmt: skip
def test_calls_of_the_denoiser_in_ten_steps(sampler, options, calls):
    seen = []

    def denoise(x_t, t):
        seen.append(t)
        return DENOISE(x_t, t)

    samplers.final(sampler(denoise, SCHEDULE, torch.zeros(1, 1, dtype=f64), GRIDS["ten"], **options))
    assert len(seen) == calls
    assert 0 not in seen


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_plms_integrates_polynomials_of_sigma_exactly(degree):
    """Where ε̂ is a polynomial of σ̂ alone: what Adams and Bashforth's weights are made for. A constant needs no past."""
    sigmas = torch.linspace(4, 1, 13, dtype=f64)
    levels = [SCHEDULE.level(sigma) for sigma in sigmas.tolist()]

    def denoise(x_t, t):
        abar = SCHEDULE.at(t, like=x_t).alpha_bar_t
        sigma = ((1 - abar) / abar).sqrt()
        return Prediction(x_t / abar.sqrt() - sigma * sigma**degree, (sigma**degree).expand_as(x_t))

    first = 3 if degree else 0
    x_bar = torch.tensor([[0.7]], dtype=f64)
    x_t = x_bar / (1 + sigmas[first] ** 2).sqrt()
    history = [(level, denoise(x_t, level)) for level in levels[:first]]
    x = samplers.final(samplers.plms(denoise, SCHEDULE, x_t, levels[first:], history=history))
    exact = x_bar + (sigmas[-1] ** (degree + 1) - sigmas[first] ** (degree + 1)) / (degree + 1)
    assert_close(x, exact / (1 + sigmas[-1] ** 2).sqrt(), rtol=0, atol=1e-10)


def test_ddim_there_and_back_nears_where_it_began_as_steps_grow():
    """The way up asks at the level that it leaves; the error of the round trip nears 1 / steps."""
    x_0 = torch.tensor([[-0.3], [0.9], [1.4]], dtype=f64)
    asked = []

    def denoise(x_t, t):
        asked.append(t)
        return DENOISE(x_t, t)

    def error(steps):
        times = samplers.times(100, steps)
        x_T = samplers.final(samplers.ddim_inversion(denoise, SCHEDULE, x_0, times))
        return (samplers.final(samplers.ddim(DENOISE, SCHEDULE, x_T, times)) - x_0).abs().max().item()

    assert 1.6 < error(25) / error(50) < error(50) / error(100) < 2
    assert min(asked) > 0


def test_inversion_visits_the_levels_from_below():
    steps = list(samplers.ddim_inversion(DENOISE, SCHEDULE, torch.ones(1, 1, dtype=f64), [100, 50, 7, 0]))
    assert [step.t for step in steps] == [7, 50, 100]
