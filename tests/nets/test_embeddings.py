"""The embeddings of t, against loops in Python's own mathematics and against complex exponentials."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minidiff.nets.embeddings import (
    TimeEmbedding,
    VectorEmbedding,
    sinusoidal_embedding,
)

T_VALUES = torch.tensor([0.0, 1.0, 2.5, 37.0, 999.0])
# float32 keeps an angle of 1000 to 6e-5, and so its sine.
ANGLE_ERROR = 1e-4


@pytest.mark.parametrize("dim", [2, 6, 64])
@pytest.mark.parametrize("max_period", [100.0, 10_000.0])
def test_stable_diffusion_form_is_cosines_then_sines(dim, max_period):
    half = dim // 2
    expected = [
        [math.cos(t * max_period ** (-i / half)) for i in range(half)]
        + [math.sin(t * max_period ** (-i / half)) for i in range(half)]
        for t in T_VALUES.tolist()
    ]
    embedded = sinusoidal_embedding(T_VALUES, dim, max_period)
    torch.testing.assert_close(embedded, torch.tensor(expected), atol=ANGLE_ERROR, rtol=0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5), st.integers(1, 40))
def test_each_pair_is_a_point_on_the_unit_circle_turning_with_t(ts, half):
    """cos + i·sin = exp(iωt), with ω from a geometric series: no exponential of a logarithm in sight."""
    ratio = 10_000.0 ** (-1 / half)
    omega = torch.tensor([ratio**i for i in range(half)], dtype=torch.float64)
    points = torch.exp(1j * omega * torch.tensor(ts, dtype=torch.float64)[:, None])
    cosines, sines = sinusoidal_embedding(torch.tensor(ts), 2 * half).double().chunk(2, dim=1)
    torch.testing.assert_close(torch.complex(cosines, sines), points, atol=ANGLE_ERROR, rtol=0)


def test_a_shift_in_time_rotates_every_pair_by_an_angle_that_does_not_depend_on_t():
    """Why sinusoids: how far two levels lie apart is a linear map from one embedding to the other."""
    points = [torch.complex(*sinusoidal_embedding(torch.tensor([t]), 16).chunk(2, dim=1)) for t in (3, 10, 40, 47)]
    torch.testing.assert_close(points[1] / points[0], points[3] / points[2], atol=ANGLE_ERROR, rtol=0)


def test_integers_and_floats_are_embedded_alike_in_float32():
    for dtype in (torch.int64, torch.int32, torch.float64):
        torch.testing.assert_close(
            sinusoidal_embedding(torch.tensor([0, 7, 999], dtype=dtype), 8),
            sinusoidal_embedding(torch.tensor([0.0, 7, 999]), 8),
        )


@pytest.mark.parametrize("dim", [-2, 0, 1, 7])
def test_a_dim_without_two_halves_is_an_error(dim):
    with pytest.raises(ValueError, match=f"got {dim}"):
        sinusoidal_embedding(T_VALUES, dim)


def test_time_embedding_is_two_linear_layers_around_a_silu():
    embedding = TimeEmbedding(8, 32)
    hidden = embedding.linear_1(sinusoidal_embedding(T_VALUES, 8))
    expected = embedding.linear_2(hidden * torch.sigmoid(hidden))
    torch.testing.assert_close(embedding(T_VALUES), expected)
    assert embedding.double()(T_VALUES).dtype == torch.float64


def test_vector_embedding_is_two_linear_layers_around_a_silu():
    embedding, vector = VectorEmbedding(6, 8).double(), torch.randn(3, 6)
    hidden = vector.double() @ embedding.linear_1.weight.T + embedding.linear_1.bias
    expected = hidden / (1 + torch.exp(-hidden)) @ embedding.linear_2.weight.T + embedding.linear_2.bias
    torch.testing.assert_close(embedding(vector), expected)
