"""The U-Net: its size, its shapes, its errors, and what every part of it does to the output."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minidiff.nets import UNet, UNetConfig

WRONG_SHAPE = (ValueError, TypeError)  # under pytest the annotation may be the one that objects
SMALL = {"channels": (16, 32), "attention": (False, True), "heads": 2, "norm_groups": 4}
VARIANTS = {
    "resnet": {},
    "convnext": {"block": "convnext"},
    "linear": {"attention_kind": "linear"},
    "context": {"context_dim": 6},
    "everything": {"block": "convnext", "attention_kind": "linear", "context_dim": 6, "attention": (True, True)},
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def config(request):
    return UNetConfig.tiny(**(SMALL | request.param))


def inputs(config, batch=3, size=16):
    x_t = torch.randn(batch, config.in_channels, size, size)
    context = None if config.context_dim is None else torch.randn(batch, 5, config.context_dim)
    return x_t, torch.linspace(1, 900, batch).long(), context


def test_stable_diffusion_1_has_as_many_parameters_as_published():
    with torch.device("meta"):
        unet = UNet(UNetConfig.stable_diffusion_1())
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964


def test_stable_diffusion_1_keeps_the_shape_of_its_latents():
    with torch.device("meta"):
        unet, z, context = UNet(UNetConfig.stable_diffusion_1()), torch.empty(2, 4, 64, 64), torch.empty(2, 77, 768)
    assert unet(z, 500, context).shape == z.shape


def test_tiny_fits_a_laptop_and_attends_at_8_by_8_and_below():
    config = UNetConfig.tiny()
    unet = UNet(config)
    positions = []
    for module in unet.modules():
        if type(module).__name__ == "Attention":
            module.register_forward_hook(lambda _module, given, _output: positions.append(given[0].shape[1]))
    assert unet(torch.randn(1, 1, 32, 32), 1).shape == (1, 1, 32, 32)
    assert max(positions) == 64
    assert 1_500_000 < sum(parameter.numel() for parameter in unet.parameters()) < 4_000_000


@settings(max_examples=15, deadline=None)
@given(
    levels=st.integers(1, 3),
    blocks_per_level=st.integers(1, 3),
    patch_size=st.sampled_from([1, 2, 3]),
    multiples=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    colours=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    attention=st.booleans(),
)
def test_the_output_has_the_shape_of_the_input(levels, blocks_per_level, patch_size, multiples, colours, attention):
    config = UNetConfig(
        *colours,
        channels=(8, 4, 8)[:levels],
        attention=(attention,) * levels,
        blocks_per_level=blocks_per_level,
        patch_size=patch_size,
        heads=2,
        norm_groups=2,
    )
    height, width = (config.stride * multiple for multiple in multiples)
    assert UNet(config)(torch.randn(2, colours[0], height, width), 3).shape == (2, colours[1], height, width)


def test_every_parameter_is_reached_by_a_gradient(config):
    unet = UNet(config)
    unet(*inputs(config)).square().mean().backward()
    for name, parameter in unet.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_a_picture_is_denoised_alike_alone_and_in_a_batch(config):
    unet = UNet(config)
    x_t, t, context = inputs(config)
    together = unet(x_t, t, context)
    for i in range(3):
        alone = unet(x_t[i : i + 1], t[i : i + 1], None if context is None else context[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_time_and_context_change_the_output(config):
    unet = UNet(config)
    x_t, t, context = inputs(config)
    output = unet(x_t, t, context)
    assert (unet(x_t, t + 50, context) - output).abs().amax((1, 2, 3)).min() > 1e-3
    if context is not None:
        assert (unet(x_t, t, context.roll(1, 0)) - output).abs().amax((1, 2, 3)).min() > 1e-4
        torch.testing.assert_close(unet(x_t, t, context.flip(1)), output, atol=1e-5, rtol=0)


@torch.no_grad()
def test_every_skip_connection_and_the_middle_carry_signal(config):
    unet = UNet(config)
    x_t, t, context = inputs(config)
    output = unet(x_t, t, context)

    def changes_when(hook):
        changed = unet(x_t, t, context)
        hook.remove()
        return (changed - output).abs().max() > 1e-4

    width = config.channels[-1]  # of what comes from below; the rest of a stage's input is the skip
    for stages, out_width in zip(unet.up, reversed(config.channels), strict=True):
        for stage in stages:

            def without_skip(_stage, given, width=width):
                x = given[0].clone()
                x[:, width:] = 0
                return (x, *given[1:])

            assert changes_when(stage.register_forward_pre_hook(without_skip))
            width = out_width
    assert changes_when(unet.middle[-1].register_forward_hook(lambda _module, _given, y: torch.zeros_like(y)))


@torch.no_grad()
def test_the_input_gets_past_a_silenced_middle(config):
    unet = UNet(config)
    unet.middle[-1].register_forward_hook(lambda _module, _given, output: torch.zeros_like(output))
    x_t, t, context = inputs(config)
    assert (unet(x_t, t, context) - unet(x_t.flip(0), t, context)).abs().max() > 1e-3


@torch.no_grad()
def test_one_number_is_the_time_of_the_whole_batch():
    config = UNetConfig.tiny(**SMALL)
    unet, (x_t, _, _) = UNet(config), inputs(config)
    output = unet(x_t, torch.full((3,), 7))
    for t in (7, 7.0, torch.tensor(7), torch.tensor([7.0, 7.0, 7.0])):
        assert torch.equal(unet(x_t, t), output)


def test_patches_are_folded_on_the_way_in_and_unfolded_on_the_way_out():
    unet = UNet(UNetConfig.tiny(**SMALL))
    with torch.no_grad():
        unet.conv_out.weight.zero_()
        unet.conv_out.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    tile = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(unet(torch.randn(1, 1, 8, 8), 1)[0, 0], tile.repeat(4, 4))


def test_autocast_to_bfloat16_trains_and_gives_back_the_dtype_of_x_t(config):
    unet = UNet(config)
    x_t, t, context = inputs(config)
    exact = unet(x_t, t, context)
    with torch.autocast("cpu", torch.bfloat16):
        output = unet(x_t, t, context)
    assert output.dtype == x_t.dtype
    assert (output - exact).abs().max() < 0.1 * exact.abs().max()  # bfloat16 keeps 8 bits, over some twenty layers
    output.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in unet.parameters())


def test_a_network_in_float64_works_throughout():
    unet = UNet(UNetConfig.tiny(**SMALL)).double()
    assert unet(torch.randn(1, 1, 8, 8).double(), 3).dtype == torch.float64


def test_wrong_inputs_are_refused_by_name():
    plain, with_context = UNet(UNetConfig.tiny(**SMALL)), UNet(UNetConfig.tiny(**SMALL, context_dim=6))
    x_t = torch.randn(2, 1, 8, 8)
    with pytest.raises(ValueError, match="multiples of 4, got 10×8"):
        plain(torch.randn(2, 1, 10, 8), 1)
    with pytest.raises(ValueError, match="1 channels, got 3"):
        plain(torch.randn(2, 3, 8, 8), 1)
    with pytest.raises(ValueError, match="context_dim=None"):
        plain(x_t, 1, torch.randn(2, 5, 6))
    with pytest.raises(ValueError, match="context_dim=6"):
        with_context(x_t, 1)
    with pytest.raises(ValueError, match=r"\(2, l, 6\), got \(2, 5, 7\)"):
        with_context(x_t, 1, torch.randn(2, 5, 7))
    for context in (torch.randn(3, 5, 6), torch.randn(2, 6)):
        with pytest.raises(WRONG_SHAPE):
            with_context(x_t, 1, context)
    for t in (torch.tensor([1, 2, 3]), torch.tensor([1])):
        with pytest.raises(WRONG_SHAPE):
            plain(x_t, t)
    with pytest.raises(WRONG_SHAPE):
        plain(x_t[0], 1)


def test_a_config_survives_json():
    for config in (UNetConfig.tiny(context_dim=6), UNetConfig.stable_diffusion_1()):
        assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="widht"):
        UNetConfig.from_dict(UNetConfig.tiny().to_dict() | {"widht": 3})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("in_channels", 0),
        ("out_channels", -1),
        ("channels", ()),
        ("channels", (16, -32)),
        ("channels", (16, 32, 64)),
        ("attention", (True,)),
        ("blocks_per_level", 0),
        ("context_dim", 0),
        ("heads", 3),
        ("norm_groups", 5),
        ("patch_size", 0),
        ("block", "transformer"),
        ("attention_kind", "block"),
        ("dropout", 1.0),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match="attention" if value == (16, 32, 64) else field):
        UNetConfig.tiny(**(SMALL | {field: value}))
