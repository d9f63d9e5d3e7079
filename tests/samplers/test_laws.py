"""Stochastic samplers against their own exact laws.

For Gaussian data the exact denoiser is linear in x_t, so a sampler's x is Gaussian too, and its mean and covariance obey a recursion. It is
computed here from the definition of each method as its paper writes it, not from the sampler's code. What is carried along is the
pair of x_t and the x̂_0 of the step before, which multistep methods remember.
"""

import itertools
import math

import pytest
import torch

from minidiff import samplers
from minidiff.diffusion import oracles, schedules

f64 = torch.float64
SCHEDULE = schedules.linear(100, 0.001, 0.15)
MEAN = torch.tensor([0.8, -0.5], dtype=f64)
COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=f64)
DENOISE = oracles.gaussian(SCHEDULE, MEAN, COVARIANCE)
GRIDS = {"all": samplers.times(100, 100), "ten": samplers.times(100, 10), "uneven": [100, 60, 59, 20, 3, 1, 0]}
ONE, NONE = torch.eye(2, dtype=f64), torch.zeros(2, 2, dtype=f64)


def alpha_bar(schedule, t):
    return schedule.at(float(t), like=torch.zeros(1, dtype=f64)).alpha_bar_t.item()


def x_0_of(schedule, t):
    """x̂_0 = G x + g: the regression of x_0 on x_t."""
    abar = alpha_bar(schedule, t)
    gain = math.sqrt(abar) * COVARIANCE @ torch.linalg.inv(abar * COVARIANCE + (1 - abar) * ONE)
    return gain, MEAN - math.sqrt(abar) * gain @ MEAN


def eps_of(schedule, t):
    """ε̂ = E x + e, from x_t = √ᾱ x̂_0 + √(1 - ᾱ) ε̂."""
    abar = alpha_bar(schedule, t)
    gain, shift = x_0_of(schedule, t)
    return (ONE - math.sqrt(abar) * gain) / math.sqrt(1 - abar), -math.sqrt(abar) * shift / math.sqrt(1 - abar)


def law(times, steps, schedule=SCHEDULE):
    """Mean and covariance of x at the end, begun from N(0, 1): steps(i) tells A, P, b and Q of x_s = A x_t + P x̂_0' + b + N(0, Q)."""
    mean, covariance = torch.zeros(4, dtype=f64), torch.block_diag(ONE, NONE)
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        on_x, on_past, shift, noise = steps(i, t, s, times, schedule)
        gain, remembered = x_0_of(schedule, t)
        matrix = torch.cat([torch.cat([on_x, on_past], dim=1), torch.cat([gain, NONE], dim=1)])
        mean = matrix @ mean + torch.cat([shift, remembered])
        covariance = matrix @ covariance @ matrix.T + torch.block_diag(noise, NONE)
    return mean[:2], covariance[:2, :2]


def non_markovian(eta):
    """Song et al. 2021, eq. 12: x_s = √ᾱ_s x̂_0 + √(1 - ᾱ_s - σ²) ε̂ + σ z."""

    def steps(i, t, s, times, schedule):
        abar_t, abar_s = alpha_bar(schedule, t), alpha_bar(schedule, s)
        variance = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
        (gain, shift), (turn, offset) = x_0_of(schedule, t), eps_of(schedule, t)
        signal, direction = math.sqrt(abar_s), math.sqrt(max(1 - abar_s - variance, 0))
        return signal * gain + direction * turn, NONE, signal * shift + direction * offset, variance * ONE

    return steps


def markovian(variance_of):
    """Ho et al. 2020, algorithm 2 with eq. 7: the posterior's mean, whatever the noise."""

    def steps(i, t, s, times, schedule):
        abar_t, abar_s = alpha_bar(schedule, t), alpha_bar(schedule, s)
        alpha = abar_t / abar_s
        on_x_0, on_x_t = math.sqrt(abar_s) * (1 - alpha) / (1 - abar_t), math.sqrt(alpha) * (1 - abar_s) / (1 - abar_t)
        gain, shift = x_0_of(schedule, t)
        variance = variance_of(alpha, abar_s, abar_t) if s else 0.0
        return on_x_0 * gain + on_x_t * ONE, NONE, on_x_0 * shift, variance * ONE

    return steps


def beta(alpha, abar_s, abar_t):
    return 1 - alpha


def posterior(alpha, abar_s, abar_t):
    return (1 - abar_s) / (1 - abar_t) * (1 - alpha)


def ancestral(i, t, s, times, schedule):
    """In x̄ = x / √ᾱ: an Euler step to σ_down, and noise up to σ̂_s."""
    abar_t, abar_s = alpha_bar(schedule, t), alpha_bar(schedule, s)
    from_, to = math.sqrt(1 / abar_t - 1), math.sqrt(1 / abar_s - 1)
    up = math.sqrt(to**2 * (from_**2 - to**2) / from_**2)
    down = math.sqrt(to**2 - up**2)
    turn, offset = eps_of(schedule, t)
    on_x = math.sqrt(abar_s) * (ONE / math.sqrt(abar_t) + (down - from_) * turn)
    return on_x, NONE, math.sqrt(abar_s) * (down - from_) * offset, abar_s * up**2 * ONE


def sde_2m(i, t, s, times, schedule):
    """Lu et al. 2022 (DPM-Solver++), appendix D, in λ, with the difference of the last two x̂_0 in place of a derivative."""
    abar_t, abar_s = alpha_bar(schedule, t), alpha_bar(schedule, s)
    gain, shift = x_0_of(schedule, t)
    if s == 0:
        return gain, NONE, shift, NONE

    def half_log_snr(level):
        return 0.5 * math.log(alpha_bar(schedule, level) / (1 - alpha_bar(schedule, level)))

    h = half_log_snr(s) - half_log_snr(t)
    ahead = 0.0 if i == 0 else h / (2 * (half_log_snr(t) - half_log_snr(times[i - 1])))
    keep = math.sqrt((1 - abar_s) / (1 - abar_t)) * math.exp(-h)
    new = math.sqrt(abar_s) * (1 - math.exp(-2 * h))
    noise = (1 - abar_s) * (1 - math.exp(-2 * h)) * ONE
    return keep * ONE + new * (1 + ahead) * gain, -new * ahead * ONE, new * (1 + ahead) * shift, noise


CHURN = 5.0


def churned(second_order):
    """Karras et al. 2022, algorithm 2: noise up to σ' = (1 + γ) σ̂_t, then Euler's step to σ̂_s, or Heun's; all in x̄ = x / √ᾱ."""

    def steps(i, t, s, times, schedule):
        abar_t, abar_s = alpha_bar(schedule, t), alpha_bar(schedule, s)
        from_, to = math.sqrt(1 / abar_t - 1), math.sqrt(1 / abar_s - 1)
        most = math.sqrt(1 / schedule.alphas_cumprod[-1].item() - 1)
        hat = min(from_ * (1 + min(CHURN / (len(times) - 1), math.sqrt(2) - 1)), most)
        scale = 1 / math.sqrt(1 + hat**2)  # √ᾱ at the noisier level
        turn, offset = (part for part in eps_of(schedule, schedule.level(hat)))
        turn = turn * scale  # of x̄
        on_x, shift = ONE + (to - hat) * turn, (to - hat) * offset
        if second_order and s > 0:
            turn_s, offset_s = eps_of(schedule, s)
            turn_s = turn_s * math.sqrt(abar_s)
            on_x, shift = (
                ONE + (to - hat) / 2 * (turn + turn_s @ on_x),
                (to - hat) / 2 * (offset + turn_s @ shift + offset_s),
            )
        noise = abar_s * (hat**2 - from_**2) * on_x @ on_x.T
        return on_x * math.sqrt(abar_s / abar_t), NONE, math.sqrt(abar_s) * shift, noise

    return steps


CASES = {
    "ddim": (samplers.ddim, {}, non_markovian(0)),
    "ddim, half": (samplers.ddim, {"eta": 0.5}, non_markovian(0.5)),
    "ddim, full": (samplers.ddim, {"eta": 1.0}, non_markovian(1)),
    "ddpm": (samplers.ddpm, {}, markovian(posterior)),
    "ddpm, beta": (samplers.ddpm, {"variance": "beta"}, markovian(beta)),
    "euler": (samplers.euler, {}, non_markovian(0)),
    "euler, churned": (samplers.euler, {"churn": CHURN}, churned(second_order=False)),
    "euler_ancestral": (samplers.euler_ancestral, {}, ancestral),
    "heun, churned": (samplers.heun, {"churn": CHURN}, churned(second_order=True)),
    "dpm_solver_pp, sde of order 1": (samplers.dpm_solver_pp, {"stochastic": True, "order": 1}, non_markovian(1)),
    "dpm_solver_pp, sde": (samplers.dpm_solver_pp, {"stochastic": True}, sde_2m),
}
ANCESTRAL = ("ddim, full", "ddpm", "ddpm, beta", "euler_ancestral", "dpm_solver_pp, sde of order 1")


def check_law(x, mean, covariance):
    """Each entry of the sample's mean and covariance within five of its standard errors (Wishart's, for the covariance)."""
    n, variance = len(x), covariance.diagonal()
    assert ((x.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    error = ((variance[:, None] * variance + covariance**2) / n).sqrt()
    assert ((x.T.cov() - covariance).abs() < 5 * error).all()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("case", CASES)
def test_a_sampler_draws_from_its_own_exact_law(case, grid, generator):
    sampler, options, steps = CASES[case]
    x_T = torch.randn(30_000, 2, generator=generator, dtype=f64)
    x = samplers.final(sampler(DENOISE, SCHEDULE, x_T, GRIDS[grid], generator=generator, **options))
    check_law(x, *law(GRIDS[grid], steps))


@pytest.mark.parametrize("case", ["ddim", *ANCESTRAL, "dpm_solver_pp, sde"])
def test_the_law_is_exact_where_nothing_is_left_at_T_too(case, generator):
    sampler, options, steps = CASES[case]
    if case in ("euler_ancestral", "dpm_solver_pp, sde"):  # written with σ̂_T and λ_T, which are infinite there
        steps = {"euler_ancestral": non_markovian(1), "dpm_solver_pp, sde": sde_from_nothing}[case]
    schedule = SCHEDULE.zero_terminal_snr()
    denoise = oracles.gaussian(schedule, MEAN, COVARIANCE)
    x_T = torch.randn(30_000, 2, generator=generator, dtype=f64)
    x = samplers.final(sampler(denoise, schedule, x_T, GRIDS["ten"], generator=generator, **options))
    check_law(x, *law(GRIDS["ten"], steps, schedule))


def sde_from_nothing(i, t, s, times, schedule):
    """The first step, over an infinite h, and the next, for which the last h was: both have order 1, which is DDPM's step."""
    return (sde_2m if i > 1 else non_markovian(1))(i, t, s, times, schedule)


def distance(times, steps, schedule):
    mean, covariance = law(times, steps, schedule)
    return max((mean - MEAN).abs().max().item(), (covariance - COVARIANCE).abs().max().item())


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("ddim", "euler")])
def test_the_law_s_distance_from_the_data_falls_as_one_over_the_steps(case):
    """On grids that are even in t, down to clean data, of a fine schedule; else the laws above would prove nothing about the data.

    2M's law falls faster: it knows where x̂_0 is going.
    """
    schedule = schedules.linear()
    coarse, fine = (distance(samplers.times(1000, steps), CASES[case][2], schedule) for steps in (100, 200))
    order = math.log2(coarse / fine)
    assert order > 0.85
    assert order < 1.15 or case == "dpm_solver_pp, sde"


@pytest.mark.parametrize("grid", GRIDS)
def test_four_names_are_one_law(grid):
    """DDIM with η = 1, DDPM with β̃, Euler's ancestral steps, and the first-order SDE of DPM-Solver++."""
    mean, covariance = law(GRIDS[grid], markovian(posterior))
    for steps in (non_markovian(1), ancestral):
        for ours, theirs in zip(law(GRIDS[grid], steps), (mean, covariance), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("one", "other"), [
    (samplers.euler, samplers.ddim),
    (lambda *args, **kwargs: samplers.dpm_solver_pp(*args, order=1, **kwargs), samplers.ddim),
    (samplers.euler_ancestral, lambda *args, **kwargs: samplers.ddim(*args, eta=1, **kwargs)),
    (lambda *args, **kwargs: samplers.dpm_solver_pp(*args, order=1, stochastic=True, **kwargs), samplers.ddpm),
])  # fmt: skip
def test_and_with_the_same_noise_they_are_one_path(one, other):
    def path(sampler):
        x_T = torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=f64)
        run = sampler(DENOISE, SCHEDULE, x_T, GRIDS["uneven"], generator=torch.Generator().manual_seed(2))
        return torch.stack([step.x_t for step in run])

    torch.testing.assert_close(path(one), path(other), rtol=0, atol=1e-12)
