"""Attention, against the formula written out in loops, and against what must not change it."""

import math

import pytest
import torch
import torch.nn.functional as F

from minidiff.nets.attention import Attention, FeedForward, SpatialTransformer, TransformerBlock, attention_weights

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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("context_dim", [None, 6])
@pytest.mark.parametrize("heads", [1, 4])
def test_attention_is_the_formula_in_each_head(context_dim, heads, bias):
    layer = Attention(16, heads, context_dim, bias=bias).double()
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


def test_causal_attention_of_a_position_is_attention_over_the_positions_up_to_it():
    causal, full = Attention(16, 4, bias=True, causal=True).double(), Attention(16, 4, bias=True).double()
    full.load_state_dict(causal.state_dict())
    x = draw(3, 5, 16)
    expected = [full(x[:, : last + 1])[:, -1] for last in range(5)]
    torch.testing.assert_close(causal(x), torch.stack(expected, dim=1))


@pytest.mark.parametrize("layer", [Attention(16, 4), TransformerBlock(16, 4)])
def test_self_attention_knows_nothing_of_the_order_of_positions(layer):
    layer, x, order = layer.double(), draw(2, 9, 16), torch.randperm(9)
    torch.testing.assert_close(layer(x)[:, order], layer(x[:, order]))


def test_cross_attention_knows_nothing_of_the_order_of_words():
    """Word order reaches the picture through the text encoder's positions, or not at all."""
    layer, x, context = Attention(16, 4, context_dim=6).double(), draw(2, 9, 16), draw(2, 5, 6)
    torch.testing.assert_close(layer(x, context), layer(x, context[:, torch.randperm(5)]))
    torch.testing.assert_close(layer(x, context), layer(x, torch.cat([context, context], dim=1)))
    assert not torch.allclose(layer(x, context), layer(x, context.flip(0)))


def test_the_output_always_has_a_bias_and_the_other_layers_where_it_is_asked_for():
    weights = {"query.weight", "key.weight", "value.weight", "out.weight", "out.bias"}
    assert {name for name, _ in Attention(8, 2).named_parameters()} == weights
    more = {"query.bias", "key.bias", "value.bias"}
    assert {name for name, _ in Attention(8, 2, bias=True).named_parameters()} == weights | more


def test_a_context_that_is_missing_or_not_wanted_is_an_error():
    with pytest.raises(ValueError, match="context_dim=6, but called with no context"):
        Attention(8, 2, context_dim=6)(torch.randn(1, 4, 8))
    with pytest.raises(ValueError, match="context_dim=None, but called with a context"):
        Attention(8, 2)(torch.randn(1, 4, 8), torch.randn(1, 3, 8))


@pytest.mark.parametrize("heads", [3, 0])
def test_heads_that_do_not_divide_the_channels_are_an_error(heads):
    with pytest.raises(ValueError, match=f"heads={heads}"):
        Attention(8, heads)


def normal_cdf(x):
    return (1 + torch.erf(x / math.sqrt(2))) / 2


@pytest.mark.parametrize(
    ("activation", "width", "expected"),
    [
        ("geglu", 12, lambda y: y[..., :6] * y[..., 6:] * normal_cdf(y[..., 6:])),  # value first, gate second
        ("gelu", 6, lambda y: y * normal_cdf(y)),
        ("quick_gelu", 6, lambda y: y / (1 + torch.exp(-1.702 * y))),
    ],
)
def test_feed_forward_is_two_linear_layers_around_the_activation(activation, width, expected):
    layer, x = FeedForward(4, 6, activation).double(), draw(2, 3, 4)
    hidden = x @ layer.linear.weight.T + layer.linear.bias
    assert hidden.shape[-1] == width
    torch.testing.assert_close(layer(x), expected(hidden) @ layer.out.weight.T + layer.out.bias)


def test_feed_forward_is_gated_and_four_times_as_wide_unless_it_is_told_otherwise():
    layer = FeedForward(4)
    assert layer.linear.weight.shape == (32, 4)
    assert layer.out.weight.shape == (4, 16)


def test_an_unknown_activation_is_an_error():
    with pytest.raises(ValueError, match="geglu, gelu, quick_gelu, got 'relu'"):
        FeedForward(4, activation="relu")


def test_transformer_block_adds_each_part_to_its_input():
    block, x, context = TransformerBlock(16, 4, context_dim=6).double(), draw(2, 9, 16), draw(2, 5, 6)
    norm = lambda y: F.layer_norm(y, (16,))  # noqa: E731  (fresh LayerNorms scale by 1 and shift by 0)
    y = x + block.self_attention(norm(x))
    y = y + block.cross_attention(norm(y), context)
    torch.testing.assert_close(block(x, context), y + block.feed_forward(norm(y)))


def test_spatial_transformer_puts_every_pixel_back_where_it_was():
    """With its attention silenced every pixel is treated alike: a shifted picture comes out shifted."""
    layer, x = SpatialTransformer(16, 4, norm_groups=4).double(), draw(2, 16, 3, 5)
    torch.nn.init.zeros_(layer.blocks[0].self_attention.out.weight)
    assert layer(x).shape == x.shape
    torch.testing.assert_close(layer(x.roll((1, 2), (2, 3))), layer(x).roll((1, 2), (2, 3)))
    assert layer.norm.eps == 1e-6


def test_spatial_transformer_runs_its_blocks_one_after_the_other():
    layer, x, context = SpatialTransformer(16, 4, 6, norm_groups=4, depth=3).double(), draw(2, 16, 3, 5), draw(2, 5, 6)
    pixels = layer.conv_in(layer.norm(x)).flatten(2).transpose(1, 2)
    for block in layer.blocks:
        pixels = block(pixels, context)
    expected = x + layer.conv_out(pixels.transpose(1, 2).reshape(x.shape))
    assert len(layer.blocks) == 3
    torch.testing.assert_close(layer(x, context), expected)


def test_spatial_transformer_with_a_silenced_output_leaves_the_picture_as_it_is():
    layer, x = SpatialTransformer(16, 4, norm_groups=4), torch.randn(2, 16, 3, 5)
    for parameter in layer.conv_out.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(layer(x), x)


def test_wrong_shapes_are_refused():
    with pytest.raises(WRONG_SHAPE):
        Attention(8, 2)(torch.randn(4, 8))
