"""Residual blocks, halving and doubling: what they keep, what they mix, and what reaches their weights."""

import pytest
import torch
import torch.nn.functional as F

from minidiff.nets.blocks import Downsample, ResidualBlock, Upsample


@pytest.mark.parametrize("time_dim", [None, 12])
@pytest.mark.parametrize("out_channels", [8, 16])
def test_every_weight_of_a_block_is_reached_by_a_gradient(time_dim, out_channels):
    block = ResidualBlock(8, out_channels, time_dim, norm_groups=4)
    time = None if time_dim is None else torch.randn(2, time_dim)
    output = block(torch.randn(2, 8, 6, 10), time)
    assert output.shape == (2, out_channels, 6, 10)
    output.square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_residual_block_is_the_recipe_of_ddpm():
    block = ResidualBlock(8, 16, time_dim=12, norm_groups=4, eps=1e-2).double()
    x, time = torch.randn(2, 8, 5, 5).double(), torch.randn(2, 12).double()
    silu = lambda y: y * torch.sigmoid(y)  # noqa: E731

    def norm(y):  # over a group of channels and all pixels of one picture, with the biased variance
        groups = y.reshape(2, 4, -1)
        centred = groups - groups.mean(-1, keepdim=True)
        return (centred / (centred.square().mean(-1, keepdim=True) + 1e-2).sqrt()).reshape(y.shape)

    y = block.conv_1(silu(norm(x))) + block.time(silu(time)).reshape(2, 16, 1, 1)
    y = block.conv_2(silu(norm(y)))
    torch.testing.assert_close(block(x, time), y + block.shortcut(x))


def test_time_changes_what_a_block_does():
    block, x = ResidualBlock(8, 8, 12, norm_groups=4), torch.randn(1, 8, 4, 4)
    assert not torch.allclose(block(x, torch.randn(1, 12)), block(x, torch.randn(1, 12)), atol=1e-3)


def test_a_silenced_branch_leaves_the_input_as_it_is():
    block, x = ResidualBlock(8, 8, norm_groups=4), torch.randn(2, 8, 4, 4)
    for parameter in block.conv_2.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)


def test_dropout_acts_in_training_alone():
    block, x = ResidualBlock(8, 8, norm_groups=4, dropout=0.5), torch.randn(1, 8, 4, 4)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_a_time_that_is_missing_or_not_wanted_is_an_error():
    x, time = torch.randn(1, 8, 4, 4), torch.randn(1, 12)
    with pytest.raises(ValueError, match="with time_dim=12, but called without"):
        ResidualBlock(8, 8, 12, norm_groups=4)(x)
    with pytest.raises(ValueError, match="without time_dim, but called with"):
        ResidualBlock(8, 8, norm_groups=4)(x, time)


def test_groups_that_do_not_divide_the_channels_are_an_error():
    with pytest.raises(ValueError, match="divisible"):
        ResidualBlock(8, 8, norm_groups=3)


def test_downsample_looks_at_the_neighbourhood_of_every_second_pixel():
    layer = Downsample(2)
    torch.nn.init.ones_(layer.conv.weight)
    torch.nn.init.zeros_(layer.conv.bias)
    x = torch.zeros(1, 2, 6, 8)
    x[0, 0, 2, 4] = 1.0  # the centre of output pixel (1, 2), and of no other's neighbourhood
    expected = torch.zeros(1, 2, 3, 4)
    expected[:, :, 1, 2] = 1.0
    assert torch.equal(layer(x), expected)


def test_upsample_makes_four_of_every_pixel_then_smooths():
    layer, x = Upsample(2), torch.randn(1, 2, 3, 5)
    torch.testing.assert_close(layer(x), F.conv2d(torch.kron(x, torch.ones(2, 2)), *layer.parameters(), padding=1))
