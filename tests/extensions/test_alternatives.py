"""Layers that stand beside the networks, each against its formula written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from minidiff.extensions.alternatives import ConvNeXtBlock, ddpm_sinusoidal_embedding, linear_attention
from minidiff.nets.attention import attention_weights

T_VALUES = torch.tensor([0.0, 1.0, 2.5, 37.0, 999.0])
ANGLE_ERROR = 1e-4  # float32 keeps an angle of 1000 to 6e-5, and so its sine


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_linear_attention_is_the_product_bracketed_the_other_way():
    query, key, value = draw(2, 3, 7, 4), draw(2, 3, 5, 4), draw(2, 3, 5, 6)
    weights = torch.einsum("...nd,...ld->...nl", query.softmax(-1), key.softmax(-2))
    torch.testing.assert_close(linear_attention(query, key, value), weights @ value)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 7, dtype=torch.float64))


def test_linear_attention_of_equal_values_is_that_value():
    value = draw(1, 6).expand(5, 6)
    torch.testing.assert_close(linear_attention(draw(7, 4), draw(5, 4), value), value[:1].expand(7, 6))


def test_twice_the_positions_cost_linear_attention_twice_and_softmax_attention_four_times():
    def cost(function, positions):
        with FlopCounterMode(display=False) as counter:
            function(*torch.empty(3, positions, 16, device="meta"))
        return counter.get_total_flops()

    softmax_attention = lambda query, key, value: attention_weights(query, key) @ value  # noqa: E731
    assert cost(linear_attention, 2048) == 2 * cost(linear_attention, 1024)
    assert cost(softmax_attention, 2048) == 4 * cost(softmax_attention, 1024)


def test_convnext_block_is_the_recipe_of_the_paper_with_a_norm_by_groups():
    block, x = ConvNeXtBlock(8, norm_groups=4).double(), torch.randn(2, 8, 9, 9).double()
    depthwise, _, expand, _, contract = block
    y = torch.stack([F.conv2d(x[:, c : c + 1], depthwise.weight[c : c + 1], padding=3)[:, 0] for c in range(8)], dim=1)
    y = F.group_norm(y + depthwise.bias[:, None, None], 4)
    y = torch.einsum("bchw,ec->behw", y, expand.weight[:, :, 0, 0]) + expand.bias[:, None, None]
    y = y * (1 + torch.erf(y / 2**0.5)) / 2
    y = torch.einsum("behw,ce->bchw", y, contract.weight[:, :, 0, 0]) + contract.bias[:, None, None]
    torch.testing.assert_close(block(x), x + y)


@pytest.mark.parametrize("dim", [4, 6, 64])
@pytest.mark.parametrize("max_period", [100.0, 10_000.0])
def test_ddpm_form_is_sines_then_cosines_down_to_the_last_frequency(dim, max_period):
    half = dim // 2
    expected = [
        [math.sin(t * max_period ** (-i / (half - 1))) for i in range(half)]
        + [math.cos(t * max_period ** (-i / (half - 1))) for i in range(half)]
        for t in T_VALUES.tolist()
    ]
    embedded = ddpm_sinusoidal_embedding(T_VALUES, dim, max_period)
    torch.testing.assert_close(embedded, torch.tensor(expected), atol=ANGLE_ERROR, rtol=0)


@pytest.mark.parametrize("dim", [-2, 0, 2, 7])
def test_ddpm_form_needs_two_frequencies(dim):
    with pytest.raises(ValueError, match=f"at least 4, got {dim}"):
        ddpm_sinusoidal_embedding(T_VALUES, dim)
