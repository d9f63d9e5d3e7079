r"""Gaussians: everything that diffusion needs to know of them.

Each function works elementwise on independent coordinates; means and variances broadcast against each other, and plain numbers
will do. A variance is a variance, never a standard deviation: one that is not positive is a ValueError, and so are shapes that do
not broadcast.
"""

import math
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

Value = Float[Tensor, "..."] | Real


def log_density(x: Value, mean: Value, variance: Value) -> Float[Tensor, "..."]:
    r"""$\log \mathcal N(x; \mu, \sigma^2) = -\frac12 \Big(\log 2\pi\sigma^2 + \frac{(x - \mu)^2}{\sigma^2}\Big)$   (`gaussians.log_density`)

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, eq. 1.46.
    """
    x, mean, variance = _broadcast(x=x, mean=mean, variance=variance)
    return -0.5 * (torch.log(2 * math.pi * variance) + (x - mean) ** 2 / variance)


def entropy(variance: Value) -> Float[Tensor, "..."]:
    r"""$H[\mathcal N(\mu, \sigma^2)] = \frac12 \log(2\pi e\,\sigma^2)$ in nats   (`gaussians.entropy`). Source: Bishop, 2006, eq. 1.110."""
    (variance,) = _broadcast(variance=variance)
    return 0.5 * torch.log(2 * math.pi * math.e * variance)


def reparameterise(mean: Value, variance: Value, eps: Value) -> Float[Tensor, "..."]:
    r"""$x = \mu + \sigma\varepsilon$, a draw from $\mathcal N(\mu, \sigma^2)$ made of standard normal noise   (`gaussians.reparameterise`).

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, section 2.4.
    """
    mean, variance, eps = _broadcast(mean=mean, variance=variance, eps=eps)
    return mean + variance.sqrt() * eps


def weighted_sum(
    a: Real, mean_1: Value, variance_1: Value, b: Real, mean_2: Value, variance_2: Value
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    r"""Mean and variance of $a x_1 + b x_2$ for independent Gaussian $x_1, x_2$.

    $\mathcal N(a\mu_1 + b\mu_2,\ a^2\sigma_1^2 + b^2\sigma_2^2)$   (`gaussians.weighted_sum`): variances add, standard deviations do not.
    Source: Bishop, 2006, eq. 2.115.
    """
    mean_1, variance_1, mean_2, variance_2 = _broadcast(
        mean_1=mean_1, variance_1=variance_1, mean_2=mean_2, variance_2=variance_2
    )
    return a * mean_1 + b * mean_2, a**2 * variance_1 + b**2 * variance_2


def product(
    mean_1: Value, variance_1: Value, mean_2: Value, variance_2: Value
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    r"""Mean and variance of the Gaussian to which the product of two densities in the same x is proportional.

    $\sigma^2 = \Big(\frac1{\sigma_1^2} + \frac1{\sigma_2^2}\Big)^{-1}, \quad \mu = \sigma^2\Big(\frac{\mu_1}{\sigma_1^2} + \frac{\mu_2}{\sigma_2^2}\Big)$   (`gaussians.product`): precisions add.
    Source: Bishop, 2006, section 2.3.6.
    """
    mean_1, variance_1, mean_2, variance_2 = _broadcast(
        mean_1=mean_1, variance_1=variance_1, mean_2=mean_2, variance_2=variance_2
    )
    variance = 1 / (1 / variance_1 + 1 / variance_2)
    return variance * (mean_1 / variance_1 + mean_2 / variance_2), variance


def condition(
    mean: Value, variance: Value, a: Real, noise_variance: Value, y: Value
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    r"""Mean and variance of $x \mid y$, where $x \sim \mathcal N(\mu, \sigma^2)$ and $y = a x + \mathcal N(0, \varsigma^2)$ was observed.

    $x \mid y \sim \mathcal N\Big(\mu + \frac{a\sigma^2}{a^2\sigma^2 + \varsigma^2}(y - a\mu),\ \frac{\sigma^2 \varsigma^2}{a^2\sigma^2 + \varsigma^2}\Big)$   (`gaussians.condition`)
    Source: Bishop, 2006, eq. 2.116 and 2.117.
    """
    mean, variance, noise_variance, y = _broadcast(mean=mean, variance=variance, noise_variance=noise_variance, y=y)
    evidence = a**2 * variance + noise_variance
    return mean + a * variance / evidence * (y - a * mean), variance * noise_variance / evidence


def kl(mean_1: Value, variance_1: Value, mean_2: Value, variance_2: Value) -> Float[Tensor, "..."]:
    r"""$D_{KL}(\mathcal N_1 \| \mathcal N_2) = \frac12 \Big(\log\frac{\sigma_2^2}{\sigma_1^2} + \frac{\sigma_1^2 + (\mu_1 - \mu_2)^2}{\sigma_2^2} - 1\Big)$ in nats, elementwise   (`gaussians.kl`)

    Source: Kingma & Welling, 2014, appendix B.
    """
    mean_1, variance_1, mean_2, variance_2 = _broadcast(
        mean_1=mean_1, variance_1=variance_1, mean_2=mean_2, variance_2=variance_2
    )
    return 0.5 * (torch.log(variance_2 / variance_1) + (variance_1 + (mean_1 - mean_2) ** 2) / variance_2 - 1)


def _broadcast(**values: Value) -> tuple[Tensor, ...]:
    like = next((value for value in values.values() if isinstance(value, Tensor)), torch.zeros((), dtype=torch.float64))
    tensors = {
        name: value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=like.dtype, device=like.device)
        for name, value in values.items()
    }
    for name, tensor in tensors.items():
        if tensor.isnan().any():
            raise ValueError(f"{name} holds NaN")
        if "variance" in name and not (tensor > 0).all():
            raise ValueError(f"{name} must be positive everywhere, its smallest value is {tensor.min().item()}")
    try:
        return torch.broadcast_tensors(*tensors.values())
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"these shapes do not broadcast: {shapes}") from None
