"""Whole trajectories of our samplers and of diffusers' schedulers: same schedule, same noise, same fake model.

diffusers keeps its schedule in float32; it is given ours in float64 here, so that what is compared is the algorithm.
"""

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import prediction, schedules

diffusers = pytest.importorskip("diffusers")

SCHEDULE = schedules.scaled_linear()
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x_0": "sample"}


def fake_model(x_t, t):
    """Any smooth function of x and t; t as Stable Diffusion counts, from 0."""
    level = torch.as_tensor(t).reshape(-1, *[1] * (x_t.ndim - 1))
    return torch.sin(1.3 * x_t + level / 200) + 0.1 * x_t


def theirs(name, prediction_type, steps, *, x, generator, config=(), **options):
    scheduler = getattr(diffusers, name)(
        num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
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
    path = []
    for t in scheduler.timesteps:
        x = scheduler.step(fake_model(x, t), t, x, generator=generator, **options).prev_sample
        path.append(x)
    return torch.stack(path)


def start():
    return torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def noise():
    return torch.Generator().manual_seed(2)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("steps", [1000, 50, 7])
@pytest.mark.parametrize(("variance", "named"), [("posterior", "fixed_small"), ("beta", "fixed_large")])
def test_ddpm(variance, named, steps, prediction_type):
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, prediction_type, time_offset=-1)
    run = samplers.ddpm(denoise, SCHEDULE, start(), samplers.times(1000, steps), generator=noise(), variance=variance)
    ours = torch.stack([step.x_t for step in run])
    config = {"variance_type": named, "timestep_spacing": "trailing"}
    expected = theirs("DDPMScheduler", prediction_type, steps, x=start(), generator=noise(), config=config)
    if variance == "beta" and steps < 1000:  # they leave the noise out only where the last step begins at t = 1
        ours, expected = ours[:-1], expected[:-1]
    assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("steps", [1000, 50, 8])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim(eta, steps, prediction_type):
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, prediction_type, time_offset=-1)
    times = samplers.times(1000, steps)
    run = samplers.ddim(denoise, SCHEDULE, start(), times, generator=noise(), eta=eta)
    ours = torch.stack([step.x_t for step in run])
    config = {"set_alpha_to_one": True, "timestep_spacing": "trailing"}
    expected = theirs("DDIMScheduler", prediction_type, steps, x=start(), generator=noise(), config=config, eta=eta)
    assert_close(ours, expected, rtol=0, atol=1e-5)


def test_ddim_as_stable_diffusion_ends_it():
    """Its own convention: evenly spaced from the paper's t = 2 on, and the last step ends at t = 1, not at clean data."""
    denoise = prediction.as_denoiser(fake_model, SCHEDULE, "eps", time_offset=-1)
    times = samplers.times(1000, 50, "leading", end=1, offset=1)
    ours = torch.stack([step.x_t for step in samplers.ddim(denoise, SCHEDULE, start(), times)])
    config = {"set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading"}
    assert_close(ours, theirs("DDIMScheduler", "eps", 50, x=start(), generator=None, config=config), rtol=0, atol=1e-5)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize("steps", [1, 10, 50, 1000])
def test_times(steps, spacing):
    if steps == 1 and spacing == "linspace":
        pytest.skip("diffusers begins a single step at its noiseless end")
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
    assert_close(ours.alphas_cumprod[1:].float(), theirs, rtol=2e-4, atol=1e-7)  # theirs is a product in float32
