"""Our U-Net with diffusers' weights is diffusers' U-Net: the same parts, wired the same way."""

import re

import pytest
import torch

from minidiff.nets import Condition, Features, UNet, UNetConfig
from minidiff.nets.embeddings import sinusoidal_embedding

diffusers = pytest.importorskip("diffusers")

# From our names to theirs; each pattern is applied once, in this order.
RENAMES = [
    (r"^down\.(\d+)\.(\d+)\.block\.", r"down_blocks.\1.resnets.\2."),
    (r"^down\.(\d+)\.(\d+)\.transformer\.", r"down_blocks.\1.attentions.\2."),
    (r"^downsample\.(\d+)\.", r"down_blocks.\1.downsamplers.0."),
    (r"^middle\.(\d+)\.block\.", r"mid_block.resnets.\1."),
    (r"^middle\.(\d+)\.transformer\.", r"mid_block.attentions.\1."),
    (r"^up\.(\d+)\.(\d+)\.block\.", r"up_blocks.\1.resnets.\2."),
    (r"^up\.(\d+)\.(\d+)\.transformer\.", r"up_blocks.\1.attentions.\2."),
    (r"^upsample\.(\d+)\.", r"up_blocks.\1.upsamplers.0."),
    (r"^norm_out\.", "conv_norm_out."),
    (r"^vector_embedding\.", "add_embedding."),
    (r"^label_embedding\.", "class_embedding."),
    # inside a residual block
    (r"(resnets\.\d+)\.norm_", r"\1.norm"),
    (r"(resnets\.\d+)\.conv_", r"\1.conv"),
    (r"(resnets\.\d+)\.time\.", r"\1.time_emb_proj."),
    (r"(resnets\.\d+)\.shortcut\.", r"\1.conv_shortcut."),
    # inside a transformer
    (r"(attentions\.\d+)\.conv_", r"\1.proj_"),
    (r"(attentions\.\d+)\.blocks\.", r"\1.transformer_blocks."),
    (r"\.norm_self\.", ".norm1."),
    (r"\.norm_cross\.", ".norm2."),
    (r"\.norm_feed_forward\.", ".norm3."),
    (r"\.self_attention\.", ".attn1."),
    (r"\.cross_attention\.", ".attn2."),
    (r"(attn\d)\.(query|key|value)\.", lambda match: f"{match[1]}.to_{match[2][0]}."),
    (r"(attn\d)\.out\.", r"\1.to_out.0."),
    (r"\.feed_forward\.linear\.", ".ff.net.0.proj."),
    (r"\.feed_forward\.out\.", ".ff.net.2."),
]


def their_name(name: str) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


SIZES = (
    6  # numbers that diffusers embeds, each as SIZE_DIM sinusoids, behind the pooled text: Stable Diffusion XL's vector
)
SIZE_DIM = 8


def theirs(config: UNetConfig, **settings):
    def kinds(direction, attention):
        return tuple(f"{'CrossAttn' if here else ''}{direction}Block2D" for here in attention)

    if config.vector_dim is not None:
        vector = {"addition_embed_type": "text_time", "projection_class_embeddings_input_dim": config.vector_dim}
        settings = {"addition_time_embed_dim": SIZE_DIM} | vector | settings
    if not config.middle:
        settings |= {"mid_block_type": None}
    return diffusers.UNet2DConditionModel(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.channels,
        layers_per_block=config.blocks_per_level,
        down_block_types=kinds("Down", config.attention),
        up_block_types=kinds("Up", reversed(config.attention)),
        cross_attention_dim=config.context_dim,
        attention_head_dim=config.heads,  # a number of heads, whatever it is called
        transformer_layers_per_block=config.depth,
        num_class_embeds=config.classes,
        norm_num_groups=config.norm_groups,
        **settings,
    )


def both(config: UNetConfig, **settings):
    """Ours and theirs with the same random weights."""
    torch.manual_seed(0)
    ours, reference = UNet(config).eval(), theirs(config, **settings).eval()
    for parameter in reference.parameters():  # norms too: at 1 and 0 they could be swapped unnoticed
        parameter.add_(0.05 * torch.randn_like(parameter))
    weights = reference.state_dict()
    renamed = {name: (weights.pop(their_name(name)), weight.shape) for name, weight in ours.state_dict().items()}
    assert not weights  # nothing of theirs is left over
    ours.load_state_dict({name: theirs.reshape(shape) for name, (theirs, shape) in renamed.items()})
    return ours, reference


def small(**sizes) -> UNetConfig:
    defaults = {"channels": (32, 64), "attention": (True, False), "context_dim": 16, "heads": 2, "norm_groups": 8}
    return UNetConfig(**({"in_channels": 4, "out_channels": 4} | defaults | sizes))


VECTOR_DIM = 10 + SIZES * SIZE_DIM
XL = {"channels": (16, 32, 64), "attention": (False, True, True), "depth": (1, 2, 3), "heads": (1, 2, 4)}


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (small(), {}),
        (small(channels=(16, 32, 32), attention=(False, True, True), blocks_per_level=1), {}),
        (small(heads=(2, 8), attention=(True, True)), {"use_linear_projection": True}),
        (small(depth=(2, 3), attention=(True, True)), {}),
        (small(middle=False, blocks_per_level=1), {}),
        (small(in_channels=9), {}),
        (small(classes=5), {}),
        (small(**XL, vector_dim=VECTOR_DIM), {"use_linear_projection": True}),
    ],
    ids=["2 levels", "3 levels", "heads", "depth", "no middle", "9 channels", "labels", "XL"],
)
@torch.no_grad()
def test_the_same_weights_give_the_same_prediction(config, settings):
    ours, reference = both(config, **settings)
    x_t, t, context = torch.randn(2, 4, 16, 24), torch.tensor([3, 981]), torch.randn(2, 7, 16)
    image = torch.randn(2, 5, 16, 24) if config.in_channels == 9 else None
    labels = torch.tensor([4, 1]) if config.classes else None
    pooled, sizes, vector = torch.randn(2, 10), torch.randint(1024, (2, SIZES)), None
    if config.vector_dim is not None:
        vector = torch.cat([pooled, sinusoidal_embedding(sizes.flatten(), SIZE_DIM).reshape(2, -1)], dim=1)

    expected = reference(
        x_t if image is None else torch.cat([x_t, image], dim=1),
        t,
        encoder_hidden_states=context,
        class_labels=labels,
        added_cond_kwargs=None if vector is None else {"text_embeds": pooled, "time_ids": sizes},
    ).sample
    condition = Condition(context=context, vector=vector, labels=labels, image=image)
    torch.testing.assert_close(ours(x_t, t, condition), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_same_residuals_are_added_in_the_same_places():
    config = small()
    ours, reference = both(config)
    x_t, t, context = torch.randn(2, 4, 16, 24), torch.tensor([3, 981]), torch.randn(2, 7, 16)
    heights = [16, 16, 16, 8, 8, 8]
    skips = [torch.randn(2, c, h, h * 3 // 2) for c, h in zip(config.skip_channels, heights, strict=True)]
    middle = torch.randn(2, 64, 8, 12)
    expected = reference(
        x_t,
        t,
        encoder_hidden_states=context,
        down_block_additional_residuals=tuple(skips),
        mid_block_additional_residual=middle,
    ).sample
    answer = ours(x_t, t, Condition(context), Features(tuple(skips), middle))
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (UNetConfig.stable_diffusion_1(), {}),
        (UNetConfig.stable_diffusion_1(in_channels=9), {}),
        (UNetConfig.stable_diffusion_1(blocks_per_level=1, middle=False), {}),
        (UNetConfig.stable_diffusion_2(), {"use_linear_projection": True}),
        (
            UNetConfig.stable_diffusion_xl(),
            {"use_linear_projection": True, "addition_time_embed_dim": 256},
        ),
    ],
    ids=["1", "1 for inpainting", "BK-SDM small", "2", "XL"],
)
def test_published_networks_have_the_names_and_shapes_of_theirs(config, settings):
    """But for 1×1 convolutions, which are linear layers in some of theirs."""
    with torch.device("meta"):
        ours, reference = UNet(config), theirs(config, **settings)
    squeezed = re.compile(r"\.proj_(in|out)\.weight$")
    shapes = {their_name(name): tuple(weight.shape) for name, weight in ours.state_dict().items()}
    expected = {name: tuple(weight.shape) for name, weight in reference.state_dict().items()}
    assert shapes.keys() == expected.keys()
    for name, shape in shapes.items():
        assert (shape[:2] if squeezed.search(name) else shape) == expected[name][
            : 2 if squeezed.search(name) else None
        ], name
