from functools import partial

import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import oracles, prediction, schedules
from minidiff.training import Batches, TrainConfig, diffusion_loss, initialised, logit_normal, train

SCHEDULE = schedules.cosine(20)


def seen_timesteps(generator, draws=4000, **options):
    seen = []

    def model(x_t, t):
        seen.append(t)
        return x_t

    diffusion_loss(model, SCHEDULE, torch.zeros(draws, 1), generator, **options)
    return torch.cat(seen)


def test_timesteps_are_uniform_from_1_to_T(generator):
    counts = torch.bincount(seen_timesteps(generator), minlength=21)
    assert len(counts) == 21
    assert counts[0] == 0
    expected = 4000 / 20
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 19 + 5 * (2 * 19) ** 0.5  # χ² with 19 degrees of freedom


def test_timesteps_are_drawn_as_was_asked(generator):
    counts = torch.bincount(seen_timesteps(generator, timesteps=partial(logit_normal, mean=1.0)), minlength=21)
    share = norm.cdf(1)  # of timesteps above T / 2: the mass of a standard normal above -1
    assert abs(counts[11:].sum() / 4000 - share) < 5 * (share * (1 - share) / 4000) ** 0.5


@pytest.mark.parametrize("schedule", [SCHEDULE, schedules.flow(20), schedules.variance_exploding(20)], ids=repr)
@pytest.mark.parametrize("prediction_type", prediction.FROM)
def test_a_model_that_knows_the_image_has_no_loss(prediction_type, schedule, generator):
    point = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    exact = oracles.dataset(schedule, point)

    def model(x_t, t):
        x_0, eps = exact(x_t, t)
        return prediction.target(prediction_type, schedule, x_0, eps, t)

    loss = diffusion_loss(model, schedule, point.expand(64, 2), generator, prediction_type=prediction_type)
    assert_close(loss.item(), 0.0, atol=1e-15, rtol=0)


class Lines(nn.Module):
    """A slope and an intercept for each timestep. The exact denoiser of a Gaussian in one dimension has this form."""

    def __init__(self, T):
        super().__init__()
        self.lines = nn.Embedding(T + 1, 2)

    def forward(self, x_t, t):
        slope, intercept = self.lines(t).split(1, dim=1)
        return slope * x_t + intercept


def test_training_on_a_flow_finds_the_best_velocity_of_a_gaussian_and_draws_from_it(tmp_path, generator):
    """The best function of x_t is E[ε - x_0|x_t]: a line with the slope Cov(u, x_t) / Var(x_t)."""
    schedule, mean, variance = schedules.flow(8, shift=3), 0.7, 0.25
    x_0 = torch.randn(20_000, 1, generator=generator)
    x_0 = mean + variance**0.5 * (x_0 - x_0.mean()) / x_0.std()
    config = TrainConfig(
        steps=300,
        batch_size=1000,
        learning_rate=0.1,
        warmup=10,
        weight_decay=0.0,
        clip=10.0,
        ema_decay=0.95,
        precision="float32",
    )

    def loss(model, batch, generator):
        return diffusion_loss(model, schedule, batch, generator, prediction_type="u")

    batches = Batches(x_0, batch_size=config.batch_size, seed=config.seed)
    network = train(initialised(lambda: Lines(8), seed=0), loss, batches, config, tmp_path, device="cpu")
    signal, noise = schedule.signal[1:], schedule.noise[1:]
    slope = (noise - signal * variance) / (signal**2 * variance + noise**2)
    best = torch.stack([slope, -mean - slope * signal * mean], dim=1)
    assert_close(network.lines.weight[1:].double(), best, rtol=0, atol=0.03)

    x_T = torch.randn(20_000, 1, generator=generator)
    denoise = prediction.as_denoiser(network, schedule, "u")
    made = samplers.final(samplers.ddim(denoise, x_T, samplers.times(8, 8)))
    exact = oracles.gaussian(schedule, torch.tensor([mean]), torch.tensor([variance]))
    best_made = samplers.final(samplers.ddim(exact, x_T, samplers.times(8, 8)))
    assert (made - best_made).abs().mean() < 0.015


def test_a_model_that_predicts_zero_has_the_loss_of_the_noise(generator):
    loss = diffusion_loss(
        lambda x_t, t: torch.zeros_like(x_t), SCHEDULE, torch.zeros(50_000, 1, dtype=torch.float64), generator
    )
    assert abs(loss.item() - 1) < 5 * (2 / 50_000) ** 0.5


def test_an_unknown_prediction_type_is_an_error(generator):
    with pytest.raises(ValueError, match="unknown prediction type"):
        diffusion_loss(lambda x_t, t: x_t, SCHEDULE, torch.zeros(2, 1), generator, prediction_type="noise")
