r"""Gaussians: everything that diffusion needs to know of them.

Each function works elementwise on independent coordinates; means and variances broadcast against each other, and plain numbers
will do. A variance is a variance, never a standard deviation: one that is not positive is a ValueError, and so are shapes that do
not broadcast.
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
    """The formula on tensors of one shape: plain numbers become tensors, and a variance that is not positive is refused."""
    names = tuple(signature(formula).parameters)

    @wraps(formula)
    def checked(*arguments: Value, **named: Value) -> Tensor | Pair:
        given = dict(zip(names, arguments, strict=False)) | named
        like = next(
            (value for value in given.values() if isinstance(value, Tensor)), torch.zeros((), dtype=torch.float64)
        )
        values = {name: value for name, value in given.items() if name not in ("a", "b")}
        for name, value in values.items():
            if not isinstance(value, Tensor):
                values[name] = value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
            if "variance" in name and (value <= 0).any():
                raise ValueError(f"{name} must be positive everywhere, its smallest value is {value.min().item()}")
        try:
            tensors = torch.broadcast_tensors(*values.values())
        except RuntimeError as error:
            raise ValueError(f"the shapes of {', '.join(values)} do not broadcast: {error}") from None
        return formula(**given | dict(zip(values, tensors, strict=True)))

    return checked


@_elementwise
def log_density(x: Value, mean: Value, variance: Value) -> Float[Tensor, "..."]:
    r"""$\log \mathcal N(x; \mu, \sigma^2) = -\frac12 \Big(\log 2\pi\sigma^2 + \frac{(x - \mu)^2}{\sigma^2}\Big)$   (`gaussians.log_density`)
    Source: Bishop, Pattern Recognition and Machine Learning, 2006, eq. 1.46."""
    return -0.5 * (torch.log(2 * math.pi * variance) + (x - mean) ** 2 / variance)


@_elementwise
def entropy(variance: Value) -> Float[Tensor, "..."]:
    r"""$H[\mathcal N(\mu, \sigma^2)] = \frac12 \log(2\pi e\,\sigma^2)$ in nats   (`gaussians.entropy`). Source: Bishop, 2006, eq. 1.110."""
    return 0.5 * torch.log(2 * math.pi * math.e * variance)


@_elementwise
def reparameterise(mean: Value, variance: Value, eps: Value) -> Float[Tensor, "..."]:
    r"""$x = \mu + \sigma\varepsilon$, a draw from $\mathcal N(\mu, \sigma^2)$ made of standard normal noise   (`gaussians.reparameterise`).
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
    r"""Mean and variance of the Gaussian to which the product of two densities in the same x is proportional.

    $\sigma^2 = \Big(\frac1{\sigma_1^2} + \frac1{\sigma_2^2}\Big)^{-1}, \quad \mu = \sigma^2\Big(\frac{\mu_1}{\sigma_1^2} + \frac{\mu_2}{\sigma_2^2}\Big)$   (`gaussians.product`): precisions add.
    Source: Bishop, 2006, section 2.3.6.
    """
    variance = 1 / (1 / variance_1 + 1 / variance_2)
    return variance * (mean_1 / variance_1 + mean_2 / variance_2), variance


@_elementwise
def condition(mean: Value, variance: Value, a: Real, noise_variance: Value, y: Value) -> Pair:
    r"""Mean and variance of $x \mid y$, where $x \sim \mathcal N(\mu, \sigma^2)$ and $y = a x + \mathcal N(0, \varsigma^2)$ was observed.

    $x \mid y \sim \mathcal N\Big(\mu + \frac{a\sigma^2}{a^2\sigma^2 + \varsigma^2}(y - a\mu),\ \frac{\sigma^2 \varsigma^2}{a^2\sigma^2 + \varsigma^2}\Big)$   (`gaussians.condition`)
    Source: Bishop, 2006, eq. 2.116 and 2.117.
    """
    evidence = a**2 * variance + noise_variance
    return mean + a * variance / evidence * (y - a * mean), variance * noise_variance / evidence


@_elementwise
def kl(mean_1: Value, variance_1: Value, mean_2: Value, variance_2: Value) -> Float[Tensor, "..."]:
    r"""$D_{KL}(\mathcal N_1 \| \mathcal N_2) = \frac12 \Big(\log\frac{\sigma_2^2}{\sigma_1^2} + \frac{\sigma_1^2 + (\mu_1 - \mu_2)^2}{\sigma_2^2} - 1\Big)$ in nats, elementwise   (`gaussians.kl`)
    Source: Kingma & Welling, 2014, appendix B."""
    return 0.5 * (torch.log(variance_2 / variance_1) + (variance_1 + (mean_1 - mean_2) ** 2) / variance_2 - 1)
