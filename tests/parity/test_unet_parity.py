"""Our U-Net with diffusers' weights is diffusers' U-Net: the same parts, wired the same way."""

import re

import pytest
import torch

from minidiff.nets import UNet, UNetConfig

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
    # inside a residual block
    (r"(resnets\.\d+)\.norm_", r"\1.norm"),
    (r"(resnets\.\d+)\.conv_", r"\1.conv"),
    (r"(resnets\.\d+)\.time\.", r"\1.time_emb_proj."),
    (r"(resnets\.\d+)\.shortcut\.", r"\1.conv_shortcut."),
    # inside a transformer
    (r"(attentions\.\d+)\.conv_", r"\1.proj_"),
    (r"(attentions\.\d+)\.block\.", r"\1.transformer_blocks.0."),
    (r"\.norm_self\.", ".norm1."),
    (r"\.norm_cross\.", ".norm2."),
    (r"\.norm_feed_forward\.", ".norm3."),
    (r"\.self_attention\.", ".attn1."),
    (r"\.cross_attention\.", ".attn2."),
    (r"(attn\d)\.(query|key|value)\.", lambda match: f"{match[1]}.to_{match[2][0]}."),
    (r"(attn\d)\.out\.", r"\1.to_out.0."),
    (r"\.feed_forward\.geglu\.linear\.", ".ff.net.0.proj."),
    (r"\.feed_forward\.out\.", ".ff.net.2."),
]


def their_name(name: str) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def theirs(config: UNetConfig):
    def kinds(direction, attention):
        return tuple(f"{'CrossAttn' if here else ''}{direction}Block2D" for here in attention)

    return diffusers.UNet2DConditionModel(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        block_out_channels=config.channels,
        layers_per_block=config.blocks_per_level,
        down_block_types=kinds("Down", config.attention),
        up_block_types=kinds("Up", reversed(config.attention)),
        cross_attention_dim=config.context_dim,
        attention_head_dim=config.heads,  # a number of heads, whatever it is called
        norm_num_groups=config.norm_groups,
    )


@pytest.mark.parametrize(
    "sizes",
    [
        {"channels": (32, 64), "attention": (True, False)},
        {"channels": (16, 32, 32), "attention": (False, True, True), "blocks_per_level": 1},
    ],
)
@torch.no_grad()
def test_the_same_weights_give_the_same_prediction(sizes):
    torch.manual_seed(0)
    config = UNetConfig(4, 4, context_dim=16, heads=2, norm_groups=8, **sizes)
    ours, reference = UNet(config).eval(), theirs(config).eval()
    for parameter in reference.parameters():  # norms too: at 1 and 0 they could be swapped unnoticed
        parameter.add_(0.05 * torch.randn_like(parameter))
    weights = reference.state_dict()
    ours.load_state_dict({name: weights.pop(their_name(name)) for name in ours.state_dict()})
    assert not weights  # nothing of theirs is left over

    x_t, t, context = torch.randn(2, 4, 16, 24), torch.tensor([3, 981]), torch.randn(2, 7, 16)
    expected = reference(x_t, t, encoder_hidden_states=context).sample
    torch.testing.assert_close(ours(x_t, t, context), expected, atol=1e-5, rtol=0)


def test_stable_diffusion_1_has_the_names_and_shapes_of_theirs():
    config = UNetConfig.stable_diffusion_1()
    with torch.device("meta"):
        ours, reference = UNet(config), theirs(config)
    shapes = {their_name(name): weight.shape for name, weight in ours.state_dict().items()}
    assert shapes == {name: weight.shape for name, weight in reference.state_dict().items()}
