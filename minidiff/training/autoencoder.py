"""Training an autoencoder: the loss, the initial noise of its latents, and the scale that gives latents unit variance."""

import math
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.diffusion import gaussians
from minidiff.nets import vae as latents
from minidiff.nets.vae import VAE


def vae_loss(
    vae: VAE, x_0: Float[Tensor, "b c h w"], generator: torch.Generator, *, kl_weight: Real
) -> Float[Tensor, ""]:
    r"""The mean squared error of the reconstruction plus `kl_weight` times the mean KL of the latents; z is sampled.

    $\frac{1}{d_x} \|x_0 - \hat x_0(z)\|^2 + w\,\frac{1}{d_z} D_{KL}(q(z \mid x_0) \| \mathcal N(0, 1)), \quad z \sim q(z \mid x_0)$

    For a decoder $\mathcal N(\hat x_0, s^2)$ this is the negative ELBO in units of $d_x / 2 s^2$, with $w = 2 s^2 d_z / d_x$: a bound on the
    likelihood. A smaller w spreads the latents until their noise hardly matters; a larger w trades detail for latents close to the prior.

    Raises ValueError if kl_weight is negative.
    Source: Kingma & Welling, 2014, equation 8; Higgins et al., beta-VAE, 2017, equation 4, for the weight.
    """
    if not kl_weight >= 0:
        raise ValueError(f"kl_weight must be at least 0, got {kl_weight}")
    mean, log_variance = vae.encode(x_0)
    z = latents.sample(mean, log_variance, generator)
    error = (vae.decode(z) - x_0).square().mean()
    kl = gaussians.kl(mean, log_variance.exp(), 0, 1)  # (B, C, H, W), one for each number of z
    return error + kl_weight * kl.mean()


@torch.no_grad()
def set_posterior_std(vae: VAE, std: Real) -> None:
    r"""Set the standard deviation of q(z | x) of an untrained autoencoder to `std`, for every image.

    At the usual initialisation the standard deviation is about 1, far more than the spread of the means. The decoder may then learn to
    ignore a latent channel, and the KL term keeps that channel at the prior (*posterior collapse*). A small initial std avoids this.
    Raises ValueError unless std is positive and finite.
    Source of the phenomenon: Bowman et al., Generating Sentences from a Continuous Space, 2016, section 3.1 (who anneal the KL's weight).
    """
    if not 0 < std < math.inf:
        raise ValueError(f"std must be positive and finite, got {std}")
    log_variance = slice(vae.config.latent_channels, None)
    vae.quant.weight[log_variance] = 0
    vae.quant.bias[log_variance] = 2 * math.log(std)


@torch.no_grad()
def measure_latent_scale(
    vae: VAE, x_0: Float[Tensor, "n c h w"], generator: torch.Generator, *, batch_size: int = 250
) -> float:
    r"""The factor that gives samples of z unit variance, for `VAEConfig.latent_scale`.

    $1 / \hat\sigma, \quad \hat\sigma^2 = \operatorname{Var}(z)$ over images, channels and positions together.

    Measure it on the training set, after training. Raises ValueError if there is no image.
    Source: Rombach et al. 2022, appendix G.
    """
    if len(x_0) == 0 or batch_size < 1:
        raise ValueError(f"expected images, in batches of at least 1; got {len(x_0)} in batches of {batch_size}")
    draws = [latents.sample(*vae.encode(batch), generator) for batch in x_0.split(batch_size)]
    return 1 / torch.cat(draws).std().item()
