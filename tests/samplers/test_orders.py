"""The order of convergence of deterministic samplers to the solution of the probability-flow equation, on several schedules.

The equation is dx̄ = ε̂ dσ̂ with x̄ = x_t / signal_t and σ̂ = noise_t / signal_t. Its solution is known in closed form for a Gaussian. For a
mixture it is computed with small steps of another method. Neither uses a schedule. Theory holds for equal steps of the solver's own time, σ̂
or λ = -log σ̂, on an interval that ends before σ̂ = 0; there the measured orders must equal those of theory. On whole trajectories the
orders are lower, and the last tests show why.
"""

import math
from functools import cache, partial

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import schedules
from minidiff.diffusion.prediction import Denoiser, Prediction

f64 = torch.float64
LINEAR, FLOW = schedules.linear(), schedules.flow()
HIGH, LOW = 3.0, 0.5  # σ̂ at the ends of the interval
MEAN, VARIANCE = torch.tensor([0.8, -0.4], dtype=f64), torch.tensor([0.3, 1.5], dtype=f64)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=f64)
MEANS = torch.tensor([[1.0, 0.5], [-0.8, 0.2]], dtype=f64)
VARIANCES = torch.tensor([[0.4], [0.6]], dtype=f64)
START = torch.tensor([[4.0, -1.9], [-0.6, 2.8], [0.3, 1.2]], dtype=f64)  # x̄ at the noisier end

SOLVERS = {  # sampler, time variable, order
    "ddim": (samplers.ddim, "sigma", 1),
    "euler": (samplers.euler, "sigma", 1),
    "dpm_solver_pp of order 1": (lambda *args: samplers.dpm_solver_pp(*args, order=1), "lambda", 1),
    "heun": (samplers.heun, "sigma", 2),
    "dpm_solver_pp": (samplers.dpm_solver_pp, "lambda", 2),
    "plms": (samplers.plms, "sigma", 4),
}


def gaussian(x_bar, sigma):
    """ε̂ for data N(m, v), where x̄ ~ N(m, v + σ̂²)."""
    return sigma * (x_bar - MEAN) / (VARIANCE + sigma**2)


def mixture(x_bar, sigma):
    """ε̂ = -σ̂ ∇ log q(x̄) of a mixture."""
    offset, total = x_bar[:, None] - MEANS, VARIANCES + sigma**2
    log_densities = -0.5 * (offset**2 / total + total.log()).sum(-1)
    r = torch.softmax(WEIGHTS.log() + log_densities, dim=1)[..., None]
    return sigma * (r * offset / total).sum(1)


def denoiser(schedule, slope):
    def predict(x_t, t):
        signal, noise = (scale[:1] for scale in schedule.at(t, like=x_t))
        eps = slope(x_t / signal, (noise / signal).squeeze())
        return Prediction((x_t - noise * eps) / signal, eps)

    return Denoiser(schedule, predict)


@cache
def fine(slope, sigma_s, steps=150):
    """x̄ at σ̂_s by the classic fourth-order Runge-Kutta method, from the noisier end; it shares no code with the solvers."""
    x_bar, step = START, (sigma_s - HIGH) / steps
    for i in range(steps):
        sigma = HIGH + i * step
        k_1 = slope(x_bar, sigma)
        k_2 = slope(x_bar + step / 2 * k_1, sigma + step / 2)
        k_3 = slope(x_bar + step / 2 * k_2, sigma + step / 2)
        k_4 = slope(x_bar + step * k_3, sigma + step)
        x_bar = x_bar + step / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
    return x_bar


def gaussian_solution(sigma):
    """x̄ at σ̂: along each axis x̄ - m is proportional to the standard deviation of x̄."""
    return MEAN + ((VARIANCE + sigma**2) / (VARIANCE + HIGH**2)).sqrt() * (START - MEAN)


def test_the_fine_run_is_the_solution_where_that_is_known():
    assert_close(fine(gaussian, LOW), gaussian_solution(LOW), rtol=0, atol=1e-9)


def grid(steps, variable, before):
    """σ̂ at equal steps of σ̂ or of λ = -log σ̂, with `before` extra steps above the first level."""
    i = torch.arange(-before, steps + 1, dtype=f64) / steps
    return (HIGH + i * (LOW - HIGH) if variable == "sigma" else HIGH * (LOW / HIGH) ** i).tolist()


def signal_at(schedule, t):
    return schedule.at(t, like=START[:1]).signal.item()


@pytest.mark.parametrize(("schedule", "slope"), [
    (LINEAR, gaussian),
    (LINEAR, mixture),
    (FLOW, mixture),
    (schedules.flow(shift=3), gaussian),
])  # fmt: skip
@pytest.mark.parametrize("name", SOLVERS)
def test_the_order_is_that_of_theory(name, schedule, slope):
    sampler, variable, order = SOLVERS[name]
    solution = gaussian_solution if slope is gaussian else partial(fine, slope)
    denoise, errors = denoiser(schedule, slope), []
    first = 3 if name == "plms" else 0  # PLMS gets a history: predictions on the exact solution above the first level
    for steps in (100, 200) if name == "plms" else (30, 60):
        sigmas = grid(steps, variable, before=first)
        levels = [schedule.level(sigma) for sigma in sigmas]
        x = [signal_at(schedule, t) * solution(sigma) for t, sigma in zip(levels[: first + 1], sigmas, strict=False)]
        history = [(t, denoise(x_t, t)) for t, x_t in zip(levels[:first], x, strict=False)]
        options = {"history": history} if history else {}
        end = samplers.final(sampler(denoise, x[first], levels[first:], **options))
        errors.append((end / signal_at(schedule, levels[-1]) - solution(LOW)).abs().max().item())
    assert abs(order_of(errors) - order) < 0.15


def order_of(errors):
    """The order of convergence, from the errors with N and 2 N steps."""
    return math.log2(errors[0] / errors[1])


# Whole trajectories: why the orders are lower.

BY_NAME = {
    "ddim": samplers.ddim,
    "dpm_solver_pp": samplers.dpm_solver_pp,
    "heun": samplers.heun,
    "plms": samplers.plms,
}
X = torch.tensor([[1.3, -0.6], [-0.2, 0.9], [0.1, 0.4]], dtype=f64)  # the first x_t of a trajectory


def marginal(schedule, t):
    """signal_t, noise_t, and the mean and the standard deviation of x_t along each axis."""
    signal, noise = (scale.item() for scale in schedule.at(float(t), like=torch.zeros(1, dtype=f64)))
    return signal, noise, signal * MEAN, (signal**2 * VARIANCE + noise**2).sqrt()


def exact(schedule, x_t, t, s):
    """The solution for the Gaussian, also from signal 0: x_s and x_t are equally many standard deviations from their means."""
    (_, _, mean_t, std_t), (_, _, mean_s, std_s) = marginal(schedule, t), marginal(schedule, s)
    return mean_s + std_s * (x_t - mean_t) / std_t


def regression(schedule):
    """The denoiser of the Gaussian, as the regression of x_0 and ε on x_t; it is defined at T too."""

    def predict(x_t, t):
        signal, noise, mean, std = marginal(schedule, t)
        offset = (x_t - mean) / std**2
        return Prediction(MEAN + signal * VARIANCE * offset, noise * offset)

    return Denoiser(schedule, predict)


@cache
def error_of(name, levels, schedule=LINEAR, x=X, above=()):
    """The error of a sampler that begins with x at levels[0], for the Gaussian; `above` holds the levels of an exact history."""
    denoise = regression(schedule)
    history = [(t, denoise(exact(schedule, x, levels[0], t), t)) for t in above]
    end = samplers.final(BY_NAME[name](denoise, x, levels, **({"history": history} if history else {})))
    return (end - exact(schedule, x, levels[0], levels[-1])).abs().max().item()


def even_in_t(high, low, steps):
    return *(high - i * (high - low) / steps for i in range(steps)), low


def even_in_sigma_to_zero(name, steps, schedule, warm=True):
    """The error on levels that are evenly spaced in σ̂ down to 0."""
    above = range(3, 0, -1) if warm and name == "plms" else ()
    levels = *(schedule.level(HIGH * (1 - i / steps)) for i in range(steps)), 0
    return error_of(name, levels, schedule, above=tuple(schedule.level(HIGH * (1 + i / steps)) for i in above))


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("heun", 2), ("dpm_solver_pp", 2), ("plms", 2)])
@pytest.mark.parametrize(("schedule", "high"), [(LINEAR, 1000.0), (FLOW, 900.0)])
def test_steps_that_are_even_in_t_cost_plms_two_orders_and_the_others_none(name, order, schedule, high):
    """PLMS uses the weights of equal steps for unequal ones. 2M accounts for the ratio of its steps, and Heun has no history."""
    errors = [error_of(name, even_in_t(high, 100.0, steps), schedule) for steps in (64, 128)]
    assert abs(order_of(errors) - order) < 0.15


@pytest.mark.parametrize(("name", "least", "most"), [("ddim", 0.9, 1.1), ("heun", 1.0, 1.4), ("plms", 0.8, 1.2)])
def test_down_to_clean_data_on_levels_even_in_t_the_order_is_one(name, least, most):
    errors = [error_of(name, even_in_t(700.0, 0, steps)) for steps in (64, 128)]
    assert least < order_of(errors) < most


def test_because_the_last_step_alone_errs_that_much():
    """Near clean data σ̂ ~ √t, so the last of N steps has size 1/√N, and the error of an Euler step is its square, 1/N."""
    for steps in (128, 256):
        levels = even_in_t(700.0, 0, steps)
        there = exact(LINEAR, X, 700, levels[-2])
        alone = error_of("heun", levels[-2:], x=there)
        assert 0.8 < alone / error_of("heun", levels) < 1.25


@pytest.mark.parametrize("schedule", [LINEAR, FLOW])
@pytest.mark.parametrize(("name", "order"), [("heun", 2), ("plms", 4)])
def test_steps_even_in_sigma_reach_clean_data_without_a_loss(name, order, schedule):
    """PLMS has a history here; the next test shows why it is needed."""
    assert abs(order_of([even_in_sigma_to_zero(name, steps, schedule) for steps in (64, 128)]) - order) < 0.15


def test_and_without_a_history_the_warm_up_costs_plms_two_orders():
    """The first step is Euler's, of order 1. It leaves an error of size 1/N², which for large N is larger than 1/N⁴."""
    assert abs(order_of([even_in_sigma_to_zero("plms", steps, FLOW, warm=False) for steps in (128, 256)]) - 2) < 0.15


@pytest.mark.parametrize("name", ["heun", "dpm_solver_pp", "plms"])
def test_from_T_to_clean_data_on_flow_the_error_is_log_N_over_N_squared(name):
    """The error is (a + b log N) / N²: N² times the error grows by the same amount, b log 2, at each doubling of N.

    The k-th level from T has signal k/N, so σ̂ falls by the factor (k + 1)/k for every N. The steps in σ̂ and in λ are not small there: the
    error of the k-th step is about 1 / (k N²), and the sum of 1/k is log N. An error of log N / N² alone would give the order
    2 - log₂(log 256 / log 128) = 1.81.
    """
    steps = (64, 128, 256)
    errors = [error_of(name, even_in_t(1000.0, 0, n), FLOW) for n in steps]
    first, second, third = (n**2 * error for n, error in zip(steps, errors, strict=True))
    assert 0.8 < (third - second) / (second - first) < 1.2
    assert 1.65 < order_of(errors[1:]) < 1.9


def test_and_there_ddim_has_order_one():
    errors = [error_of("ddim", even_in_t(1000.0, 0, steps), FLOW) for steps in (64, 128)]
    assert abs(order_of(errors) - 1) < 0.02


@pytest.mark.parametrize(("name", "low"), [("heun", 0), ("plms", 0), ("dpm_solver_pp", 100.0)])
def test_the_logarithm_comes_from_T_and_begun_below_the_order_is_two(name, low):
    """2M must also end above clean data, because λ is infinite at both ends; σ̂ is infinite at T only."""
    errors = [error_of(name, even_in_t(900.0, low, steps), FLOW) for steps in (64, 128)]
    assert abs(order_of(errors) - 2) < 0.05
    with_one_end_more = [(1000.0, low), (900.0, 0)] if name == "dpm_solver_pp" else [(1000.0, low)]
    for high, end in with_one_end_more:
        assert order_of([error_of(name, even_in_t(high, end, steps), FLOW) for steps in (64, 128)]) < 1.9


def test_a_first_step_from_nearly_infinite_noise_ruins_heun_and_no_other():
    """The cosine schedule ends at σ̂ ≈ 20,000, so the first step of Heun averages two slopes over a very long interval."""
    cosine = schedules.cosine()
    last = int((cosine.karras_sigmas <= 80).sum()) - 1
    from_the_end, from_80 = (
        {name: error_of(name, even_in_t(top, 100, 25), cosine) for name in BY_NAME} for top in (1000, last)
    )
    assert from_the_end["heun"] > 20 * from_80["heun"]
    for name in ("ddim", "dpm_solver_pp", "plms"):
        assert from_the_end[name] < 2 * from_80[name]
