"""How fast deterministic samplers converge, against the probability-flow solution: of a Gaussian in closed form, of a mixture by a fine run.

Theory speaks of equal steps of the solver's own time, σ̂ or λ = log(√ᾱ / √(1 - ᾱ)), on an interval that stops short of σ̂ = 0: there the
orders must be those of theory. On whole trajectories they are less, and the last tests show what takes them away.
"""

import math

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import oracles, schedules

f64 = torch.float64
SCHEDULE = schedules.linear()
HIGH, LOW = 5.0, 0.5  # σ̂ at the ends of the interval
MEAN, VARIANCE = torch.tensor([0.8, -0.4], dtype=f64), torch.tensor([0.3, 1.5], dtype=f64)
MIXTURE = (
    torch.tensor([0.3, 0.7], dtype=f64),
    torch.tensor([[1.0, 0.5], [-0.8, 0.2]], dtype=f64),
    torch.tensor([0.4, 0.6], dtype=f64),
)
DENOISERS = {
    "gaussian": oracles.gaussian(SCHEDULE, MEAN, VARIANCE),
    "mixture": oracles.mixture(SCHEDULE, *MIXTURE),
}
START = torch.tensor([[1.3, -0.6], [-0.2, 0.9], [0.1, 0.4]], dtype=f64)  # x_t at the noisier end

SOLVERS = {  # its sampler, its own time, its order
    "ddim": (samplers.ddim, "sigma", 1),
    "euler": (samplers.euler, "sigma", 1),
    "dpm_solver_pp of order 1": (lambda *args: samplers.dpm_solver_pp(*args, order=1), "lambda", 1),
    "heun": (samplers.heun, "sigma", 2),
    "dpm_solver_pp": (samplers.dpm_solver_pp, "lambda", 2),
    "plms": (samplers.plms, "sigma", 4),
}


def signal(karras_sigma):
    return 1 / math.sqrt(1 + karras_sigma**2)


def flow(x, sigma_t, sigma_s):
    """The exact solution for the Gaussian: along each axis x̄ - m grows as the standard deviation of x̄ does."""
    ratio = ((VARIANCE + sigma_s**2) / (VARIANCE + sigma_t**2)).sqrt()
    return signal(sigma_s) * (MEAN + ratio * (x / signal(sigma_t) - MEAN))


def grid(steps, variable, high=HIGH, low=LOW, before=0):
    """Levels at equal steps of σ̂ or of λ = -log σ̂, with `before` of them above the first."""
    i = torch.arange(-before, steps + 1, dtype=f64) / steps
    sigmas = high + i * (low - high) if variable == "sigma" else high * (low / high) ** i
    return [SCHEDULE.level(sigma) for sigma in sigmas.tolist()]


def fine(denoise, x, sigma_t, sigma_s, steps=3000):
    """A reference that shares nothing with the solvers: the classic fourth-order Runge-Kutta method, from either end to the other."""
    x_bar, step = x / signal(sigma_t), (sigma_s - sigma_t) / steps

    def slope(x_bar, sigma):
        return denoise(signal(sigma) * x_bar, SCHEDULE.level(sigma)).eps

    for i in range(steps):
        sigma = sigma_t + i * step
        k_1 = slope(x_bar, sigma)
        k_2 = slope(x_bar + step / 2 * k_1, sigma + step / 2)
        k_3 = slope(x_bar + step / 2 * k_2, sigma + step / 2)
        k_4 = slope(x_bar + step * k_3, sigma + step)
        x_bar = x_bar + step / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
    return signal(sigma_s) * x_bar


@pytest.fixture(scope="module")
def solutions():
    return {
        "gaussian": lambda sigma: flow(START, HIGH, sigma),
        "mixture": lambda sigma: fine(DENOISERS["mixture"], START, HIGH, sigma, steps=200),
    }


def test_the_reference_is_the_flow_where_that_is_known():
    assert_close(fine(DENOISERS["gaussian"], START, HIGH, LOW, 200), flow(START, HIGH, LOW), rtol=0, atol=1e-8)


@pytest.mark.parametrize("law", DENOISERS)
@pytest.mark.parametrize("name", SOLVERS)
def test_the_order_is_that_of_theory(name, law, solutions):
    sampler, variable, order = SOLVERS[name]
    denoise, exact, errors = DENOISERS[law], solutions[law], []
    for steps in (160, 320) if name == "plms" else (40, 80):
        levels = grid(steps, variable, before=3 if name == "plms" else 0)
        options = {}
        if name == "plms":  # warmed up: what the denoiser said on the exact way down to here
            past = [HIGH - k * (LOW - HIGH) / steps for k in (3, 2, 1)]
            options["history"] = [(t, denoise(exact(sigma), t)) for t, sigma in zip(levels, past, strict=False)]
        x = samplers.final(sampler(denoise, SCHEDULE, START, levels[len(options and past) :], **options))
        errors.append((x - exact(LOW)).abs().max().item())
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.15


# Whole trajectories: what takes the order away.

BY_NAME = {
    "ddim": samplers.ddim,
    "dpm_solver_pp": samplers.dpm_solver_pp,
    "heun": samplers.heun,
    "plms": samplers.plms,
}


def sigma_at(schedule, t):
    alpha_bar_t = schedule.at(float(t), like=torch.zeros(1, dtype=f64)).alpha_bar_t.item()
    return math.sqrt((1 - alpha_bar_t) / alpha_bar_t)


def error_of(name, levels, schedule=SCHEDULE, x=START):
    """How far a sampler ends from the flow of the Gaussian; with x, where it begins at levels[0]."""
    denoise = oracles.gaussian(schedule, MEAN, VARIANCE)
    end = samplers.final(BY_NAME[name](denoise, schedule, x, levels))
    return (end - flow(x, sigma_at(schedule, levels[0]), sigma_at(schedule, levels[-1]))).abs().max().item()


def even_in_t(high, low, steps):
    return [high - i * (high - low) / steps for i in range(steps)] + [low]


def even_in_sigma_to_zero(steps):
    return [SCHEDULE.level(HIGH * (1 - i / steps)) for i in range(steps)] + [0]


def slope(errors):
    return math.log2(errors[0] / errors[1])


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("heun", 2), ("dpm_solver_pp", 2), ("plms", 2)])
def test_steps_that_are_even_in_t_cost_plms_two_orders_and_the_others_none(name, order):
    """2M weighs by the ratio of its steps, Heun remembers nothing; PLMS uses the weights of equal steps at unequal ones."""
    errors = [error_of(name, even_in_t(1000.0, 100.0, steps)) for steps in (128, 256)]
    assert abs(slope(errors) - order) < 0.15


@pytest.mark.parametrize(("name", "least", "most"), [("ddim", 0.9, 1.1), ("heun", 1.0, 1.4), ("plms", 0.8, 1.2)])
def test_down_to_clean_data_on_levels_even_in_t_the_order_is_one(name, least, most):
    errors = [error_of(name, even_in_t(700.0, 0, steps)) for steps in (128, 256)]
    assert least < slope(errors) < most


def test_because_the_last_step_alone_errs_that_much():
    """Near clean data σ̂ is as √t, so the last of N steps is of size 1/√N, and the error of Euler's, its square, is of size 1/N."""
    for steps in (128, 256):
        levels = even_in_t(700.0, 0, steps)
        there = flow(START, sigma_at(SCHEDULE, 700), sigma_at(SCHEDULE, levels[-2]))
        alone = error_of("heun", levels[-2:], x=there)
        assert 0.8 < alone / error_of("heun", levels) < 1.25


@pytest.mark.parametrize(("name", "order"), [("heun", 2), ("plms", 4)])
def test_steps_even_in_sigma_reach_clean_data_without_a_loss(name, order):
    errors = [error_of(name, even_in_sigma_to_zero(steps)) for steps in (128, 256)]
    assert abs(slope(errors) - order) < 0.15


def test_a_first_step_from_nearly_infinite_noise_ruins_heun_and_no_other():
    """The cosine schedule ends at σ̂ ≈ 20,000: Heun's mean of two slopes is then taken over nearly all of the axis."""
    cosine = schedules.cosine()
    last = int((cosine.karras_sigmas <= 80).sum()) - 1
    from_the_end, from_80 = (
        {name: error_of(name, even_in_t(top, 100, 25), cosine) for name in BY_NAME} for top in (1000, last)
    )
    assert from_the_end["heun"] > 20 * from_80["heun"]
    for name in ("ddim", "dpm_solver_pp", "plms"):
        assert from_the_end[name] < 2 * from_80[name]
