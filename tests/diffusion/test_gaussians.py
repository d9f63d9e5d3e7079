import math
from statistics import NormalDist

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.testing import assert_close

from minidiff.diffusion import gaussians

mean = st.floats(-2, 2)
variance = st.floats(0.1, 3)


def density(mean, variance):
    return NormalDist(mean, variance**0.5).pdf


def moments(unnormalised):
    """Mean and variance of an unnormalised density, by quadrature."""
    total, first, second = (
        integrate.quad(lambda x, k=k: x**k * unnormalised(x), -25, 25, points=[-2, 0, 2])[0] for k in (0, 1, 2)
    )
    return first / total, second / total - (first / total) ** 2


@given(mean, variance, mean, variance)
def test_kl_is_its_integral(m_1, v_1, m_2, v_2):
    log_ratio = lambda x: stats.norm.logpdf(x, m_1, v_1**0.5) - stats.norm.logpdf(x, m_2, v_2**0.5)  # noqa: E731
    weight = density(m_1, v_1)
    expected, _ = integrate.quad(lambda x: weight(x) * log_ratio(x), -25, 25, points=[m_1])
    assert math.isclose(gaussians.kl(m_1, v_1, m_2, v_2), expected, rel_tol=1e-6, abs_tol=1e-8)


@given(mean, variance, mean, variance)
def test_product_is_the_product_of_densities(m_1, v_1, m_2, v_2):
    first, second = density(m_1, v_1), density(m_2, v_2)
    expected = moments(lambda x: first(x) * second(x))
    assert_close(tuple(float(part) for part in gaussians.product(m_1, v_1, m_2, v_2)), expected, rtol=1e-5, atol=1e-6)


@given(mean, variance, st.floats(-2, 2), variance, mean)
def test_condition_is_bayes_rule(m, v, a, noise, y):
    prior, of_noise = density(m, v), density(0, noise)
    expected = moments(lambda x: prior(x) * of_noise(y - a * x))
    assert_close(tuple(float(part) for part in gaussians.condition(m, v, a, noise, y)), expected, rtol=1e-5, atol=1e-6)


def test_weighted_sum_is_the_law_of_the_sum(generator):
    n = 400_000
    x, y = torch.randn(2, n, generator=generator, dtype=torch.float64)
    draws = 2 * gaussians.reparameterise(1.0, 0.5, x) - 3 * gaussians.reparameterise(-1.0, 2.0, y)
    m, v = (float(part) for part in gaussians.weighted_sum(2, 1.0, 0.5, -3, -1.0, 2.0))
    assert abs(draws.mean().item() - m) < 5 * (v / n) ** 0.5
    assert abs(draws.var().item() - v) < 5 * v * (2 / n) ** 0.5


@given(mean, variance, mean)
def test_density_and_entropy_agree_with_scipy(m, v, x):
    assert math.isclose(gaussians.log_density(x, m, v), stats.norm.logpdf(x, m, v**0.5), rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(gaussians.entropy(v), stats.norm.entropy(m, v**0.5), rel_tol=1e-9, abs_tol=1e-9)


@given(mean, variance)
def test_kl_of_a_law_from_itself_is_nothing(m, v):
    assert abs(float(gaussians.kl(m, v, m, v))) < 1e-12


def test_everything_broadcasts():
    assert gaussians.kl(torch.zeros(3, 1), 1.0, torch.zeros(4), torch.ones(())).shape == (3, 4)


@pytest.mark.parametrize("bad", [0.0, -1.0, -math.inf, torch.tensor([1.0, 0.0]), torch.tensor([math.nan, -1.0])])
def test_a_variance_is_positive(bad):
    for call in (
        lambda: gaussians.kl(0, 1, 0, bad),
        lambda: gaussians.entropy(bad),
        lambda: gaussians.product(0, bad, 0, 1),
        lambda: gaussians.condition(0, 1, 1, bad, 0),
    ):
        with pytest.raises(ValueError, match="variance"):
            call()


def test_shapes_that_do_not_broadcast_are_errors():
    with pytest.raises(RuntimeError, match="must match"):
        gaussians.kl(torch.zeros(3), 1, torch.zeros(4), 1)


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (gaussians.log_density, (0.3, 0.1, 1.5)),
        (gaussians.entropy, (1.5,)),
        (gaussians.kl, (0.3, 1.0, -0.2, 2.0)),
        (gaussians.product, (0.3, 1.0, -0.2, 2.0)),
        (lambda mean, variance, noise, y: gaussians.condition(mean, variance, 0.5, noise, y), (0.3, 1.0, 2.0, 0.4)),
    ],
)
def test_nan_in_is_nan_out_where_it_stands(function, values):
    """NaN is passed through, as in PyTorch."""
    for i in range(len(values)):
        one_nan = [torch.tensor([value, value]) for value in values]
        one_nan[i][1] = math.nan
        made = function(*one_nan)
        mean = made if isinstance(made, torch.Tensor) else made[0]
        assert mean.isnan().tolist() == [False, True]
