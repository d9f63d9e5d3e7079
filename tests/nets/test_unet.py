"""The U-Net: its size, its shapes, its errors, and what every part of it does to the output."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minidiff.nets import Condition, Features, UNet, UNetConfig
from minidiff.nets.attention import Attention

WRONG_SHAPE = (ValueError, TypeError)  # under pytest the annotation may be the one that objects
SMALL = {"channels": (16, 32), "attention": (False, True), "heads": 2, "norm_groups": 4}
IMAGE_CHANNELS = 2
VARIANTS = {
    "plain": {},
    "context": {"context_dim": 6},
    "vector": {"vector_dim": 7},
    "labels": {"classes": 5},
    "image": {"in_channels": 1 + IMAGE_CHANNELS, "out_channels": 1},
    "no middle": {"middle": False, "context_dim": 6},
    "everything": {
        "in_channels": 1 + IMAGE_CHANNELS,
        "out_channels": 1,
        "context_dim": 6,
        "vector_dim": 7,
        "classes": 5,
        "attention": (True, True),
        "heads": (2, 4),
        "depth": (1, 2),
        "blocks_per_level": 2,
    },
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def config(request):
    return UNetConfig.tiny(**(SMALL | request.param))


def inputs(config, batch=3, size=16):
    condition = Condition(
        context=None if config.context_dim is None else torch.randn(batch, 5, config.context_dim),
        vector=None if config.vector_dim is None else torch.randn(batch, config.vector_dim),
        labels=None if config.classes is None else torch.arange(batch) % config.classes,
        image=None if config.in_channels == 1 else torch.randn(batch, IMAGE_CHANNELS, size, size),
    )
    return torch.randn(batch, 1, size, size), torch.linspace(1, 900, batch).long(), condition


def parameters(config):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in UNet(config).parameters())


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (UNetConfig.stable_diffusion_1(), 859_520_964),
        (UNetConfig.stable_diffusion_2(), 865_910_724),
        (UNetConfig.stable_diffusion_xl(), 2_567_463_684),
        (UNetConfig.stable_diffusion_1(in_channels=9), 859_535_364),
        (UNetConfig.stable_diffusion_1(blocks_per_level=1, middle=False), 482_346_884),
    ],
    ids=["1", "2", "XL", "1 for inpainting", "BK-SDM small"],
)
def test_published_networks_have_as_many_parameters_as_published(config, count):
    assert parameters(config) == count


@pytest.mark.parametrize(
    ("config", "channels", "words", "vector"),
    [
        (UNetConfig.stable_diffusion_1(), 4, (77, 768), None),
        (UNetConfig.stable_diffusion_2(in_channels=9), 9, (77, 1024), None),
        (UNetConfig.stable_diffusion_xl(), 4, (77, 2048), 2816),
    ],
    ids=["1", "2 for inpainting", "XL"],
)
def test_published_networks_keep_the_shape_of_their_latents(config, channels, words, vector):
    with torch.device("meta"):
        condition = Condition(
            context=torch.empty(2, *words),
            vector=None if vector is None else torch.empty(2, vector),
            image=None if channels == 4 else torch.empty(2, channels - 4, 64, 64),
        )
        unet, z = UNet(config), torch.empty(2, 4, 64, 64)
    assert unet(z, 500, condition).shape == z.shape


def test_tiny_fits_a_laptop_and_attends_at_8_by_8_and_below():
    config = UNetConfig.tiny()
    unet = UNet(config)
    positions = []
    for module in unet.modules():
        if isinstance(module, Attention):
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
    x_t, t, condition = inputs(config)
    together = unet(x_t, t, condition)
    for i in range(3):
        one = slice(i, i + 1)
        alone = unet(x_t[one], t[one], condition.map(lambda tensor, one=one: tensor[one]))
        torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_time_and_every_part_of_the_condition_change_the_output_item_by_item(config):
    unet = UNet(config)
    x_t, t, condition = inputs(config)
    output = unet(x_t, t, condition)

    def change(t, condition):
        return (unet(x_t, t, condition) - output).abs().amax((1, 2, 3))

    assert change(t + 50, condition).min() > 1e-3
    for name in ("context", "vector", "labels", "image"):
        if (value := getattr(condition, name)) is not None:
            assert change(t, replace(condition, **{name: value.roll(1, 0)})).min() > 1e-4
            only_first = torch.cat([value[1:2], value[1:]])  # item 0 is given what item 1 is given
            first, *others = change(t, replace(condition, **{name: only_first}))
            assert first > 1e-4
            assert max(others) < 1e-5


@torch.no_grad()
def test_the_order_of_words_changes_nothing():
    config = UNetConfig.tiny(**(SMALL | VARIANTS["context"]))
    unet = UNet(config)
    x_t, t, condition = inputs(config)
    reordered = unet(x_t, t, condition.map(lambda context: context.flip(1)))
    torch.testing.assert_close(reordered, unet(x_t, t, condition), atol=1e-5, rtol=0)


@torch.no_grad()
def test_vector_and_labels_are_added_to_the_time_embedding():
    """A class whose learned vector is what the two linear layers make of a vector does what that vector does."""
    both = UNet(UNetConfig.tiny(**SMALL, vector_dim=7, classes=2))
    x_t, vector = torch.randn(2, 1, 16, 16), torch.randn(2, 7)
    hidden = both.vector_embedding.linear_1(vector)
    embedded = both.vector_embedding.linear_2(hidden * torch.sigmoid(hidden))
    by_vector = UNet(UNetConfig.tiny(**SMALL, vector_dim=7))
    by_vector.load_state_dict({k: v for k, v in both.state_dict().items() if not k.startswith("label")})
    by_label = UNet(UNetConfig.tiny(**SMALL, classes=2))
    by_label.load_state_dict({k: v for k, v in both.state_dict().items() if not k.startswith("vector")})

    by_label.label_embedding.weight.copy_(embedded)
    expected = by_vector(x_t, 7, Condition(vector=vector))
    torch.testing.assert_close(by_label(x_t, 7, Condition(labels=torch.arange(2))), expected, atol=1e-5, rtol=0)

    both.label_embedding.weight.copy_(-embedded)  # together they cancel
    plain = UNet(UNetConfig.tiny(**SMALL))
    plain.load_state_dict({k: v for k, v in both.state_dict().items() if not k.startswith(("label", "vector"))})
    cancelled = both(x_t, 7, Condition(vector=vector, labels=torch.arange(2)))
    torch.testing.assert_close(cancelled, plain(x_t, 7), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_image_is_concatenated_after_the_channels_of_x_t():
    sizes = SMALL | {"in_channels": 3, "out_channels": 1}
    unet, (x, y, z) = UNet(UNetConfig.tiny(**sizes)), torch.randn(3, 2, 1, 16, 16)
    expected = unet(torch.cat([x, y, z], dim=1), 7)
    assert torch.equal(unet(x, 7, Condition(image=torch.cat([y, z], dim=1))), expected)
    assert torch.equal(unet(torch.cat([x, y], dim=1), 7, Condition(image=z)), expected)
    assert not torch.allclose(unet(z, 7, Condition(image=torch.cat([x, y], dim=1))), expected)


def residuals_like(unet, x_t, t, condition, fill):
    """Residuals with the shapes of what the encoder hands to the decoder, each made by `fill(shape)`."""
    features = unet.encode(x_t, unet.embed(t, x_t, condition), condition)
    return Features(tuple(fill(skip.shape) for skip in features.skips), fill(features.middle.shape))


@torch.no_grad()
def test_residuals_of_zeros_change_nothing(config):
    unet = UNet(config)
    x_t, t, condition = inputs(config)
    zeros = residuals_like(unet, x_t, t, condition, torch.zeros)
    assert [skip.shape[1] for skip in zeros.skips] == list(config.skip_channels)
    assert torch.equal(unet(x_t, t, condition, zeros), unet(x_t, t, condition))


@torch.no_grad()
def test_each_residual_is_added_to_the_skip_of_its_place(config):
    """Added by a hook to what the stage on the way up is given of that skip, it makes the same picture."""
    unet = UNet(config)
    x_t, t, condition = inputs(config)
    output, zeros = unet(x_t, t, condition), residuals_like(unet, x_t, t, condition, torch.zeros)
    stages = [stage for resolution in unet.up for stage in resolution]
    assert len(zeros.skips) == len(stages)
    for i, stage in enumerate(reversed(stages)):  # the first skip is read by the last stage
        residual = torch.randn(zeros.skips[i].shape)

        def with_residual(_stage, given, residual=residual):
            below, skip = given[0].split([given[0].shape[1] - residual.shape[1], residual.shape[1]], dim=1)
            return (torch.cat([below, skip + residual], dim=1), *given[1:])

        changed = unet(x_t, t, condition, zeros._replace(skips=(*zeros.skips[:i], residual, *zeros.skips[i + 1 :])))
        assert (changed - output).abs().max() > 1e-3
        hook = stage.register_forward_pre_hook(with_residual)
        torch.testing.assert_close(changed, unet(x_t, t, condition), atol=1e-5, rtol=0)
        hook.remove()


@torch.no_grad()
def test_the_last_residual_is_added_to_the_output_of_the_middle():
    config = UNetConfig.tiny(**SMALL)
    unet, (x_t, t, condition) = UNet(config), inputs(config)
    zeros = residuals_like(unet, x_t, t, condition, torch.zeros)
    residual = torch.randn(zeros.middle.shape)
    changed = unet(x_t, t, condition, zeros._replace(middle=residual))
    assert (changed - unet(x_t, t, condition)).abs().max() > 1e-3
    unet.middle[-1].register_forward_hook(lambda _module, _given, output: output + residual)
    torch.testing.assert_close(changed, unet(x_t, t, condition), atol=1e-5, rtol=0)


def test_residuals_reach_the_output_with_a_gradient():
    config = UNetConfig.tiny(**SMALL)
    unet, (x_t, t, condition) = UNet(config), inputs(config)
    residuals = residuals_like(unet, x_t, t, condition, lambda shape: torch.zeros(shape, requires_grad=True))
    unet(x_t, t, condition, residuals).square().sum().backward()
    assert all(residual.grad.abs().max() > 0 for residual in (*residuals.skips, residuals.middle))


def test_residuals_that_do_not_fit_are_an_error():
    config = UNetConfig.tiny(**SMALL)
    unet, (x_t, t, condition) = UNet(config), inputs(config)
    residuals = residuals_like(unet, x_t, t, condition, torch.zeros)
    for wrong in (
        residuals._replace(skips=residuals.skips[1:]),
        residuals._replace(middle=residuals.middle[:2]),
        residuals._replace(skips=(residuals.middle, *residuals.skips[1:])),
    ):
        with pytest.raises(ValueError, match="residuals must have the shapes"):
            unet(x_t, t, condition, wrong)


@torch.no_grad()
def test_without_a_middle_the_decoder_begins_with_the_last_skip():
    config = UNetConfig.tiny(**SMALL, middle=False)
    unet, (x_t, t, condition) = UNet(config), inputs(config)
    features = unet.encode(x_t, unet.embed(t, x_t, condition), condition)
    assert torch.equal(features.middle, features.skips[-1])


@torch.no_grad()
def test_every_skip_connection_and_the_middle_carry_signal(config):
    unet = UNet(config)
    x_t, t, condition = inputs(config)
    output = unet(x_t, t, condition)

    def changes_when(hook):
        changed = unet(x_t, t, condition)
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
    for stage in unet.middle[-1:]:
        assert changes_when(stage.register_forward_hook(lambda _module, _given, y: torch.zeros_like(y)))


@torch.no_grad()
def test_the_input_gets_past_a_silenced_middle():
    config = UNetConfig.tiny(**SMALL)
    unet = UNet(config)
    unet.middle[-1].register_forward_hook(lambda _module, _given, output: torch.zeros_like(output))
    x_t, t, condition = inputs(config)
    assert (unet(x_t, t, condition) - unet(x_t.flip(0), t, condition)).abs().max() > 1e-3


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
    x_t, t, condition = inputs(config)
    exact = unet(x_t, t, condition)
    with torch.autocast("cpu", torch.bfloat16):
        output = unet(x_t, t, condition)
    assert output.dtype == x_t.dtype
    assert (output - exact).abs().max() < 0.1 * exact.abs().max()  # bfloat16 keeps 8 bits, over some twenty layers
    output.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in unet.parameters())


def test_a_network_in_float64_works_throughout():
    unet = UNet(UNetConfig.tiny(**SMALL)).double()
    assert unet(torch.randn(1, 1, 8, 8).double(), 3).dtype == torch.float64


def test_wrong_pictures_and_times_are_refused_by_name():
    plain, x_t = UNet(UNetConfig.tiny(**SMALL)), torch.randn(2, 1, 8, 8)
    with pytest.raises(ValueError, match="multiples of 4, got 10×8"):
        plain(torch.randn(2, 1, 10, 8), 1)
    with pytest.raises(ValueError, match=r"x_t and condition.image must have 1 channels together, got \(3, 0\)"):
        plain(torch.randn(2, 3, 8, 8), 1)
    for t in (torch.tensor([1, 2, 3]), torch.tensor([1])):
        with pytest.raises(WRONG_SHAPE):
            plain(x_t, t)
    with pytest.raises(WRONG_SHAPE):
        plain(x_t[0], 1)


@pytest.mark.parametrize(
    ("sizes", "condition", "message"),
    [
        ({}, {"context": (2, 5, 6)}, "condition.context is given, but would be ignored: .* context_dim=None"),
        ({}, {"vector": (2, 7)}, "condition.vector is given, but would be ignored: .* vector_dim=None"),
        ({}, {"labels": (2,)}, "condition.labels is given, but would be ignored: .* classes=None"),
        ({}, {"image": (2, 2, 8, 8)}, r"1 channels together, got \(1, 2\)"),
        ({}, {"control": (2, 3, 8, 8)}, "condition.control would be ignored: pass"),
        ({"context_dim": 6}, {}, "condition.context is missing: this U-Net was built with context_dim=6"),
        ({"vector_dim": 7}, {}, "condition.vector is missing: this U-Net was built with vector_dim=7"),
        ({"classes": 5}, {}, "condition.labels is missing: this U-Net was built with classes=5"),
        ({"in_channels": 3}, {}, r"3 channels together, got \(1, 0\)"),
        ({"context_dim": 6}, {"context": (2, 5, 7)}, r"context must have the shape \(2, l, 6\), got \(2, 5, 7\)"),
        ({"context_dim": 6}, {"context": (3, 5, 6)}, r"context must have the shape \(2, l, 6\), got \(3, 5, 6\)"),
        ({"vector_dim": 7}, {"vector": (2, 6)}, r"vector must have the shape \(2, 7\), got \(2, 6\)"),
        ({"classes": 5}, {"labels": (3,)}, r"labels must have the shape \(2\), got \(3,\)"),
        ({"in_channels": 3}, {"image": (2, 2, 4, 8)}, r"image must have the shape \(2, c, 8, 8\), got \(2, 2, 4, 8\)"),
        ({"in_channels": 3}, {"image": (1, 2, 8, 8)}, r"image must have the shape \(2, c, 8, 8\), got \(1, 2, 8, 8\)"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused_by_name(sizes, condition, message):
    unet = UNet(UNetConfig.tiny(**(SMALL | sizes)))
    given = {n: torch.zeros(shape, dtype=torch.int64 if n == "labels" else None) for n, shape in condition.items()}
    with pytest.raises(ValueError, match=message):
        unet(torch.randn(2, 1, 8, 8), 1, Condition(**given))


def test_a_config_survives_json():
    for config in (UNetConfig.tiny(context_dim=6, heads=(4, 4, 8)), UNetConfig.stable_diffusion_xl()):
        assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="widht"):
        UNetConfig.from_dict(UNetConfig.tiny().to_dict() | {"widht": 3})


def test_one_number_for_all_resolutions_is_repeated():
    torch.manual_seed(0)
    one = UNet(UNetConfig.tiny(**(SMALL | {"heads": 2, "depth": 2})))
    torch.manual_seed(0)
    many = UNet(UNetConfig.tiny(**(SMALL | {"heads": (2, 2), "depth": (2, 2)})))
    x_t = torch.randn(2, 1, 8, 8)
    assert torch.equal(one(x_t, 3), many(x_t, 3))


@pytest.mark.parametrize("build", [UNetConfig.tiny, UNetConfig.stable_diffusion_1, UNetConfig.stable_diffusion_xl])
def test_every_field_can_be_overridden(build):
    assert build(dropout=0.1, out_channels=7).out_channels == 7


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
        ("vector_dim", 0),
        ("classes", -1),
        ("heads", 3),
        ("heads", 0),
        ("heads", (2, 3)),
        ("heads", (2,)),
        ("depth", 0),
        ("depth", (1, 0)),
        ("depth", (1, 1, 1)),
        ("norm_groups", 5),
        ("patch_size", 0),
        ("dropout", 1.0),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match="attention" if value == (16, 32, 64) else field):
        UNetConfig.tiny(**(SMALL | {field: value}))
