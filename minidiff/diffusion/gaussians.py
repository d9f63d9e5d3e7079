r"""Gaussian distributions: density, entropy, samples, sums, products, conditioning and KL divergence.

All functions work elementwise on independent coordinates. Arguments are plain numbers or tensors that broadcast against each other.
A `variance` is never a standard deviation. Raises ValueError for a variance that is not positive; NaN in gives NaN out.
"""

import math
from collections.abc import Callable
from functools import wraps
from inspect import signature
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

Value = Float[Tensor, "..."] | Real
Pair = tuple[Float[Tensor, "..."], Float[Tensor, "..."]]  # mean and variance


def _elementwise(formula: Callable) -> Callable:
    """The formula with variances checked and all arguments but the factors a and b turned into tensors of one shape."""
    bind = signature(formula).bind

    @wraps(formula)
    def checked(*arguments: Value, **named: Value) -> Tensor | Pair:
        given = bind(*arguments, **named).arguments
        like = next(filter(torch.is_tensor, given.values()), torch.zeros((), dtype=torch.float64))
        values = {name: value for name, value in given.items() if name not in ("a", "b")}
        for name, value in values.items():
            if not isinstance(value, Tensor):
                values[name] = value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
            if "variance" in name and (value <= 0).any():
                raise ValueError(f"{name} must be positive, got {value.min().item()}")
        tensors = torch.broadcast_tensors(*values.values())
        return formula(**given | dict(zip(values, tensors, strict=True)))

    return checked


@_elementwise
def log_density(x: Value, mean: Value, variance: Value) -> Float[Tensor, "..."]:
    r"""The log density $\log \mathcal N(x; \mu, \sigma^2) = -\frac12 \Big(\log 2\pi\sigma^2 + \frac{(x - \mu)^2}{\sigma^2}\Big)$   (`gaussians.log_density`).
    Source: Bishop, Pattern Recognition and Machine Learning, 2006, eq. 1.46."""
    return -0.5 * (torch.log(2 * math.pi * variance) + (x - mean) ** 2 / variance)


@_elementwise
def entropy(variance: Value) -> Float[Tensor, "..."]:
    r"""The entropy $H[\mathcal N(\mu, \sigma^2)] = \frac12 \log(2\pi e\,\sigma^2)$ in nats   (`gaussians.entropy`). Source: Bishop, 2006, eq. 1.110."""
    return 0.5 * torch.log(2 * math.pi * math.e * variance)


@_elementwise
def reparameterise(mean: Value, variance: Value, eps: Value) -> Float[Tensor, "..."]:
    r"""A sample $x = \mu + \sigma\varepsilon$ of $\mathcal N(\mu, \sigma^2)$, computed from standard normal noise   (`gaussians.reparameterise`).
    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, section 2.4."""
    return mean + variance.sqrt() * eps


@_elementwise
def weighted_sum(a: Real, mean_1: Value, variance_1: Value, b: Real, mean_2: Value, variance_2: Value) -> Pair:
    r"""Mean and variance of $a x_1 + b x_2$ for independent Gaussian $x_1, x_2$.

    $\mathcal N(a\mu_1 + b\mu_2,\ a^2\sigma_1^2 + b^2\sigma_2^2)$   (`gaussians.weighted_sum`): variances add, standard deviations do not.
    Source: Bishop, 2006, eq. 2.115.
    """
    return a * mean_1 + b * mean_2, a**2 * variance_1 + b**2 * variance_2


@_elementwise
def product(mean_1: Value, variance_1: Value, mean_2: Value, variance_2: Value) -> Pair:
    r"""Mean and variance of the Gaussian that is proportional to the product of two Gaussian densities of the same x.

    $\sigma^2 = \Big(\frac1{\sigma_1^2} + \frac1{\sigma_2^2}\Big)^{-1}, \quad \mu = \sigma^2\Big(\frac{\mu_1}{\sigma_1^2} + \frac{\mu_2}{\sigma_2^2}\Big)$   (`gaussians.product`): precisions, the inverse variances, add.
    Source: Bishop, 2006, section 2.3.6.
    """
    variance = 1 / (1 / variance_1 + 1 / variance_2)
    return variance * (mean_1 / variance_1 + mean_2 / variance_2), variance


@_elementwise
def condition(mean: Value, variance: Value, a: Real, noise_variance: Value, y: Value) -> Pair:
    r"""Mean and variance of $x \mid y$, for $x \sim \mathcal N(\mu, \sigma^2)$ and an observed $y = a x + \mathcal N(0, \varsigma^2)$.

    $x \mid y \sim \mathcal N\Big(\mu + \frac{a\sigma^2}{a^2\sigma^2 + \varsigma^2}(y - a\mu),\ \frac{\sigma^2 \varsigma^2}{a^2\sigma^2 + \varsigma^2}\Big)$   (`gaussians.condition`)
    Source: Bishop, 2006, eq. 2.116 and 2.117.
    """
    evidence = a**2 * variance + noise_variance
    return mean + a * variance / evidence * (y - a * mean), variance * noise_variance / evidence


@_elementwise
def kl(mean_1: Value, variance_1: Value, mean_2: Value, variance_2: Value) -> Float[Tensor, "..."]:
    r"""The KL divergence $D_{KL}(\mathcal N_1 \| \mathcal N_2) = \frac12 \Big(\log\frac{\sigma_2^2}{\sigma_1^2} + \frac{\sigma_1^2 + (\mu_1 - \mu_2)^2}{\sigma_2^2} - 1\Big)$ in nats   (`gaussians.kl`).
    Source: Kingma & Welling, 2014, appendix B."""
    return 0.5 * (torch.log(variance_2 / variance_1) + (variance_1 + (mean_1 - mean_2) ** 2) / variance_2 - 1)
