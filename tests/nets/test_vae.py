"""The autoencoder: its sizes, its errors, its Gaussians against sampling, and who sees whom when it halves."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minidiff.nets import vae as gaussian
from minidiff.nets.attention import attention_weights
from minidiff.nets.blocks import AsymmetricDownsample
from minidiff.nets.vae import VAE, PixelAttention, VAEConfig
from minidiff.noise import seeded

WRONG_SHAPE = (ValueError, TypeError)  # under pytest the annotation may be the one that objects
SMALL = VAEConfig.tiny(channels=(4, 8, 8), norm_groups=2, latent_scale=0.25)
DRAWS = 200_000


@pytest.fixture
def vae():
    return VAE(SMALL)


def pictures(batch=2, height=8, width=12):
    return torch.rand(batch, 3, height, width) * 2 - 1


def test_stable_diffusion_1_has_as_many_parameters_as_published_and_latents_of_64_by_64():
    with torch.device("meta"):
        vae, x = VAE(VAEConfig.stable_diffusion_1()), torch.empty(2, 3, 512, 512)
    assert sum(parameter.numel() for parameter in vae.parameters()) == 83_653_863
    mean, log_variance = vae.encode(x)
    assert mean.shape == log_variance.shape == (2, 4, 64, 64)
    assert vae.decode(mean).shape == x.shape


def test_tiny_makes_8_by_8_latents_of_32_by_32_pictures():
    vae, x = VAE(VAEConfig.tiny()), pictures(2, 32, 32)
    mean, log_variance = vae.encode(x)
    assert mean.shape == log_variance.shape == (2, 4, 8, 8)
    assert vae.decode(mean).shape == x.shape


@settings(max_examples=10)
@given(
    levels=st.integers(1, 4),
    blocks_per_level=st.integers(1, 3),
    multiples=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 5)),
)
def test_any_multiple_of_the_factor_goes_through_and_comes_back(levels, blocks_per_level, multiples, channels):
    config = VAEConfig(*channels, channels=(4, 2, 6, 2)[:levels], blocks_per_level=blocks_per_level, norm_groups=2)
    vae, x = VAE(config), torch.zeros(2, channels[0], *(config.factor * multiple for multiple in multiples))
    z = vae.to_latents(x)
    assert z.shape == (2, channels[1], *multiples)
    assert vae.from_latents(z).shape == x.shape


def test_every_parameter_is_reached_by_a_gradient_but_the_bias_of_the_keys(vae, generator):
    vae = vae.double()
    vae.from_latents(vae.to_latents(pictures().double(), generator)).square().mean().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad.abs().max() > 1e-15) == (not name.endswith("key.bias")), name


@torch.no_grad()
def test_a_picture_is_encoded_and_decoded_alike_alone_and_in_a_batch(vae):
    x = pictures(3)
    together = (*vae.encode(x), vae.to_latents(x, seeded(5, 3)), vae.from_latents(vae.to_latents(x)))
    for i in range(3):
        one = x[i : i + 1]
        alone = (*vae.encode(one), vae.to_latents(one, seeded(5 + i, 1)), vae.from_latents(vae.to_latents(one)))
        for many, single in zip(together, alone, strict=True):
            torch.testing.assert_close(many[i : i + 1], single, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("pixel", "rows", "columns"),
    [((2, 4), [0, 1], [1, 2]), ((3, 5), [1], [2]), ((0, 0), [0], [0]), ((5, 7), [2], [3])],
)
def test_a_pixel_is_seen_from_where_padding_on_the_right_and_at_the_bottom_puts_it(pixel, rows, columns):
    """Output i sees inputs 2i, 2i + 1, 2i + 2. Padded on both sides it would see 2i - 1 as well."""
    layer = AsymmetricDownsample(2)
    torch.nn.init.ones_(layer.conv.weight)
    torch.nn.init.zeros_(layer.conv.bias)
    x = torch.zeros(1, 2, 6, 8)
    x[0, 1, *pixel] = 1.0
    expected = torch.zeros(3, 4)
    expected[torch.tensor(rows)[:, None], torch.tensor(columns)] = 1.0
    assert torch.equal(layer(x), expected.expand(1, 2, 3, 4))


def test_pixel_attention_is_softmax_attention_of_all_pixels_with_one_head_added_to_the_map():
    layer, x = PixelAttention(8, norm_groups=2).double(), torch.randn(2, 8, 3, 5).double()
    pixels = F.group_norm(x, 2, eps=1e-6).flatten(2).transpose(1, 2)
    query, key, value, out = (getattr(layer.attention, name) for name in ("query", "key", "value", "out"))
    average = attention_weights(query(pixels), key(pixels)) @ value(pixels)
    torch.testing.assert_close(layer(x), x + out(average).transpose(1, 2).reshape(x.shape))


def test_the_bias_of_the_keys_changes_nothing():
    """It adds one number to all scores of a query, which the softmax does not feel."""
    layer, x = PixelAttention(8, norm_groups=2).double(), torch.randn(2, 8, 3, 5).double()
    before = layer(x)
    torch.nn.init.normal_(layer.attention.key.bias)
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize(("mean", "variance"), [(0.7, 4.0), (-2.0, 0.09)])
def test_draws_have_the_mean_and_variance_that_were_asked_for(mean, variance, generator):
    shape = (DRAWS, 1)
    means, log_variances = torch.full(shape, mean), torch.full(shape, math.log(variance))
    z = gaussian.sample(means.double(), log_variances.double(), generator)
    assert abs(z.mean() - mean) < 5 * (variance / DRAWS) ** 0.5
    assert abs(z.var() - variance) < 5 * variance * (2 / (DRAWS - 1)) ** 0.5


def test_a_draw_passes_gradients_to_mean_and_log_variance(generator):
    mean, log_variance = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    z = gaussian.sample(mean, log_variance, generator)
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones(3, 2))
    torch.testing.assert_close(log_variance.grad, (z - mean).detach() / 2)  # d(μ + e^{ℓ/2} ε)/dℓ


@torch.no_grad()
def test_latents_are_scaled_after_encoding_and_back_before_decoding(vae):
    x = pictures()
    mean, log_variance = vae.encode(x)
    draw = gaussian.sample(mean, log_variance, torch.Generator().manual_seed(3))
    torch.testing.assert_close(vae.to_latents(x), 0.25 * mean)
    torch.testing.assert_close(vae.to_latents(x, torch.Generator().manual_seed(3)), 0.25 * draw)
    torch.testing.assert_close(vae.from_latents(0.25 * mean), vae.decode(mean))


@torch.no_grad()
def test_a_round_trip_does_not_feel_the_scale(vae):
    x = pictures()
    expected = vae.from_latents(vae.to_latents(x))
    vae.config = replace(vae.config, latent_scale=3.0)
    torch.testing.assert_close(vae.from_latents(vae.to_latents(x)), expected)


@pytest.mark.parametrize(("given", "held"), [(99.0, 20.0), (-99.0, -30.0), (3.0, 3.0)])
def test_log_variance_is_held_between_minus_30_and_20(vae, given, held):
    with torch.no_grad():
        vae.quant.weight.zero_()
        vae.quant.bias.copy_(torch.cat([torch.full((4,), 77.0), torch.full((4,), given)]))
    mean, log_variance = vae.encode(pictures())
    assert (mean == 77.0).all()
    assert (log_variance == held).all()


def test_autocast_to_bfloat16_trains_and_gives_back_float32(vae):
    x = pictures()
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = vae.encode(x)
        decoded = vae.decode(mean)
    assert mean.dtype == log_variance.dtype == decoded.dtype == torch.float32
    decoded.square().mean().backward()


def test_a_network_in_float64_works_throughout(vae, generator):
    assert vae.double().from_latents(vae.to_latents(pictures().double(), generator)).dtype == torch.float64


def test_wrong_inputs_are_refused_by_name(vae):
    with pytest.raises(ValueError, match="multiples of 4, got 10×8"):
        vae.encode(torch.zeros(1, 3, 10, 8))
    with pytest.raises(ValueError, match="multiples of 4, got 8×6"):
        vae.to_latents(torch.zeros(1, 3, 8, 6))
    with pytest.raises(ValueError, match=r"x must have the shape \(b, 3, h, w\), got \(1, 1, 8, 8\)"):
        vae.encode(torch.zeros(1, 1, 8, 8))
    for wrong in (vae.decode, vae.from_latents):
        with pytest.raises(ValueError, match=r"z must have the shape \(b, 4, h, w\), got \(1, 3, 8, 8\)"):
            wrong(torch.zeros(1, 3, 8, 8))
    with pytest.raises(WRONG_SHAPE):
        vae.encode(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="got 1 generators for 2 images"):
        vae.to_latents(pictures(), seeded(0, 1))
    with pytest.raises(TypeError):
        gaussian.sample(torch.zeros(2, 4), torch.zeros(2, 4), None)


def test_a_config_survives_json():
    for config in (SMALL, VAEConfig.stable_diffusion_1()):
        assert VAEConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="latent_size"):
        VAEConfig.from_dict(SMALL.to_dict() | {"latent_size": 8})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("in_channels", 0),
        ("latent_channels", -1),
        ("channels", ()),
        ("channels", (16, -16)),
        ("blocks_per_level", 0),
        ("norm_groups", 0),
        ("norm_groups", 5),
        ("latent_scale", 0.0),
        ("latent_scale", math.nan),
        ("latent_scale", math.inf),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        VAEConfig.tiny(**{field: value})
