"""Samplers against exact laws. For Gaussian data the exact denoiser is linear in x_t, so the law of a sampler's x is Gaussian too, and
its mean and variance obey a recursion that is computed here from the definition of each step, not from the sampler's code."""

import itertools
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


def law(times, sigma, schedule=SCHEDULE):
    """Mean and variance of x after the steps, begun from N(0, 1): x_s = √ᾱ_s x̂_0 + √(1 - ᾱ_s - σ²) ε̂ + σ z, with x̂_0 linear in x_t."""
    mean, variance = 0.0, 1.0
    abar = schedule.alphas_cumprod.tolist()
    for t, s in itertools.pairwise(times):
        gain = math.sqrt(abar[t]) * VARIANCE / (abar[t] * VARIANCE + 1 - abar[t])  # dx̂_0/dx_t
        x_0 = MEAN + gain * (mean - math.sqrt(abar[t]) * MEAN)
        direction = math.sqrt(max(1 - abar[s] - sigma(t, s, abar) ** 2, 0) / (1 - abar[t]))
        slope = math.sqrt(abar[s]) * gain + direction * (1 - math.sqrt(abar[t]) * gain)
        mean = math.sqrt(abar[s]) * x_0 + direction * (mean - math.sqrt(abar[t]) * x_0)
        variance = slope**2 * variance + sigma(t, s, abar) ** 2
    return mean, variance


def ddpm_law(times, variance_of, schedule=SCHEDULE):
    """The same for DDPM, whose mean is the posterior's whatever the noise: found by weighing x̂_0 and x_t."""
    mean, variance = 0.0, 1.0
    abar = schedule.alphas_cumprod.tolist()
    for t, s in itertools.pairwise(times):
        alpha = abar[t] / abar[s]
        on_x_0 = math.sqrt(abar[s]) * (1 - alpha) / (1 - abar[t])
        on_x_t = math.sqrt(alpha) * (1 - abar[s]) / (1 - abar[t])
        gain = math.sqrt(abar[t]) * VARIANCE / (abar[t] * VARIANCE + 1 - abar[t])
        slope = on_x_0 * gain + on_x_t
        mean = slope * mean + on_x_0 * (1 - gain * math.sqrt(abar[t])) * MEAN
        variance = slope**2 * variance + (variance_of(alpha, abar[s], abar[t]) if s else 0)
    return mean, variance


def eta(value):
    return lambda t, s, abar: value * math.sqrt((1 - abar[s]) / (1 - abar[t]) * (1 - abar[t] / abar[s]))


def beta(alpha, abar_s, abar_t):
    return 1 - alpha


def posterior(alpha, abar_s, abar_t):
    return (1 - abar_s) / (1 - abar_t) * (1 - alpha)


CASES = {
    "ddim": (lambda x, times, g: samplers.ddim(DENOISE, SCHEDULE, x, times), lambda times: law(times, eta(0))),
    "ddim half": (lambda x, times, g: samplers.ddim(DENOISE, SCHEDULE, x, times, generator=g, eta=0.5), lambda times: law(times, eta(0.5))),
    "ddim full": (lambda x, times, g: samplers.ddim(DENOISE, SCHEDULE, x, times, generator=g, eta=1.0), lambda times: law(times, eta(1))),
    "ddpm": (lambda x, times, g: samplers.ddpm(DENOISE, SCHEDULE, x, times, generator=g), lambda times: ddpm_law(times, posterior)),
    "ddpm beta": (lambda x, times, g: samplers.ddpm(DENOISE, SCHEDULE, x, times, generator=g, variance="beta"), lambda times: ddpm_law(times, beta)),
}  # fmt: skip


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("case", CASES)
def test_a_sampler_draws_from_its_own_exact_law(case, grid, generator):
    n = 40_000
    run, exact = CASES[case]
    x = samplers.final(run(torch.randn(n, 1, generator=generator, dtype=f64), GRIDS[grid], generator))
    mean, variance = exact(GRIDS[grid])
    assert abs(x.mean().item() - mean) < 5 * math.sqrt(variance / n)
    assert abs(x.var().item() - variance) < 5 * variance * math.sqrt(2 / n)


@pytest.mark.parametrize("case", ["ddim", "ddim full", "ddpm", "ddpm beta"])
def test_the_exact_law_nears_the_data_as_steps_grow(case):
    """Error of the standard deviation, halving with the step: else the recursions above would prove nothing about the data."""
    gaps = [
        abs(math.sqrt(CASES[case][1](samplers.times(100, steps))[1]) - math.sqrt(VARIANCE)) for steps in (25, 50, 100)
    ]
    assert gaps[0] > 1.5 * gaps[1] > 2 * gaps[2]


def test_full_eta_is_ddpm_in_law():
    for times in GRIDS.values():
        assert_close(law(times, eta(1)), ddpm_law(times, posterior))


def test_a_data_set_s_exact_denoiser_can_only_recall(generator):
    points = torch.randn(8, 2, generator=generator, dtype=f64)
    denoise = oracles.dataset(SCHEDULE, points)
    for sampler in (samplers.ddim, samplers.ddpm):
        x = samplers.final(
            sampler(
                denoise, SCHEDULE, torch.randn(64, 2, generator=generator, dtype=f64), GRIDS["all"], generator=generator
            )
        )
        assert torch.cdist(x, points).min(1).values.max() < 1e-6
        assert len(torch.cdist(x, points).argmin(1).unique()) >= 6


@pytest.mark.parametrize("sampler", [samplers.ddim, samplers.ddpm])
def test_steps_tell_level_and_x_0_and_end_at_the_guess(sampler, generator):
    x = torch.randn(3, 1, generator=generator, dtype=f64)
    steps = list(sampler(DENOISE, SCHEDULE, x, GRIDS["uneven"], generator=generator))
    assert [step.t for step in steps] == GRIDS["uneven"][1:]
    assert_close(steps[-1].x_t, steps[-1].x_0)
    assert_close(steps[0].x_0, DENOISE(x, 100).x_0)


@pytest.mark.parametrize("sampler", [samplers.ddim, samplers.ddpm])
def test_the_law_is_exact_where_nothing_is_left_at_T_too(sampler, generator):
    n, schedule = 40_000, SCHEDULE.zero_terminal_snr()
    denoise = oracles.gaussian(schedule, torch.tensor([MEAN], dtype=f64), torch.tensor([VARIANCE], dtype=f64))
    x_T = torch.randn(n, 1, generator=generator, dtype=f64)
    x = samplers.final(sampler(denoise, schedule, x_T, GRIDS["all"], generator=generator))
    of_ddim = law(GRIDS["all"], eta(0), schedule)
    mean, variance = of_ddim if sampler is samplers.ddim else ddpm_law(GRIDS["all"], posterior, schedule)
    assert abs(x.mean().item() - mean) < 5 * math.sqrt(variance / n)
    assert abs(x.var().item() - variance) < 5 * variance * math.sqrt(2 / n)


@pytest.mark.parametrize("sampler", [samplers.ddim, samplers.ddpm])
def test_an_image_does_not_depend_on_its_batch(sampler):
    def draw(seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        x = noise.randn_like(torch.zeros(len(seeds), 1, dtype=f64), generators)
        options = {"eta": 0.7} if sampler is samplers.ddim else {}
        return samplers.final(sampler(DENOISE, SCHEDULE, x, GRIDS["ten"], generator=generators, **options))

    assert_close(draw([3, 4, 5])[1], draw([4])[0])


@pytest.mark.parametrize("sampler", [samplers.ddim, samplers.ddpm])
def test_no_gradient_is_recorded_inside_and_none_is_switched_off_outside(sampler, generator):
    weight = torch.ones(1, requires_grad=True, dtype=f64)
    seen = []

    def denoise(x_t, t):
        seen.append(torch.is_grad_enabled())
        return Prediction(weight * x_t, x_t)

    for step in sampler(denoise, SCHEDULE, torch.zeros(1, 1, dtype=f64), GRIDS["uneven"], generator=generator):
        assert torch.is_grad_enabled()
        assert not step.x_t.requires_grad
    assert seen == [False] * 6


@pytest.mark.parametrize("sampler", [samplers.ddim, samplers.ddpm])
def test_a_constraint_is_what_the_next_step_goes_on_from(sampler, generator):
    levels, inputs = [], []

    def constrain(x, t):
        levels.append(t)
        return torch.full_like(x, float(t))

    def denoise(x_t, t):
        inputs.append(x_t.item())
        return DENOISE(x_t, t)

    last = samplers.final(
        sampler(
            denoise, SCHEDULE, torch.zeros(1, 1, dtype=f64), [100, 50, 7, 0], generator=generator, constrain=constrain
        )
    )
    assert levels == [50, 7, 0]
    assert inputs == [0, 50, 7]
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
