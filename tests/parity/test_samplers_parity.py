"""Whole trajectories of our samplers and of diffusers' schedulers, with the same schedule, noise and fake model.

diffusers keeps its schedule in float32, and some schedulers cast x to float32 before each step. Here they get our schedule in float64, and
float64 in place of `torch.float32`, so that only the algorithms are compared. Settings: no clipping, trailing levels, and a last step to
clean data (`set_alpha_to_one`, `final_sigmas_type="zero"`). Two tests use Stable Diffusion's settings, which end at the paper's t = 1.

For flow matching, networks of diffusers get 1000 σ, where σ is our τ, and predict our u. `FlowMatchHeunDiscreteScheduler` is not compared: it
takes the mean of two velocities, a trapezoid in τ, and Karras et al. take the mean of two slopes in σ̂. Its correction of Euler's step,
½ (τ_s - τ_t)(û_s - û_t), is our correction without the factor signal_s / signal_t.
"""

import importlib
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import prediction, schedules

diffusers = pytest.importorskip("diffusers")

SCHEDULE = schedules.scaled_linear()
EVERY_STEP = pytest.param(1000, marks=pytest.mark.slow, id="1000")
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x_0": "sample"}


def fake_model(x_t, t):
    """A smooth function of x and t; t counts from 0, as in Stable Diffusion."""
    level = torch.as_tensor(t, dtype=x_t.dtype).reshape(-1, *[1] * (x_t.ndim - 1))
    return torch.sin(1.3 * x_t + level / 200) + 0.1 * x_t


def theirs(name, prediction_type, steps, *, x, generator, config=(), model=fake_model, **options):
    scheduler = getattr(diffusers, name)(
        num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type=PREDICTIONS[prediction_type], **dict(config),
    )  # fmt: skip
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = (
        part[1:] for part in (SCHEDULE.betas, SCHEDULE.alphas, SCHEDULE.alphas_cumprod)
    )
    if "final_alpha_cumprod" in vars(scheduler):
        scheduler.final_alpha_cumprod = (
            torch.tensor(1.0) if scheduler.config.set_alpha_to_one else scheduler.alphas_cumprod[0]
        )
    scheduler.set_timesteps(steps)
    path, options = [], options if generator is None else options | {"generator": generator}
    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t), t, x, **options).prev_sample
        path.append(x)
    return torch.stack(path)


class InFloat64(ModuleType):
    """The torch module with float64 in place of float32."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def along_karras(name, prediction_type, steps, monkeypatch, *, generator=None, config=()):
    """The path of a scheduler that works in σ̂, as x_t; all of these but DPM-Solver's step x̄ = x / √ᾱ."""
    module = importlib.import_module(getattr(diffusers, name).__module__)
    monkeypatch.setattr(module, "torch", InFloat64("torch"))
    scheduler = getattr(diffusers, name)(
        num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type=PREDICTIONS[prediction_type], timestep_spacing="trailing", **dict(config),
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    levels = (scheduler.timesteps + 1).long()
    sigmas = torch.cat([SCHEDULE.karras_sigmas[levels], torch.zeros(1, dtype=torch.float64)])
    assert_close(scheduler.sigmas.double()[:-1], sigmas[:-1], rtol=1e-5, atol=0)
    scheduler.sigmas = sigmas
    x = start()
    if scale := hasattr(scheduler, "init_noise_sigma") and name != "DPMSolverMultistepScheduler":
        x = x / SCHEDULE.alphas_cumprod[1000].sqrt()
    path, options = [], {} if generator is None else {"generator": generator}
    for i, t in enumerate(scheduler.timesteps):
        seen = scheduler.scale_model_input(x, t)
        x = scheduler.step(fake_model(seen, t), t, x, **options).prev_sample
        path.append(x / (1 + sigmas[i + 1] ** 2).sqrt() if scale else x)
    return torch.stack(path)


def start():
    return torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def noise():
    return torch.Generator().manual_seed(2)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("steps", [EVERY_STEP, 50, 7])
@pytest.mark.parametrize(("variance", "named"), [("posterior", "fixed_small"), ("beta", "fixed_large")])
def test_ddpm(variance, named, steps, prediction_type):
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, prediction_type, time_offset=-1)
    run = samplers.ddpm(denoise, start(), samplers.times(1000, steps), generator=noise(), variance=variance)
    ours = torch.stack([step.x_t for step in run])
    config = {"variance_type": named, "timestep_spacing": "trailing", "clip_sample": False}
    expected = theirs("DDPMScheduler", prediction_type, steps, x=start(), generator=noise(), config=config)
    if variance == "beta" and steps < 1000:  # diffusers adds no noise only where the last step begins at t = 1
        ours, expected = ours[:-1], expected[:-1]
    assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("steps", [EVERY_STEP, 50, 8])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim(eta, steps, prediction_type):
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, prediction_type, time_offset=-1)
    times = samplers.times(1000, steps)
    run = samplers.ddim(denoise, start(), times, generator=noise(), eta=eta)
    ours = torch.stack([step.x_t for step in run])
    config = {"set_alpha_to_one": True, "timestep_spacing": "trailing", "clip_sample": False}
    expected = theirs("DDIMScheduler", prediction_type, steps, x=start(), generator=noise(), config=config, eta=eta)
    assert_close(ours, expected, rtol=0, atol=1e-5)


def test_ddim_as_stable_diffusion_ends_it():
    """Its convention: evenly spaced levels from the paper's t = 2, and a last step to t = 1, not to clean data."""
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, "eps", time_offset=-1)
    times = samplers.times(1000, 50, "leading", end=1, offset=1)
    ours = torch.stack([step.x_t for step in samplers.ddim(denoise, start(), times)])
    config = {"set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading", "clip_sample": False}
    assert_close(ours, theirs("DDIMScheduler", "eps", 50, x=start(), generator=None, config=config), rtol=0, atol=1e-5)


def ours(sampler, prediction_type, steps, **options):
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, prediction_type, time_offset=-1)
    run = sampler(denoise, start(), samplers.times(1000, steps), **options)
    return torch.stack([step.x_t for step in run])


@pytest.mark.parametrize("prediction_type", ["eps", "v"])
@pytest.mark.parametrize("steps", [100, 8])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("stochastic", [False, True])
def test_dpm_solver_pp(stochastic, order, steps, prediction_type, monkeypatch):
    config = {"algorithm_type": "sde-dpmsolver++" if stochastic else "dpmsolver++", "solver_order": order}
    name = "DPMSolverMultistepScheduler"
    expected = along_karras(name, prediction_type, steps, monkeypatch, generator=noise(), config=config)
    mine = ours(samplers.dpm_solver_pp, prediction_type, steps, order=order, stochastic=stochastic, generator=noise())
    assert_close(mine, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction_type", ["eps", "v"])
@pytest.mark.parametrize("steps", [100, 8])
@pytest.mark.parametrize(("name", "sampler"), [
    ("EulerDiscreteScheduler", samplers.euler),
    ("EulerAncestralDiscreteScheduler", samplers.euler_ancestral),
])  # fmt: skip
def test_euler(name, sampler, steps, prediction_type, monkeypatch):
    expected = along_karras(name, prediction_type, steps, monkeypatch, generator=noise())
    assert_close(ours(sampler, prediction_type, steps, generator=noise()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction_type", ["eps", "v"])
@pytest.mark.parametrize("steps", [100, 8])
def test_heun(steps, prediction_type, monkeypatch):
    path = along_karras("HeunDiscreteScheduler", prediction_type, steps, monkeypatch)
    expected = torch.cat(
        [path[1::2], path[-1:]]
    )  # every second step of diffusers is Euler's, which the next one corrects
    assert_close(ours(samplers.heun, prediction_type, steps), expected, rtol=0, atol=1e-5)


def as_eps(prediction_type):
    """The ε̂ of any model, as PNDM needs it: v of different levels cannot be combined by a multistep method."""
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, prediction_type, time_offset=-1)
    return lambda x_t, t: denoise(x_t, torch.as_tensor(t) + 1).eps


@pytest.mark.parametrize("prediction_type", ["eps", "v"])
@pytest.mark.parametrize("steps", [100, 8])
def test_plms(steps, prediction_type):
    """diffusers calls the network once more, to average the first step; `warmup="averaged"` does the same."""
    mine = ours(samplers.plms, prediction_type, steps, warmup="averaged")
    config = {"set_alpha_to_one": True, "timestep_spacing": "trailing", "skip_prk_steps": True}
    model = as_eps(prediction_type)
    expected = theirs("PNDMScheduler", "eps", steps, x=start(), generator=None, config=config, model=model)
    assert_close(mine, expected[1:], rtol=0, atol=1e-5)  # diffusers also returns the first step before it is averaged


def test_plms_as_stable_diffusion_ends_it():
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, "eps", time_offset=-1)
    times = samplers.times(1000, 50, "leading", end=1, offset=1)
    mine = torch.stack([step.x_t for step in samplers.plms(denoise, start(), times, warmup="averaged")])
    config = {"set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading", "skip_prk_steps": True}
    expected = theirs("PNDMScheduler", "eps", 50, x=start(), generator=None, config=config)
    assert_close(mine, expected[1:], rtol=0, atol=1e-5)


def along_flow(scheduler, levels, schedule, monkeypatch, generator=None, **steps):
    """The path of a flow matching scheduler over the levels that it chooses."""
    monkeypatch.setattr(importlib.import_module(type(scheduler).__module__), "torch", InFloat64("torch"))
    scheduler.set_timesteps(**steps)
    assert_close(scheduler.sigmas.double(), schedule.noise[levels], rtol=1e-6, atol=0)
    scheduler.sigmas = schedule.noise[levels]
    scheduler.timesteps = 1000 * schedule.noise[levels[:-1]]
    x, path, options = start(), [], {} if generator is None else {"generator": generator}
    for t in scheduler.timesteps:
        x = scheduler.step(fake_model(x, t), t, x, **options).prev_sample
        path.append(x)
    return torch.stack(path)


def ours_on_flow(sampler, levels, schedule, **options):
    denoise = prediction.as_denoiser(lambda x_t, t: fake_model(x_t, 1000 * schedule.noise[t]), schedule, "u")
    return torch.stack([step.x_t for step in sampler(denoise, start(), levels, **options)])


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [100, 7])
def test_flow_euler(steps, shift, monkeypatch):
    schedule, levels = schedules.flow(1000, shift), samplers.times(1000, steps)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    sigmas = [level / 1000 for level in levels[:-1]]  # before the shift, as its pipelines pass them
    expected = along_flow(scheduler, levels, schedule, monkeypatch, sigmas=sigmas)
    assert_close(ours_on_flow(samplers.euler, levels, schedule), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [111, 9])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("stochastic", [False, True])
def test_flow_dpm_solver_pp(stochastic, order, steps, shift, monkeypatch):
    """diffusers begins at u = 0.999, where the signal is not 0."""
    schedule, levels = schedules.flow(1000, shift), samplers.times(1000, steps, start=999)
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++" if stochastic else "dpmsolver++", solver_order=order,
        use_flow_sigmas=True, flow_shift=shift, prediction_type="flow_prediction",
    )  # fmt: skip
    expected = along_flow(scheduler, levels, schedule, monkeypatch, noise(), num_inference_steps=steps)
    options = {"order": order, "stochastic": stochastic, "generator": noise()}
    assert_close(ours_on_flow(samplers.dpm_solver_pp, levels, schedule, **options), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize("steps", [1, 10, 50, 1000])
def test_times(steps, spacing):
    if steps == 1 and spacing == "linspace":
        pytest.skip("diffusers begins a single step at the level without noise")
    scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    assert [t - 1 for t in samplers.times(1000, steps, spacing)[:-1]] == scheduler.timesteps.tolist()


@pytest.mark.parametrize(("ours", "config"), [
    (schedules.linear(), {"beta_schedule": "linear"}),
    (schedules.scaled_linear(), {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    (schedules.cosine(), {"beta_schedule": "squaredcos_cap_v2"}),
    (schedules.scaled_linear().zero_terminal_snr(), {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True}),
])  # fmt: skip
def test_schedules(ours, config):
    theirs = diffusers.DDIMScheduler(**config).alphas_cumprod
    assert_close(
        ours.alphas_cumprod[1:].float(), theirs, rtol=2e-4, atol=1e-7
    )  # diffusers computes the product in float32
