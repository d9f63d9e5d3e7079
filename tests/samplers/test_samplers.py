"""What all samplers have in common. test_laws.py tests their exact distributions, test_orders.py how fast they converge."""

import math

import jaxtyping
import pytest
import torch
from torch.testing import assert_close

from minidiff import guidance, noise, samplers
from minidiff.diffusion import oracles, prediction, schedules
from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.diffusion.schedules import Scales

f64 = torch.float64
LINEAR, FLOW = schedules.linear(100, 0.001, 0.15), schedules.flow(100)
EMPTY = LINEAR.zero_terminal_snr()  # the signal is 0 at its last level, as in FLOW
MEAN, VARIANCE = 0.8, 0.3
GRIDS = {"all": samplers.times(100, 100), "ten": samplers.times(100, 10), "uneven": [100, 60, 59, 20, 3, 1, 0]}
EVERY = pytest.mark.parametrize("sampler", samplers.BY_NAME.values(), ids=samplers.BY_NAME)
BOTH = pytest.mark.parametrize("schedule", [LINEAR, FLOW], ids=["linear", "flow"])
NOTHING_LEFT = pytest.mark.parametrize("schedule", [FLOW, EMPTY], ids=["flow", "zero terminal SNR"])


def gaussian(schedule):
    return oracles.gaussian(schedule, torch.tensor([MEAN], dtype=f64), torch.tensor([VARIANCE], dtype=f64))


DENOISE = gaussian(LINEAR)


def spy(denoise, record):
    """The same denoiser, which passes its arguments to `record`."""

    def predict(x_t, t):
        record(x_t, t)
        return denoise(x_t, t)

    return Denoiser(denoise.schedule, predict)


@BOTH
@EVERY
def test_a_data_set_s_exact_denoiser_can_only_recall(sampler, schedule, generator):
    points = torch.randn(8, 2, generator=generator, dtype=f64)
    x_T = torch.randn(64, 2, generator=generator, dtype=f64)
    *_, last = sampler(oracles.dataset(schedule, points), x_T, GRIDS["all"], generator=generator)
    x = last.x_0 if sampler is samplers.plms else last.x_t  # PLMS also weighs earlier predictions, and ends beside x̂_0
    assert torch.cdist(x, points).min(1).values.max() < 1e-6
    assert len(torch.cdist(x, points).argmin(1).unique()) >= 6


@BOTH
@EVERY
def test_steps_tell_level_and_x_0_and_end_at_the_last_x_0(sampler, schedule, generator):
    x = torch.randn(3, 1, generator=generator, dtype=f64)
    denoise = gaussian(schedule)
    steps = list(sampler(denoise, x, GRIDS["uneven"], generator=generator))
    assert [step.t for step in steps] == GRIDS["uneven"][1:]
    if sampler is not samplers.plms:
        assert_close(steps[-1].x_t, steps[-1].x_0)
    assert_close(steps[0].x_0, denoise(x, 100).x_0)


@EVERY
def test_an_image_does_not_depend_on_its_batch(sampler):
    def draw(seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        x = noise.randn_like(torch.zeros(len(seeds), 1, dtype=f64), generators)
        return samplers.final(sampler(DENOISE, x, GRIDS["ten"], generator=generators))

    assert_close(draw([3, 4, 5])[1], draw([4])[0])


@EVERY
@pytest.mark.parametrize("callers", [True, False])
def test_no_gradient_is_recorded_within_a_step_and_between_steps_the_caller_s_mode_holds(sampler, callers, generator):
    weight = torch.ones(1, requires_grad=True, dtype=f64)
    within = []

    def predict(x_t, t):
        within.append(torch.is_grad_enabled())
        return Prediction(weight * x_t, x_t)

    x = torch.zeros(1, 1, dtype=f64)
    with torch.set_grad_enabled(callers):
        for step in sampler(Denoiser(LINEAR, predict), x, GRIDS["uneven"], generator=generator):
            assert torch.is_grad_enabled() is callers
            assert not step.x_t.requires_grad
            assert not step.x_0.requires_grad
    assert len(within) >= 6
    assert not any(within)


@EVERY
def test_a_constraint_is_what_the_next_step_goes_on_from(sampler, generator):
    levels, last_asked = [], {}

    def constrain(x, t):
        levels.append(t)
        return torch.full_like(x, float(t))

    denoise = spy(DENOISE, lambda x_t, t: last_asked.update({t: x_t.item()}))
    x = torch.zeros(1, 1, dtype=f64)
    last = samplers.final(sampler(denoise, x, [100, 50, 7, 0], generator=generator, constrain=constrain))
    assert levels == [50, 7, 0]
    assert last_asked == {100: 0, 50: 50, 7: 7}
    assert last.item() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda x, g: samplers.ddim(DENOISE, x, [0, 100]),
        lambda x, g: samplers.ddim(DENOISE, x, [100]),
        lambda x, g: samplers.ddim(DENOISE, x, [50, 50, 0]),
        lambda x, g: samplers.ddim(DENOISE, x, [101, 0]),
        lambda x, g: samplers.ddim(DENOISE, x, [100, -1]),
        lambda x, g: samplers.ddim(DENOISE, x, [100, 0], eta=1.5),
        lambda x, g: samplers.ddim(DENOISE, x, [100, 0], eta=0.5),
        lambda x, g: samplers.ddim(DENOISE, x * math.nan, [100, 0]),
        lambda x, g: samplers.ddim(DENOISE, x.long(), [100, 0]),
        lambda x, g: samplers.ddpm(DENOISE, x, [100, 0]),
        lambda x, g: samplers.ddpm(DENOISE, x, [100, 0], generator=[g]),
        lambda x, g: samplers.ddpm(DENOISE, x, [100, 0], generator=g, variance="large"),
        lambda x, g: samplers.ddim(gaussian(schedules.from_betas([0.5, 1.0, 1.0])), x, [3, 2, 1, 0]),
        lambda x, g: samplers.ddim_inversion(DENOISE, x, [0, 100]),
        lambda x, g: samplers.plms(DENOISE, x, [100, 0], warmup="none"),
        lambda x, g: samplers.plms(DENOISE, x, [50, 0], history=[(50, DENOISE(x, 50))]),
        lambda x, g: samplers.plms(DENOISE, x, [50, 0], history=[(60, DENOISE(x, 60)), (70, DENOISE(x, 70))]),
        lambda x, g: samplers.dpm_solver_pp(DENOISE, x, [100, 0], order=3),
        lambda x, g: samplers.dpm_solver_pp(DENOISE, x, [100, 0], stochastic=True),
        lambda x, g: samplers.dpm_solver_pp(DENOISE, x, [50, 0], history=[(40, DENOISE(x, 40))]),
        lambda x, g: samplers.euler(DENOISE, x, [100, 0], churn=-1.0),
        lambda x, g: samplers.euler(DENOISE, x, [100, 0], churn=1.0),
        lambda x, g: samplers.euler_ancestral(DENOISE, x, [100, 0]),
    ],
)
def test_bad_arguments_are_errors_at_the_call(call, generator):
    with pytest.raises((ValueError, TypeError)):
        call(torch.ones(2, 1, dtype=f64), generator)


@EVERY
def test_a_denoiser_without_a_schedule_is_refused_by_a_line_that_says_how_to_make_one(sampler, generator, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # pytest's type checks would raise first
    x = torch.zeros(1, 1, dtype=f64)
    with pytest.raises(TypeError, match=r"carries its schedule, .*prediction\.as_denoiser\(network, schedule"):
        sampler(lambda x_t, t: DENOISE(x_t, t), x, [100, 0], generator=generator)


def test_a_used_up_sampler_has_no_final():
    steps = samplers.ddim(DENOISE, torch.zeros(1, 1, dtype=f64), [100, 0])
    samplers.final(steps)
    with pytest.raises(ValueError, match="no steps left"):
        samplers.final(steps)


@pytest.mark.parametrize(("sampler", "options", "schedule", "calls"), [
    (samplers.ddim, {}, LINEAR, 10),
    (samplers.plms, {}, LINEAR, 10),
    (samplers.plms, {"warmup": "averaged"}, LINEAR, 11),
    (samplers.dpm_solver_pp, {}, LINEAR, 10),
    (samplers.euler, {}, LINEAR, 10),
    (samplers.heun, {}, LINEAR, 19),
    (samplers.heun, {}, FLOW, 18),
])  # fmt: skip
def test_calls_of_the_denoiser_in_ten_steps(sampler, options, schedule, calls):
    seen = []
    denoise = spy(gaussian(schedule), lambda x_t, t: seen.append(t))
    samplers.final(sampler(denoise, torch.zeros(1, 1, dtype=f64), GRIDS["ten"], **options))
    assert len(seen) == calls
    assert 0 not in seen


@BOTH
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_plms_integrates_polynomials_of_sigma_exactly(degree, schedule):
    """The weights of Adams and Bashforth are exact where ε̂ is a polynomial of σ̂. A constant needs no earlier prediction."""
    sigmas = torch.linspace(4, 1, 13, dtype=f64)
    levels = [schedule.level(sigma) for sigma in sigmas.tolist()]
    first = 3 if degree else 0

    def predict(x_t, t):
        signal_t, noise_t = schedule.at(t, like=x_t)
        eps = ((noise_t / signal_t) ** degree).expand_as(x_t)
        return Prediction((x_t - noise_t * eps) / signal_t, eps)

    def signal(t):
        return schedule.at(t, like=sigmas[:1]).signal

    x_bar = torch.tensor([[0.7]], dtype=f64)
    x_t = signal(levels[first]) * x_bar
    history = [(level, predict(x_t, level)) for level in levels[:first]]
    x = samplers.final(samplers.plms(Denoiser(schedule, predict), x_t, levels[first:], history=history))
    exact = x_bar + (sigmas[-1] ** (degree + 1) - sigmas[first] ** (degree + 1)) / (degree + 1)
    assert_close(x / signal(levels[-1]), exact, rtol=0, atol=1e-10)


@BOTH
def test_ddim_there_and_back_nears_where_it_began_as_steps_grow(schedule):
    """The inversion predicts at the level where each step begins, so the error of a round trip is of order 1 / steps."""
    x_0 = torch.tensor([[-0.3], [0.9], [1.4]], dtype=f64)
    denoise, asked = gaussian(schedule), []

    def error(steps):
        times = samplers.times(100, steps)
        up = samplers.ddim_inversion(spy(denoise, lambda x_t, t: asked.append(t)), x_0, times)
        return (samplers.final(samplers.ddim(denoise, samplers.final(up), times)) - x_0).abs().max().item()

    assert 1.6 < error(25) / error(50) < error(50) / error(100) < 2
    assert min(asked) > 0


def test_inversion_visits_the_levels_from_below():
    steps = list(samplers.ddim_inversion(DENOISE, torch.ones(1, 1, dtype=f64), [100, 50, 7, 0]))
    assert [step.t for step in steps] == [7, 50, 100]


@BOTH
@pytest.mark.parametrize("sampler", [samplers.euler, samplers.heun])
@pytest.mark.parametrize(("churn", "from_", "times_sigma"), [(0.6, 60, 1.3), (5.0, 60, math.sqrt(2)), (5.0, 99, None)])
def test_churn_asks_at_a_noisier_level_to_which_noise_has_led(churn, from_, times_sigma, sampler, schedule):
    """In x̄ = x / signal, σ̂ grows by the factor 1 + churn / N, at most by √2 and at most to the last finite σ̂."""
    asked, x = [], torch.tensor([[0.4], [-0.9]], dtype=f64)
    denoise = spy(gaussian(schedule), lambda x_t, t: asked.append((x_t, t)))
    next(sampler(denoise, x, [from_, 30, 0], churn=churn, generator=torch.Generator().manual_seed(5)))
    (x_asked, t), z = asked[0], torch.randn(2, 1, generator=torch.Generator().manual_seed(5), dtype=f64)
    (signal, noise_), (signal_asked, noise_asked) = schedule.at(from_, like=x), schedule.at(t, like=x)
    sigma, sigma_asked = noise_ / signal, noise_asked / signal_asked
    finite = schedule.karras_sigmas[schedule.karras_sigmas.isfinite()]
    assert_close(sigma_asked, times_sigma * sigma if times_sigma else finite[-1].expand_as(sigma))
    assert_close(x_asked / signal_asked, x / signal + (sigma_asked**2 - sigma**2).sqrt() * z)


# At T, where the signal is 0.


def network(x_t, t):
    return torch.sin(x_t)


def log_probability(x_t, t):
    return -x_t.square().sum(1)


REFUSED = {
    "a network that predicts ε": (
        lambda schedule: samplers.ddim(prediction.as_denoiser(network, schedule, "eps"), START, [100, 50, 0]),
        "predict v, u or x_0, or begin at a lower level",
    ),
    "classifier guidance": (
        lambda schedule: samplers.ddim(guidance.classifier(gaussian(schedule), log_probability, 2), START, [100, 0]),
        "begin to guide at a lower level",
    ),
    "churn": (
        lambda schedule: samplers.euler(gaussian(schedule), START, [100, 0], churn=1.0, generator=torch.Generator()),
        "churn cannot begin at t = 100: the signal is 0 there",
    ),
    "Heun's churn": (
        lambda schedule: samplers.heun(gaussian(schedule), START, [100, 0], churn=1.0, generator=torch.Generator()),
        "churn cannot begin at t = 100: the signal is 0 there",
    ),
    "PLMS's averaged warm-up": (
        lambda schedule: samplers.plms(gaussian(schedule), START, [100, 50, 0], warmup="averaged"),
        "averaged warm-up, cannot begin at t = 100: the signal is 0 there",
    ),
}
START = torch.tensor([[0.3], [-1.2]], dtype=f64)


@NOTHING_LEFT
@pytest.mark.parametrize("what", REFUSED)
def test_refused_where_nothing_of_the_data_is_left(what, schedule):
    call, line = REFUSED[what]
    with pytest.raises(ValueError, match=line):
        samplers.final(call(schedule))


@pytest.mark.parametrize("what", REFUSED)
def test_and_not_refused_where_something_is(what):
    call, _ = REFUSED[what]
    assert samplers.final(call(LINEAR)).isfinite().all()


@NOTHING_LEFT
@pytest.mark.parametrize("prediction_type", ["v", "u", "x_0"])
@EVERY
def test_every_sampler_begins_there_with_a_network_that_predicts_anything_else(
    sampler, prediction_type, schedule, generator
):
    denoise = prediction.as_denoiser(network, schedule, prediction_type)
    assert samplers.final(sampler(denoise, START, [100, 50, 0], generator=generator)).isfinite().all()


@NOTHING_LEFT
def test_there_heun_takes_euler_s_step_with_one_call(schedule):
    seen = []
    first = next(samplers.heun(spy(gaussian(schedule), lambda x_t, t: seen.append(t)), START, [100, 50, 0]))
    assert_close(first, next(samplers.euler(gaussian(schedule), START, [100, 50, 0])))
    assert seen == [100]


# The step functions. Each takes x_t, four tensors like it, and the scales of the level before, of this one and of the next.

STEPS = {
    "ddim": lambda x, a, b, c, z, above, now, next: samplers.ddim_step(x, Prediction(a, b), now, next, z, eta=0.6),
    "ddpm": lambda x, a, b, c, z, above, now, next: samplers.ddpm_step(x, Prediction(a, b), now, next, z),
    "ddpm, beta": lambda x, a, b, c, z, above, now, next: samplers.ddpm_step(
        x, Prediction(a, b), now, next, z, variance="beta"
    ),
    "plms": lambda x, a, b, c, z, above, now, next: samplers.plms_step(x, [a, b, c, z], now, next),
    "dpm_solver_pp": lambda x, a, b, c, z, above, now, next: samplers.dpm_solver_pp_step(
        x, Prediction(a, b), now, next, (above, Prediction(c, z))
    ),
    "dpm_solver_pp_sde": lambda x, a, b, c, z, above, now, next: samplers.dpm_solver_pp_sde_step(
        x, Prediction(a, b), now, next, z, (above, Prediction(c, z))
    ),
    "euler": lambda x, a, b, c, z, above, now, next: samplers.euler_step(x, Prediction(a, b), now, next),
    "euler_ancestral": lambda x, a, b, c, z, above, now, next: samplers.euler_ancestral_step(
        x, Prediction(a, b), now, next, z
    ),
    "heun": lambda x, a, b, c, z, above, now, next: samplers.heun_step(
        x, Prediction(a, b), Prediction(c, z), now, next
    ),
}
EVERY_STEP = pytest.mark.parametrize("name", STEPS)
LEVELS = torch.tensor([[40.0, 81.25, 99.0], [30.0, 81.0, 98.5], [9.0, 12.5, 98.0]], dtype=f64)  # before, now, next

CLOSE = torch.stack([LEVELS[0], LEVELS[1], LEVELS[1] - 1e-4])  # differences of neighbouring scales are small


def five(generator, dtype=f64):
    """Five random tensors of three items each."""
    return [torch.randn(3, 2, generator=generator, dtype=f64).to(dtype) for _ in range(5)]


def scales_of(schedule, levels):
    like = torch.zeros(levels.shape[1], 1, dtype=f64)
    return [schedule.at(level, like=like) for level in levels]


@EVERY_STEP
def test_a_gradient_flows_through_a_step_as_finite_differences_say(name, generator):
    tensors = [tensor.requires_grad_() for tensor in five(generator)]
    scales = scales_of(FLOW, LEVELS)
    assert torch.autograd.gradcheck(lambda *x: STEPS[name](*x, *scales), tensors)


@BOTH
@EVERY_STEP
def test_a_step_with_a_level_an_item_does_to_each_what_it_does_to_that_item_alone(name, schedule, generator):
    tensors = five(generator)
    together = STEPS[name](*tensors, *scales_of(schedule, LEVELS))
    for i in range(3):
        alone = STEPS[name](*(tensor[i : i + 1] for tensor in tensors), *scales_of(schedule, LEVELS[:, i : i + 1]))
        assert_close(together[i : i + 1], alone, rtol=0, atol=1e-14)


def rounding(tensors, dtype):
    """An upper bound of the error of a few roundings of these numbers."""
    return 4 * torch.finfo(dtype).eps * (1 + sum(tensor.double().abs() for tensor in tensors))


@BOTH
@EVERY_STEP
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_keeps_x_s_dtype_and_rounds_only_finished_coefficients(name, dtype, schedule, generator):
    tensors, scales = five(generator, dtype), scales_of(schedule, CLOSE)
    x_s = STEPS[name](*tensors, *scales)
    assert x_s.dtype == dtype
    exact = STEPS[name](*(tensor.double() for tensor in tensors), *scales)
    assert ((x_s.double() - exact).abs() < rounding(tensors, dtype)).all()


@pytest.mark.parametrize("name", ["ddpm", "euler_ancestral", "dpm_solver_pp_sde"])
def test_for_scales_that_are_rounded_to_float32_err_by_more(name, generator):
    tensors, scales = five(generator), scales_of(FLOW, CLOSE)
    rounded = [Scales(*(scale.float().double() for scale in pair)) for pair in scales]
    error = (STEPS[name](*tensors, *rounded) - STEPS[name](*tensors, *scales)).abs()
    assert (error > rounding(tensors, torch.float32)).any()


@BOTH
@pytest.mark.parametrize("name", samplers.BY_NAME)
def test_the_loop_makes_the_step_that_the_step_function_tells(name, schedule):
    denoise, x = gaussian(schedule), torch.tensor([[0.4], [-0.9]], dtype=f64)
    history = [(90, denoise(x + 0.5, 90)), (80, denoise(x - 0.1, 80))]
    above, now, next = (schedule.at(t, like=x) for t in (80, 70, 40))
    said, past = denoise(x, 70), [said for _, said in reversed(history)]
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=f64)
    expected, options = {
        "ddim": (lambda: samplers.ddim_step(x, said, now, next, z, eta=0.7), {"eta": 0.7}),
        "ddpm": (lambda: samplers.ddpm_step(x, said, now, next, z, variance="beta"), {"variance": "beta"}),
        "plms": (
            lambda: samplers.plms_step(x, [said.eps, *(one.eps for one in past)], now, next),
            {"history": history},
        ),
        "dpm_solver_pp": (
            lambda: samplers.dpm_solver_pp_step(x, said, now, next, (above, past[0])),
            {"history": history},
        ),
        "dpm_solver_pp_sde": (
            lambda: samplers.dpm_solver_pp_sde_step(x, said, now, next, z, (above, past[0])),
            {"history": history},
        ),
        "euler": (lambda: samplers.euler_step(x, said, now, next), {}),
        "euler_ancestral": (lambda: samplers.euler_ancestral_step(x, said, now, next, z), {}),
        "heun": (
            lambda: samplers.heun_step(x, said, denoise(samplers.euler_step(x, said, now, next), 40), now, next),
            {},
        ),
    }[name]
    generator = torch.Generator().manual_seed(3)
    x_s = samplers.final(samplers.BY_NAME[name](denoise, x, [70, 40], generator=generator, **options))
    assert_close(x_s, expected(), rtol=0, atol=0)


@pytest.mark.parametrize(("sampler", "used"), [(samplers.plms, 3), (samplers.dpm_solver_pp, 1)])
def test_of_a_long_history_the_newest_predictions_are_used(sampler, used, generator):
    x = torch.tensor([[0.4], [-0.9]], dtype=f64)
    history = [(t, DENOISE(torch.randn(2, 1, generator=generator, dtype=f64), t)) for t in (99, 95, 90, 85, 80)]
    all_of_it, the_newest = (list(sampler(DENOISE, x, [70, 40, 10], history=h)) for h in (history, history[-used:]))
    assert_close(all_of_it, the_newest, rtol=0, atol=0)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sampler_keeps_x_s_dtype(sampler, dtype, generator):
    steps = list(sampler(DENOISE, torch.zeros(2, 1, dtype=dtype), GRIDS["uneven"], generator=generator))
    assert {step.x_t.dtype for step in steps} == {dtype}
