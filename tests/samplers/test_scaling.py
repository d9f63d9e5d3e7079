"""Every schedule is a rescaled variance-preserving schedule, and every sampler gives the same result in both scales.

x_t = signal_t x_0 + noise_t ε, divided by c_t = √(signal_t² + noise_t²), has scales whose squares sum to 1: it is x_t of the schedule with
ᾱ_t = signal_t² / (signal_t² + noise_t²). Both schedules have the same σ̂ at each integer level, but not between integers, where they
interpolate differently. So the levels here are integers, and churn, which chooses its levels by σ̂, is compared at equal σ̂.
"""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import oracles, prediction, schedules

f64 = torch.float64
OTHERS = {
    "flow": schedules.flow(100),
    "flow, shifted": schedules.flow(100, shift=3),
    "variance exploding": schedules.variance_exploding(100, 0.01, 50.0),
}
EVERY_SCHEDULE = pytest.mark.parametrize("schedule", OTHERS.values(), ids=OTHERS)
CASES = {
    **{name: (sampler, {}) for name, sampler in samplers.BY_NAME.items()},
    "ddim, half": (samplers.ddim, {"eta": 0.5}),
    "ddim, full": (samplers.ddim, {"eta": 1.0}),
    "ddpm, beta": (samplers.ddpm, {"variance": "beta"}),
    "dpm_solver_pp, order 1": (samplers.dpm_solver_pp, {"order": 1}),
    "dpm_solver_pp, sde of order 1": (samplers.dpm_solver_pp, {"order": 1, "stochastic": True}),
    "plms, averaged": (samplers.plms, {"warmup": "averaged"}),
    "euler, churned": (samplers.euler, {"churn": 5.0}),
    "heun, churned": (samplers.heun, {"churn": 5.0}),
}
TIMES = [100, 80, 55, 54, 20, 3, 0]


def variance_preserving(schedule):
    alphas_cumprod = schedule.signal**2 / (schedule.signal**2 + schedule.noise**2)
    return schedules.from_betas(1 - alphas_cumprod[1:] / alphas_cumprod[:-1])


def scale(schedule, t):
    """The factor c_t between the two scales."""
    signal, noise = schedule.at(t, like=torch.zeros(1, dtype=f64))
    return (signal**2 + noise**2).sqrt()


def a_denoiser(schedule):
    """A denoiser that is exact for no data: the theorem holds for every denoiser."""

    def network(x_t, t):
        return torch.sin(1.3 * x_t / scale(schedule, t[0].item()) + t[:, None] / 20) + 0.1 * x_t

    return prediction.as_denoiser(network, schedule, "u")


def through_scale(denoise, schedule):
    """The variance-preserving denoiser D(c_t x_t, t), for D = `denoise` at the level with the same σ̂."""

    def predict(x_t, t):
        if t != round(t):
            signal, noise = schedule.at(t, like=torch.zeros(1, dtype=f64))
            t = denoise.schedule.level((noise / signal).item())
        return denoise(scale(denoise.schedule, t) * x_t, t)

    return prediction.Denoiser(schedule, predict)


@EVERY_SCHEDULE
def test_the_scaled_schedule_has_the_same_sigma(schedule):
    preserving = variance_preserving(schedule)
    assert_close(preserving.karras_sigmas, schedule.karras_sigmas, rtol=1e-9, atol=0)
    assert_close(
        preserving.signal, schedule.signal / (schedule.signal**2 + schedule.noise**2).sqrt(), rtol=1e-9, atol=0
    )


@EVERY_SCHEDULE
def test_the_exact_denoiser_of_the_same_data_is_the_other_seen_through_the_scale(schedule, generator):
    data = (
        torch.tensor([0.3, 0.7], dtype=f64),
        torch.randn(2, 2, generator=generator, dtype=f64),
        torch.rand(2).double(),
    )
    preserving = variance_preserving(schedule)
    ours, seen = oracles.mixture(preserving, *data), through_scale(oracles.mixture(schedule, *data), preserving)
    x_t = torch.randn(5, 2, generator=generator, dtype=f64)
    for t in (100, 60, 3, 1):
        assert_close(ours(x_t, t), seen(x_t, t), rtol=1e-9, atol=1e-9)


@EVERY_SCHEDULE
@pytest.mark.parametrize("case", CASES)
def test_a_sampler_takes_the_same_path_in_both_scales(case, schedule):
    sampler, options = CASES[case]
    refused_at_T = {"churn", "warmup"} & set(options)  # the signal is 0 at T
    times = TIMES[1:] if refused_at_T else TIMES
    denoise, preserving = a_denoiser(schedule), variance_preserving(schedule)
    x = torch.randn(4, 2, dtype=f64, generator=torch.Generator().manual_seed(1))
    run = partial(sampler, times=times, **options)
    ours = run(denoise, scale(schedule, times[0]) * x, generator=torch.Generator().manual_seed(2))
    theirs = run(through_scale(denoise, preserving), x, generator=torch.Generator().manual_seed(2))
    for one, other in zip(ours, theirs, strict=True):
        assert one.t == other.t
        assert_close(one.x_t / scale(schedule, one.t), other.x_t, rtol=0, atol=1e-9)
        assert_close(one.x_0, other.x_0, rtol=0, atol=1e-9)


@EVERY_SCHEDULE
@pytest.mark.parametrize("end", [3, 0])
def test_and_so_does_ddim_s_inversion(schedule, end):
    denoise, preserving, times = a_denoiser(schedule), variance_preserving(schedule), [80, 55, 20, 4, end]
    x = torch.randn(4, 2, dtype=f64, generator=torch.Generator().manual_seed(1))
    ours = samplers.ddim_inversion(denoise, scale(schedule, end) * x, times)
    theirs = samplers.ddim_inversion(through_scale(denoise, preserving), x, times)
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one.x_t / scale(schedule, one.t), other.x_t, rtol=0, atol=1e-9)


def test_where_a_sampler_begins_below_T_is_a_convention_and_does_not_commute():
    """Flow matching begins with noise_t ε. The rescaled, variance-preserving schedule begins with ε, which has variance 1."""
    flow = OTHERS["flow"]
    preserving = variance_preserving(flow)
    assert flow.prior_std(100) / scale(flow, 100).item() == preserving.prior_std(100) == 1
    assert flow.prior_std(60) / scale(flow, 60).item() == pytest.approx(0.6 / 0.52**0.5)
    assert preserving.prior_std(60) == 1
