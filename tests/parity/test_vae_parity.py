"""Our autoencoder with diffusers' weights is diffusers' autoencoder: the same parts, wired the same way."""

import re

import pytest
import torch

from minidiff.nets.vae import VAE, VAEConfig

diffusers = pytest.importorskip("diffusers")

# From our names to theirs; each pattern is applied once, in this order.
RENAMES = [
    (r"\.down\.(\d+)\.(\d+)\.", r".down_blocks.\1.resnets.\2."),
    (r"\.downsample\.(\d+)\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.up\.(\d+)\.(\d+)\.", r".up_blocks.\1.resnets.\2."),
    (r"\.upsample\.(\d+)\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"^(quant|post_quant)\.", r"\1_conv."),
    # inside a residual block
    (r"(resnets\.\d+)\.norm_", r"\1.norm"),
    (r"(resnets\.\d+)\.conv_", r"\1.conv"),
    (r"(resnets\.\d+)\.shortcut\.", r"\1.conv_shortcut."),
    # inside the attention
    (r"(attentions\.0)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.0)\.attention\.(query|key|value)\.", lambda match: f"{match[1]}.to_{match[2][0]}."),
    (r"(attentions\.0)\.attention\.out\.", r"\1.to_out.0."),
]


def their_name(name: str) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def theirs(config: VAEConfig):
    return diffusers.AutoencoderKL(
        in_channels=config.in_channels,
        out_channels=config.in_channels,
        latent_channels=config.latent_channels,
        block_out_channels=config.channels,
        layers_per_block=config.blocks_per_level,
        down_block_types=("DownEncoderBlock2D",) * len(config.channels),
        up_block_types=("UpDecoderBlock2D",) * len(config.channels),
        norm_num_groups=config.norm_groups,
    )


def both(config: VAEConfig):
    """Ours and theirs with the same random weights."""
    ours, reference = VAE(config).eval(), theirs(config).eval()
    for parameter in reference.parameters():  # norms too: at 1 and 0 they could be swapped unnoticed
        parameter.add_(0.05 * torch.randn_like(parameter))
    weights = reference.state_dict()
    ours.load_state_dict({name: weights.pop(their_name(name)) for name in ours.state_dict()})
    assert not weights  # nothing of theirs is left over
    return ours, reference


@pytest.mark.parametrize(
    "config",
    [
        VAEConfig(channels=(16, 32), norm_groups=8),
        VAEConfig(channels=(8, 16, 32, 32), norm_groups=4, blocks_per_level=1),
        VAEConfig(1, 3, channels=(12, 24, 12), norm_groups=3, blocks_per_level=3),
        VAEConfig.tiny(),
    ],
)
@torch.no_grad()
def test_the_same_weights_give_the_same_moments_and_the_same_picture(config):
    ours, reference = both(config)
    x = torch.rand(2, config.in_channels, 32, 48) * 2 - 1
    mean, log_variance = ours.encode(x)
    posterior = reference.encode(x).latent_dist
    torch.testing.assert_close(mean, posterior.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(log_variance, posterior.logvar, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.decode(mean), reference.decode(mean).sample, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_same_noise_gives_the_same_draw():
    ours, reference = both(VAEConfig(channels=(16, 32), norm_groups=8))
    x, seed = torch.rand(2, 3, 16, 16) * 2 - 1, 7
    posterior = reference.encode(x).latent_dist
    draw = posterior.sample(torch.Generator().manual_seed(seed))
    torch.testing.assert_close(ours.to_latents(x, torch.Generator().manual_seed(seed)), draw, atol=1e-5, rtol=0)


def test_stable_diffusion_1_has_the_names_and_shapes_of_theirs():
    config = VAEConfig.stable_diffusion_1()
    with torch.device("meta"):
        ours, reference = VAE(config), theirs(config)
    shapes = {their_name(name): weight.shape for name, weight in ours.state_dict().items()}
    assert shapes == {name: weight.shape for name, weight in reference.state_dict().items()}
