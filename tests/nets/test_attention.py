"""Attention, against the formula written out in loops, and against what must not change it."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from minidiff.nets.attention import (
    GEGLU,
    Attention,
    FeedForward,
    LinearAttention,
    SpatialTransformer,
    TransformerBlock,
    attention_weights,
    linear_attention,
)

WRONG_SHAPE = (ValueError, TypeError)  # under pytest the annotation may be the one that objects


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_attention_weights_are_a_softmax_over_the_keys():
    query, key = draw(3, 4), draw(5, 4)
    weights = attention_weights(query, key)
    for n in range(3):
        fits = [
            math.exp(sum(q * k for q, k in zip(query[n].tolist(), key[m].tolist(), strict=True)) / 2) for m in range(5)
        ]
        expected = torch.tensor([fit / sum(fits) for fit in fits], dtype=torch.float64)
        torch.testing.assert_close(weights[n], expected)


def test_attention_weights_sum_to_one_over_keys_and_not_over_queries():
    weights = attention_weights(draw(2, 3, 6, 4), draw(2, 3, 5, 4))
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 6, dtype=torch.float64))
    assert (weights.sum(dim=-2) - 1).abs().max() > 0.01


def test_attention_weights_feel_only_differences_between_keys():
    query, key, shift = draw(6, 4), draw(5, 4), draw(1, 4)
    weights = attention_weights(query, key)
    torch.testing.assert_close(attention_weights(query, key + shift), weights)
    torch.testing.assert_close(attention_weights(3 * query, key / 3), weights)
    torch.testing.assert_close(attention_weights(query.flip(-1), key.flip(-1)), weights)
    torch.testing.assert_close(attention_weights(query, key.flip(0)), weights.flip(-1))
    assert not torch.allclose(attention_weights(query + shift, key), weights)


def test_the_root_of_d_keeps_scores_of_wide_heads_at_unit_variance():
    """Without it a head of width 256 would hardly ever look at more than one key."""
    weights = attention_weights(draw(2000, 256), draw(8, 256))
    assert abs((weights.log() - weights.log().mean(-1, keepdim=True)).var() - 1) < 0.1


@pytest.mark.parametrize("context_dim", [None, 6])
@pytest.mark.parametrize("heads", [1, 4])
def test_attention_is_the_formula_in_each_head(context_dim, heads):
    layer = Attention(16, heads, context_dim).double()
    x = draw(2, 9, 16)
    context = None if context_dim is None else draw(2, 5, context_dim)
    source = x if context is None else context
    averages = []
    for query, key, value in zip(
        layer.query(x).split(16 // heads, -1),
        layer.key(source).split(16 // heads, -1),
        layer.value(source).split(16 // heads, -1),
        strict=True,
    ):
        averages.append(attention_weights(query, key) @ value)
    torch.testing.assert_close(layer(x, context), layer.out(torch.cat(averages, dim=-1)))


def test_linear_attention_is_the_product_bracketed_the_other_way():
    query, key, value = draw(2, 3, 7, 4), draw(2, 3, 5, 4), draw(2, 3, 5, 6)
    weights = torch.einsum("...nd,...ld->...nl", query.softmax(-1), key.softmax(-2))
    torch.testing.assert_close(linear_attention(query, key, value), weights @ value)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 7, dtype=torch.float64))


def test_linear_attention_of_equal_values_is_that_value():
    value = draw(1, 6).expand(5, 6)
    torch.testing.assert_close(linear_attention(draw(7, 4), draw(5, 4), value), value[:1].expand(7, 6))


def test_linear_attention_module_is_the_function_in_each_head():
    layer, x = LinearAttention(16, heads=4).double(), draw(2, 9, 16)
    parts = zip(layer.query(x).split(4, -1), layer.key(x).split(4, -1), layer.value(x).split(4, -1), strict=True)
    torch.testing.assert_close(layer(x), layer.out(torch.cat([linear_attention(*part) for part in parts], dim=-1)))


def test_twice_the_positions_cost_linear_attention_twice_and_softmax_attention_more():
    def cost(layer, positions):
        with FlopCounterMode(display=False) as counter:
            layer.to("meta")(torch.empty(1, positions, 16, device="meta"))
        return counter.get_total_flops()

    assert cost(LinearAttention(16, 2), 2048) == 2 * cost(LinearAttention(16, 2), 1024)
    assert cost(Attention(16, 2), 2048) > 3 * cost(Attention(16, 2), 1024)


@pytest.mark.parametrize("layer", [Attention(16, 4), LinearAttention(16, 4), TransformerBlock(16, 4)])
def test_self_attention_knows_nothing_of_the_order_of_positions(layer):
    layer, x, order = layer.double(), draw(2, 9, 16), torch.randperm(9)
    torch.testing.assert_close(layer(x)[:, order], layer(x[:, order]))


def test_cross_attention_knows_nothing_of_the_order_of_words():
    """Word order reaches the picture through the text encoder's positions, or not at all."""
    layer, x, context = Attention(16, 4, context_dim=6).double(), draw(2, 9, 16), draw(2, 5, 6)
    torch.testing.assert_close(layer(x, context), layer(x, context[:, torch.randperm(5)]))
    torch.testing.assert_close(layer(x, context), layer(x, torch.cat([context, context], dim=1)))
    assert not torch.allclose(layer(x, context), layer(x, context.flip(0)))


def test_only_the_output_has_a_bias():
    names = {name for name, _ in Attention(8, 2).named_parameters()}
    assert names == {"query.weight", "key.weight", "value.weight", "out.weight", "out.bias"}


def test_a_context_that_is_missing_or_not_wanted_is_an_error():
    with pytest.raises(ValueError, match="context_dim=6, called with no context"):
        Attention(8, 2, context_dim=6)(torch.randn(1, 4, 8))
    with pytest.raises(ValueError, match="context_dim=None, called with a context"):
        Attention(8, 2)(torch.randn(1, 4, 8), torch.randn(1, 3, 8))


@pytest.mark.parametrize("build", [Attention, LinearAttention])
@pytest.mark.parametrize("heads", [3, 0])
def test_heads_that_do_not_divide_the_channels_are_an_error(build, heads):
    with pytest.raises(ValueError, match=f"heads={heads}"):
        build(8, heads)


def test_geglu_gates_its_first_half_by_the_exact_gelu_of_the_second():
    layer, x = GEGLU(4, 6).double(), draw(2, 3, 4)
    value, gate = layer.linear(x)[..., :6], layer.linear(x)[..., 6:]
    normal_cdf = (1 + torch.erf(gate / math.sqrt(2))) / 2
    torch.testing.assert_close(layer(x), value * gate * normal_cdf)


def test_feed_forward_is_eight_wide_then_four():
    layer = FeedForward(4)
    assert layer.geglu.linear.weight.shape == (32, 4)
    assert layer.out.weight.shape == (4, 16)


def test_transformer_block_adds_each_part_to_its_input():
    block, x, context = TransformerBlock(16, 4, context_dim=6).double(), draw(2, 9, 16), draw(2, 5, 6)
    norm = lambda y: F.layer_norm(y, (16,))  # noqa: E731  (fresh LayerNorms scale by 1 and shift by 0)
    y = x + block.self_attention(norm(x))
    y = y + block.cross_attention(norm(y), context)
    torch.testing.assert_close(block(x, context), y + block.feed_forward(norm(y)))


def test_spatial_transformer_puts_every_pixel_back_where_it_was():
    """With its attention silenced every pixel is treated alike: a shifted picture comes out shifted."""
    layer, x = SpatialTransformer(16, 4, norm_groups=4).double(), draw(2, 16, 3, 5)
    torch.nn.init.zeros_(layer.block.self_attention.out.weight)
    assert layer(x).shape == x.shape
    torch.testing.assert_close(layer(x.roll((1, 2), (2, 3))), layer(x).roll((1, 2), (2, 3)))
    assert layer.norm.eps == 1e-6


def test_spatial_transformer_with_a_silenced_output_leaves_the_picture_as_it_is():
    layer, x = SpatialTransformer(16, 4, norm_groups=4), torch.randn(2, 16, 3, 5)
    for parameter in layer.conv_out.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(layer(x), x)


def test_wrong_shapes_are_refused():
    with pytest.raises(WRONG_SHAPE):
        Attention(8, 2)(torch.randn(4, 8))
    with pytest.raises(WRONG_SHAPE):
        linear_attention(torch.randn(4, 8), torch.randn(4, 8), torch.randn(5, 8))
