"""What an autoencoder is trained on: to give the picture back, from latents that stay close to the prior."""

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
    r"""Squared error per number of the picture, plus `kl_weight` times the KL per number of z; z is drawn.

    $\frac{1}{d_x} \|x_0 - \hat x_0(z)\|^2 + w\,\frac{1}{d_z} D_{KL}(q(z \mid x_0) \| \mathcal N(0, 1)), \quad z \sim q(z \mid x_0)$

    It is a bound on the likelihood: for a decoder that answers $\mathcal N(\hat x_0, s^2)$, the negative ELBO in units of
    $d_x / 2 s^2$ with $w = 2 s^2 d_z / d_x$. So w is the squared error that one is content with, times $2 d_z / d_x$:
    less, and latents spread until the noise on them is negligible; more, and detail is given up for the prior.

    Raises ValueError where kl_weight is negative.
    Source: Kingma & Welling, 2014, equation 8; Higgins et al., beta-VAE, 2017, equation 4, for the weight.
    """
    if not kl_weight >= 0:
        raise ValueError(f"kl_weight must be at least 0, got {kl_weight}")
    mean, log_variance = vae.encode(x_0)
    z = latents.sample(mean, log_variance, generator)
    error = (vae.decode(z) - x_0).square().mean()
    kl = gaussians.kl(mean, log_variance.exp(), 0, 1)  # of each number of z
    return error + kl_weight * kl.mean()


@torch.no_grad()
def set_noise(vae: VAE, std: Real) -> None:
    r"""Let an untrained autoencoder begin with draws of z that have this standard deviation, whatever the picture.

    As it is initialised, noise of variance about 1 drowns what little the means say at first. A channel that the decoder learns to
    ignore meanwhile is worth nothing to it, costs KL as long as it says anything, and may fall silent for good: *posterior collapse*.
    With little noise every channel is heard before the prior asks what it costs. Raises ValueError for std ≤ 0 or infinite.
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
    r"""What draws of z must be multiplied by to have variance 1: one number for all channels, for `VAEConfig.latent_scale`.

    $1 / \hat\sigma, \quad \hat\sigma^2 = \operatorname{Var}(z)$ over pictures, channels and places together.

    Measure it on the training set, when training is over. Raises ValueError where there is no picture.
    Source: Rombach et al. 2022, appendix G.
    """
    if len(x_0) == 0 or batch_size < 1:
        raise ValueError(f"expected pictures, in batches of at least 1; got {len(x_0)} in batches of {batch_size}")
    draws = [latents.sample(*vae.encode(batch), generator) for batch in x_0.split(batch_size)]
    return 1 / torch.cat(draws).std().item()
