import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from minidiff.data import digits
from minidiff.diffusion import gaussians
from minidiff.nets import vae as latents
from minidiff.nets.vae import VAE, VAEConfig
from minidiff.training import (
    Batches,
    TrainConfig,
    initialised,
    measure_latent_scale,
    set_posterior_std,
    train,
    vae_loss,
)

SMALL = VAEConfig(1, 2, channels=(8, 16), norm_groups=4, blocks_per_level=1, latent_scale=0.25)
X_0 = (
    torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1
)  # 64 numbers each, and 32 in the latent


@pytest.fixture
def vae():
    return initialised(lambda: VAE(SMALL), seed=0).double()


def loss(vae, kl_weight, seed=0):
    return vae_loss(vae, X_0.double(), torch.Generator().manual_seed(seed), kl_weight=kl_weight)


@torch.no_grad()
def make_constant(vae, mean, log_variance, grey):
    """The encoder now gives this mean and log-variance for every image, and the decoder this grey for every latent."""
    for layer, values in ((vae.quant, [mean] * 2 + [log_variance] * 2), (vae.decoder.conv_out, [grey])):
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(values))


def test_the_loss_is_the_error_per_pixel_plus_the_weighted_kl_per_latent(vae):
    make_constant(vae, mean=1.0, log_variance=math.log(4.0), grey=0.5)
    error = (X_0.double() - 0.5).pow(2).sum() / (5 * 64)
    assert_close(loss(vae, kl_weight=0), error)
    assert_close(loss(vae, kl_weight=2), error + 2 * (1 + 4 - math.log(4) - 1) / 2)


def test_the_loss_is_the_negative_elbo_of_a_gaussian_decoder(vae):
    """In units of d_x / 2 s², without the constant log(2 π s²) that no weight of a network changes."""
    s_squared, x_0 = 0.03, X_0.double()
    mean, log_variance = vae.encode(x_0)
    z = latents.sample(mean, log_variance, torch.Generator().manual_seed(0))
    log_likelihood = gaussians.log_density(x_0, vae.decode(z), s_squared).sum((1, 2, 3))
    divergence = gaussians.kl(mean, log_variance.exp(), 0.0, 1.0).sum((1, 2, 3))
    negative_elbo = (divergence - log_likelihood).mean() - 64 / 2 * math.log(2 * math.pi * s_squared)
    assert_close(loss(vae, kl_weight=2 * s_squared * 32 / 64), negative_elbo * 2 * s_squared / 64)


def test_the_kl_is_the_mean_difference_of_log_densities_over_all_numbers_of_z(vae):
    """The difference log q(z|x) - log p(z) at samples of q, with the densities of PyTorch; each number of z counts once."""
    draws, weight = 20_000, 3.0
    with torch.no_grad():
        mean, log_variance = vae.encode(X_0.double())
        z = latents.sample(
            mean.expand(draws, *mean.shape), log_variance.expand(draws, *mean.shape), torch.Generator().manual_seed(1)
        )
        q, p = torch.distributions.Normal(mean, (log_variance / 2).exp()), torch.distributions.Normal(0, 1)
        difference = (q.log_prob(z) - p.log_prob(z)).flatten(1).mean(1)
        kl = (loss(vae, weight) - loss(vae, 0)) / weight
    assert abs(difference.mean() - kl) < 5 * difference.std() / draws**0.5


def test_latents_that_are_the_prior_cost_nothing(vae):
    make_constant(vae, mean=0.0, log_variance=0.0, grey=0.5)
    assert loss(vae, kl_weight=1) == loss(vae, kl_weight=0)


def test_decoding_a_draw_teaches_the_encoder_how_much_noise_to_allow(vae):
    """Without the KL, gradients reach the log-variance through the sample alone, and they ask for less noise."""
    make_constant(vae, mean=0.0, log_variance=0.0, grey=0.0)
    torch.nn.init.normal_(vae.decoder.conv_out.weight)
    loss(vae, kl_weight=0).backward()
    assert (vae.quant.bias.grad[2:] > 0).all()


def test_the_generator_is_all_that_is_random(vae):
    assert loss(vae, 0.1) == loss(vae, 0.1)
    assert loss(vae, 0.1, seed=0) != loss(vae, 0.1, seed=1)


def test_the_scale_that_belongs_to_the_weights_does_not_change_the_loss(vae):
    before = loss(vae, 0.1)
    vae.config = replace(vae.config, latent_scale=7.0)
    assert loss(vae, 0.1) == before


def test_measured_scale_gives_draws_a_variance_of_one(vae):
    make_constant(vae, mean=3.0, log_variance=math.log(0.04), grey=0.0)
    x_0 = X_0.double().repeat(400, 1, 1, 1)
    scale = measure_latent_scale(vae, x_0, torch.Generator().manual_seed(0))
    vae.config = replace(vae.config, latent_scale=scale)
    variance = vae.to_latents(x_0, torch.Generator().manual_seed(1)).var()
    numbers = len(x_0) * 32
    assert abs(variance - 1) < 5 * 2 / numbers**0.5  # two estimates, each with a standard error of √(2 / numbers)


def test_the_variation_between_pictures_counts_and_batches_do_not(vae):
    """The posterior's own variance is almost 0 here, so the scale comes from the spread of the means alone."""
    with torch.no_grad():
        vae.quant.bias[2:] = -30
        vae.quant.weight[2:] = 0
    means = vae.encode(X_0.double())[0]
    expected = 1 / (means - means.mean()).pow(2).mean().sqrt()
    for batch_size in (2, 5):
        scale = measure_latent_scale(vae, X_0.double(), torch.Generator().manual_seed(0), batch_size=batch_size)
        assert scale == pytest.approx(expected.item(), rel=0.01)  # the variance of n numbers divides by n - 1


def test_an_autoencoder_begins_with_the_posterior_std_that_was_set(vae, generator):
    with torch.no_grad():
        means = vae.encode(X_0.double())[0]
        set_posterior_std(vae, 0.2)
        same_means, log_variance = vae.encode(X_0.double())
        assert_close(same_means, means)
        draws = latents.sample(means.expand(2000, *means.shape), log_variance.expand(2000, *means.shape), generator)
    assert (draws.std(0) / 0.2 - 1).abs().max() < 5.5 / (2 * 2000) ** 0.5  # 160 numbers: 5.5 standard errors at most


def test_the_posterior_std_is_learned_after_it_was_set(vae):
    set_posterior_std(vae, 0.2)
    loss(vae, kl_weight=1).backward()
    assert vae.quant.weight.grad[2:].abs().min() > 0
    assert vae.quant.bias.grad[2:].abs().min() > 0


def test_wrong_numbers_are_errors(vae, generator):
    for wrong in (0, -0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="std must be positive"):
            set_posterior_std(vae, wrong)
    for wrong in (-1e-6, math.nan):
        with pytest.raises(ValueError, match="kl_weight must be at least 0"):
            loss(vae, wrong)
    for count, batch_size in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match=f"got {count} in batches of {batch_size}"):
            measure_latent_scale(vae, X_0[:count].double(), generator, batch_size=batch_size)


@pytest.mark.slow
def test_a_minute_of_training_gives_unseen_digits_back_better_than_their_average_does(tmp_path):
    config = TrainConfig(steps=150, batch_size=16, learning_rate=3e-3, warmup=20, ema_decay=0.9, precision="float32")
    vae = initialised(lambda: VAE(VAEConfig(1, 4, channels=(8, 16, 32), blocks_per_level=1, norm_groups=4)), seed=0)
    loss = lambda model, x_0, generator: vae_loss(model, x_0, generator, kl_weight=1e-3)  # noqa: E731
    training, _ = digits.load("train")
    batches = Batches(training, batch_size=config.batch_size, seed=config.seed)
    vae = train(vae, loss, batches, config, tmp_path)
    test, _ = digits.load("test")
    with torch.no_grad():
        error = (vae.from_latents(vae.to_latents(test)) - test).square().mean()
    assert error < 0.2 * (test - training.mean(0)).square().mean()
