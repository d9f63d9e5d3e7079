"""Samplers compared with their exact distributions, on variance-preserving and other schedules.

For Gaussian data the exact denoiser is linear in x_t. A sampler's x is then Gaussian, and its mean and covariance obey a recursion. The
recursion is computed here from the definition of each method in its paper, in signal and noise, not from the sampler's code. Its state is
the pair of x_t and the x̂_0 of the previous step, which multistep methods use.
"""

import itertools
import math
from functools import cache

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import oracles, schedules

f64 = torch.float64
LINEAR, FLOW, SHIFTED = schedules.linear(100, 0.001, 0.15), schedules.flow(100), schedules.flow(100, shift=3)
EXPLODING = schedules.variance_exploding(100, 0.05, 20.0)
EMPTY = LINEAR.zero_terminal_snr()
NAMES = {LINEAR: "linear", FLOW: "flow", SHIFTED: "flow, shifted", EXPLODING: "exploding", EMPTY: "zero terminal SNR"}
MEAN = torch.tensor([0.8, -0.5], dtype=f64)
COVARIANCE = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=f64)
GRIDS = {
    "all": samplers.times(100, 100),
    "ten": samplers.times(100, 10),
    "uneven": [100, 60, 59, 20, 3, 1, 0],
    "below T": [60, 45, 31, 30, 12, 2, 0],
}
RUNS = [(LINEAR, grid) for grid in GRIDS] + [
    (FLOW, "ten"), (FLOW, "below T"), (SHIFTED, "uneven"), (SHIFTED, "below T"), (EXPLODING, "ten"), (EMPTY, "ten"),
]  # fmt: skip
ONE, NONE = torch.eye(2, dtype=f64), torch.zeros(2, 2, dtype=f64)


@cache
def scales(schedule, t):
    return tuple(scale.item() for scale in schedule.at(t, like=torch.zeros(1, dtype=f64)))


def sigma_hat(schedule, t):
    signal, noise = scales(schedule, t)
    return noise / signal if signal else math.inf


def lam(schedule, t):
    """λ = log(signal / noise): -∞ where the signal is 0, ∞ at clean data."""
    signal, noise = scales(schedule, t)
    return math.log(signal / noise) if signal and noise else math.copysign(math.inf, signal - noise)


def x_0_of(schedule, t):
    """x̂_0 = G x + g: the regression of x_0 on x_t."""
    signal, noise = scales(schedule, t)
    gain = signal * COVARIANCE @ torch.linalg.inv(signal**2 * COVARIANCE + noise**2 * ONE)
    return gain, MEAN - signal * gain @ MEAN


def eps_of(schedule, t):
    """ε̂ = E x + e: the regression of ε on x_t; their covariance is noise_t."""
    signal, noise = scales(schedule, t)
    gain = noise * torch.linalg.inv(signal**2 * COVARIANCE + noise**2 * ONE)
    return gain, -signal * gain @ MEAN


def begin(schedule, t):
    """The variance from which a sampler begins: 1 for variance-preserving schedules, otherwise noise_t²."""
    return 1.0 if isinstance(schedule, schedules.NoiseSchedule) else scales(schedule, t)[1] ** 2


def law(times, steps, schedule, variance=None):
    """Mean and covariance of the last x, begun from N(0, variance). `steps` returns A, P, b, Q of x_s = A x_t + P x̂_0' + b + N(0, Q)."""
    variance = begin(schedule, times[0]) if variance is None else variance
    mean, covariance = torch.zeros(4, dtype=f64), torch.block_diag(variance * ONE, NONE)
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        on_x, on_past, shift, noise = steps(i, t, s, times, schedule)
        gain, remembered = x_0_of(schedule, t)
        matrix = torch.cat([torch.cat([on_x, on_past], dim=1), torch.cat([gain, NONE], dim=1)])
        mean = matrix @ mean + torch.cat([shift, remembered])
        covariance = matrix @ covariance @ matrix.T + torch.block_diag(noise, NONE)
    return mean[:2], covariance[:2, :2]


def non_markovian(eta):
    """Song et al. 2021, eq. 12: x_s = signal_s x̂_0 + √(noise_s² - σ²) ε̂ + σ z, with σ = η √Var[x_s | x_t, x_0]."""

    def steps(i, t, s, times, schedule):
        signal_s, noise_s = scales(schedule, s)
        variance = eta**2 * posterior_of(schedule, t, s)[2]
        (gain, shift), (turn, offset) = x_0_of(schedule, t), eps_of(schedule, t)
        direction = math.sqrt(max(noise_s**2 - variance, 0))
        return signal_s * gain + direction * turn, NONE, signal_s * shift + direction * offset, variance * ONE

    return steps


def posterior_of(schedule, t, s):
    """Weights of x_0 and x_t in the mean of x_s, and its variance, by Bayes' rule: x_s ~ N(signal_s x_0, noise_s²), x_t = r x_s + N(0, β)."""
    (signal_t, noise_t), (signal_s, noise_s) = scales(schedule, t), scales(schedule, s)
    r = signal_t / signal_s
    beta = noise_t**2 - r**2 * noise_s**2
    gain = r * noise_s**2 / (r**2 * noise_s**2 + beta)
    return signal_s * (1 - gain * r), gain, noise_s**2 * (1 - gain * r)


def markovian(variance_of):
    """Ho et al. 2020, algorithm 2 with eq. 7: the posterior's mean, with noise of a given variance."""

    def steps(i, t, s, times, schedule):
        on_x_0, on_x_t, _ = posterior_of(schedule, t, s)
        gain, shift = x_0_of(schedule, t)
        variance = variance_of(schedule, t, s) if s else 0.0
        return on_x_0 * gain + on_x_t * ONE, NONE, on_x_0 * shift, variance * ONE

    return steps


def of_known_data(schedule, t, s):
    """β̃: the variance of x_s given x_t and x_0."""
    return posterior_of(schedule, t, s)[2]


def of_normal_data(schedule, t, s):
    """The variance of x_s given x_t for standard normal x_0: Var[x_s] - Cov[x_s, x_t]² / Var[x_t]; β for variance-preserving schedules."""
    (signal_t, noise_t), (signal_s, noise_s) = scales(schedule, t), scales(schedule, s)
    together = signal_s * signal_t + signal_t / signal_s * noise_s**2
    return signal_s**2 + noise_s**2 - together**2 / (signal_t**2 + noise_t**2)


def ancestral(i, t, s, times, schedule):
    """In x̄ = x / signal: an Euler step from σ̂_t to σ_down, then noise up to σ̂_s."""
    signal_s, _ = scales(schedule, s)
    from_, to = sigma_hat(schedule, t), sigma_hat(schedule, s)
    up = to * math.sqrt(1 - (to / from_) ** 2)
    down = math.sqrt(to**2 - up**2)
    (gain, shift), (turn, offset) = x_0_of(schedule, t), eps_of(schedule, t)
    return signal_s * (gain + down * turn), NONE, signal_s * (shift + down * offset), signal_s**2 * up**2 * ONE


def sde_2m(i, t, s, times, schedule):
    """Lu et al. 2022 (DPM-Solver++), appendix D, in λ, with the difference of the last two x̂_0 in place of a derivative.

    Where a step in λ is infinite, the difference has weight 0: the step has order 1, as in DDPM.
    """
    (_, noise_t), (signal_s, noise_s) = scales(schedule, t), scales(schedule, s)
    gain, shift = x_0_of(schedule, t)
    h = lam(schedule, s) - lam(schedule, t)
    last_h = lam(schedule, t) - lam(schedule, times[i - 1]) if i else math.inf
    ahead = 0.0 if math.isinf(h) else h / (2 * last_h)
    keep = noise_s / noise_t * math.exp(-h)
    new = signal_s * (1 - math.exp(-2 * h))
    noise = noise_s**2 * (1 - math.exp(-2 * h)) * ONE
    return keep * ONE + new * (1 + ahead) * gain, -new * ahead * ONE, new * (1 + ahead) * shift, noise


CHURN = 5.0


def churned(second_order):
    """Karras et al. 2022, algorithm 2: noise up to σ' = (1 + γ) σ̂_t, then Euler's step to σ̂_s, or Heun's; all in x̄ = x / signal."""

    def slope(sigma):
        """ε̂ = E x̄ + e, for any schedule."""
        turn = sigma * torch.linalg.inv(COVARIANCE + sigma**2 * ONE)
        return turn, -turn @ MEAN

    def steps(i, t, s, times, schedule):
        (signal_t, _), (signal_s, _) = scales(schedule, t), scales(schedule, s)
        from_, to = sigma_hat(schedule, t), sigma_hat(schedule, s)
        most = max(sigma for sigma in schedule.karras_sigmas.tolist() if sigma < math.inf)
        hat = min(from_ * (1 + min(CHURN / (len(times) - 1), math.sqrt(2) - 1)), most)
        turn, offset = slope(hat)
        on_x, shift = ONE + (to - hat) * turn, (to - hat) * offset
        if second_order and s > 0:
            turn_s, offset_s = slope(to)
            on_x, shift = (
                ONE + (to - hat) / 2 * (turn + turn_s @ on_x),
                (to - hat) / 2 * (offset + turn_s @ shift + offset_s),
            )
        noise = signal_s**2 * (hat**2 - from_**2) * on_x @ on_x.T
        return on_x * signal_s / signal_t, NONE, signal_s * shift, noise

    return steps


CASES = {
    "ddim": (samplers.ddim, {}, non_markovian(0)),
    "ddim, half": (samplers.ddim, {"eta": 0.5}, non_markovian(0.5)),
    "ddim, full": (samplers.ddim, {"eta": 1.0}, non_markovian(1)),
    "ddpm": (samplers.ddpm, {}, markovian(of_known_data)),
    "ddpm, beta": (samplers.ddpm, {"variance": "beta"}, markovian(of_normal_data)),
    "euler": (samplers.euler, {}, non_markovian(0)),
    "euler, churned": (samplers.euler, {"churn": CHURN}, churned(second_order=False)),
    "euler_ancestral": (samplers.euler_ancestral, {}, ancestral),
    "heun, churned": (samplers.heun, {"churn": CHURN}, churned(second_order=True)),
    "dpm_solver_pp, sde of order 1": (samplers.dpm_solver_pp, {"stochastic": True, "order": 1}, non_markovian(1)),
    "dpm_solver_pp, sde": (samplers.dpm_solver_pp, {"stochastic": True}, sde_2m),
}


def allowed(case, schedule, t):
    """Whether the case may begin at t: churn needs signal > 0."""
    return "churned" not in case or scales(schedule, t)[0] > 0


def sample(sampler, schedule, times, generator, std, **options):
    denoise = oracles.gaussian(schedule, MEAN, COVARIANCE)
    x = std * torch.randn(12_000, 2, generator=generator, dtype=f64)
    return samplers.final(sampler(denoise, x, times, generator=generator, **options))


def agrees(x, mean, covariance):
    """Whether the sample's mean and covariance are within five standard errors (Wishart's for the covariance)."""
    n, variance = len(x), covariance.diagonal()
    error = ((variance[:, None] * variance + covariance**2) / n).sqrt()
    right_mean = ((x.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    return bool(right_mean and ((x.T.cov() - covariance).abs() < 5 * error).all())


@pytest.mark.parametrize(("case", "schedule", "grid"), [
    pytest.param(case, schedule, grid, id=f"{case}-{NAMES[schedule]}-{grid}")
    for case in CASES
    for schedule, grid in RUNS
    if allowed(case, schedule, GRIDS[grid][0])
])  # fmt: skip
def test_a_sampler_draws_from_its_own_exact_law(case, schedule, grid, generator):
    sampler, options, steps = CASES[case]
    times = GRIDS[grid]
    x = sample(sampler, schedule, times, generator, schedule.prior_std(times[0]), **options)
    assert agrees(x, *law(times, steps, schedule))


@pytest.mark.parametrize("schedule", NAMES, ids=NAMES.values())
def test_ddpm_with_beta_is_exact_for_standard_normal_data_whatever_the_steps(schedule, generator):
    denoise = oracles.gaussian(schedule, torch.zeros(2, dtype=f64), ONE)
    std_100, std_20 = (math.hypot(*scales(schedule, t)) for t in (100, 20))
    x = std_100 * torch.randn(12_000, 2, generator=generator, dtype=f64)
    x = samplers.final(samplers.ddpm(denoise, x, [100, 60, 20], generator=generator, variance="beta"))
    assert agrees(x, torch.zeros(2, dtype=f64), std_20**2 * ONE)


@pytest.mark.parametrize("case", CASES)
def test_a_start_below_T_needs_x_scaled_by_noise_t_else_the_law_is_another(case, generator):
    sampler, options, steps = CASES[case]
    times = [60, 30, 0]
    x = sample(sampler, FLOW, times, generator, 1.0, **options)
    assert agrees(x, *law(times, steps, FLOW, variance=1.0))
    assert not agrees(x, *law(times, steps, FLOW))


@pytest.mark.parametrize("case", ["ddim", "ddim, half", "ddpm"])
def test_and_further_from_the_data(case):
    scaled, unscaled = (law(range(60, -1, -1), CASES[case][2], FLOW, variance) for variance in (None, 1.0))
    assert distance(*scaled) < distance(*unscaled)


def distance(mean, covariance):
    return max((mean - MEAN).abs().max().item(), (covariance - COVARIANCE).abs().max().item())


@pytest.mark.parametrize(("case", "schedule"), [
    (case, schedule)
    for schedule in (schedules.linear(), schedules.flow())
    for case in CASES
    if case not in ("ddim", "euler") and allowed(case, schedule, 1000)
])  # fmt: skip
def test_the_law_s_distance_from_the_data_falls_as_one_over_the_steps(case, schedule):
    """The exact distributions above approach the data's, on levels evenly spaced in t down to clean data.

    The distance of 2M falls faster, because it extrapolates x̂_0. Runs that begin below T, as churn must on flow, do not approach the data.
    """
    steps = CASES[case][2]
    coarse, fine = (distance(*law(samplers.times(1000, count), steps, schedule)) for count in (100, 200))
    order = math.log2(coarse / fine)
    assert order > 0.85
    assert order < 1.15 or case == "dpm_solver_pp, sde"


@pytest.mark.parametrize("schedule", [LINEAR, FLOW, SHIFTED, EXPLODING, EMPTY])
@pytest.mark.parametrize("grid", GRIDS)
def test_four_names_are_one_law(grid, schedule):
    """DDIM with η = 1, DDPM with β̃, ancestral Euler and the first-order SDE of DPM-Solver++ have the same distribution."""
    mean, covariance = law(GRIDS[grid], markovian(of_known_data), schedule)
    for steps in (non_markovian(1), ancestral):
        for ours, theirs in zip(law(GRIDS[grid], steps, schedule), (mean, covariance), strict=True):
            assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", [LINEAR, FLOW, SHIFTED, EXPLODING, EMPTY])
@pytest.mark.parametrize(("one", "other"), [
    (samplers.euler, samplers.ddim),
    (lambda *args, **kwargs: samplers.dpm_solver_pp(*args, order=1, **kwargs), samplers.ddim),
    (samplers.euler_ancestral, lambda *args, **kwargs: samplers.ddim(*args, eta=1, **kwargs)),
    (lambda *args, **kwargs: samplers.dpm_solver_pp(*args, order=1, stochastic=True, **kwargs), samplers.ddpm),
])  # fmt: skip
def test_and_with_the_same_noise_they_are_one_path(one, other, schedule):
    def path(sampler):
        x_T = schedule.prior_std(100) * torch.randn(5, 2, generator=torch.Generator().manual_seed(1), dtype=f64)
        denoise = oracles.gaussian(schedule, MEAN, COVARIANCE)
        run = sampler(denoise, x_T, GRIDS["uneven"], generator=torch.Generator().manual_seed(2))
        return torch.stack([step.x_t for step in run])

    assert_close(path(one), path(other), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("schedule", "shift"), [(FLOW, 1), (SHIFTED, 3)])
def test_on_flow_ddim_is_euler_s_method_on_the_velocity(schedule, shift, generator):
    """x_s = x_t + (τ_s - τ_t) û, û = ε̂ - x̂_0."""
    denoise = oracles.gaussian(schedule, MEAN, COVARIANCE)
    x = torch.randn(5, 2, generator=generator, dtype=f64)
    run = samplers.ddim(denoise, x, GRIDS["uneven"])
    for (t, s), step in zip(itertools.pairwise(GRIDS["uneven"]), run, strict=True):
        tau_t, tau_s = (shift * u / (1 + (shift - 1) * u) for u in (t / 100, s / 100))
        x_0, eps = denoise(x, t)
        x = x + (tau_s - tau_t) * (eps - x_0)
        assert_close(step.x_t, x, rtol=0, atol=1e-12)
