"""The variational autoencoder of latent diffusion: it encodes an image as a latent with far fewer numbers, and decodes it again.

    x ─ encoder ─ mean, log variance ─ sample ─ z ─ decoder ─ x      x (b, 3, h, w), z (b, 4, h / factor, w / factor)

The encoder predicts a Gaussian for each number of z. The KL term of the loss pulls these Gaussians towards the standard normal, so that
nearby latents decode to similar images. Stable Diffusion's autoencoder is the same class.
Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014; Rombach et al. 2022, section 3.1 and appendix G.
"""

from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from math import inf

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from minidiff.config import Config, check_shape
from minidiff.nets.attention import Attention
from minidiff.nets.blocks import AsymmetricDownsample, ResidualBlock, Upsample
from minidiff.noise import Generators, randn_like

Latents = Float[Tensor, "b d h_z w_z"]


@dataclass(frozen=True)
class VAEConfig(Config):
    """The sizes of an autoencoder. `channels` has one entry per resolution, the finest first; each resolution is half the one before.

    The decoder has one block more per resolution than the encoder's `blocks_per_level`. Latents are multiplied by `latent_scale` to have
    variance 1; it belongs to the weights and is measured on the training set. Raises ValueError for sizes that cannot be built.
    """

    in_channels: int = 3
    latent_channels: int = 4
    _: KW_ONLY
    channels: tuple[int, ...]
    blocks_per_level: int = 2
    norm_groups: int = 32
    latent_scale: float = 1.0

    def __post_init__(self) -> None:
        self.check_positive("in_channels", "latent_channels", "channels", "blocks_per_level", "norm_groups")
        if any(channels % self.norm_groups for channels in self.channels):
            raise ValueError(f"norm_groups must divide every entry of channels={self.channels}, got {self.norm_groups}")
        if not 0 < self.latent_scale < inf:
            raise ValueError(f"latent_scale must be positive and finite, got {self.latent_scale}")

    @property
    def factor(self) -> int:
        """The number of pixels per latent along a side. Height and width of an image must be multiples of it."""
        return 2 ** (len(self.channels) - 1)

    @classmethod
    def tiny(cls, **overrides) -> "VAEConfig":
        """A small autoencoder for a laptop: 32×32×3 images, 8×8×4 latents. Any field can be overridden."""
        sizes = {"channels": (24, 48, 96), "blocks_per_level": 1, "norm_groups": 8}
        return cls(**(sizes | overrides))

    @classmethod
    def stable_diffusion_1(cls) -> "VAEConfig":
        """Stable Diffusion 1.1 to 1.5: 83,653,863 parameters, 512×512×3 images, 64×64×4 latents."""
        return cls(channels=(128, 256, 512, 512), latent_scale=0.18215)


def sample(
    mean: Float[Tensor, "b *shape"], log_variance: Float[Tensor, "b *shape"], generator: Generators
) -> Float[Tensor, "b *shape"]:
    r"""A sample of each image's Gaussian, differentiable with respect to mean and log-variance.

    $z = \mu + e^{\frac12 \log \sigma^2} \varepsilon$: half the log-variance is the log of the standard deviation.
    Takes one generator, or one per image; raises as `noise.randn_like` does. Source: Kingma & Welling 2014, section 2.4.
    """
    return mean + (0.5 * log_variance).exp() * randn_like(mean, generator)


class PixelAttention(nn.Module):
    """Self-attention over all pixels of a feature map, with a single head; the result is added to the map."""

    def __init__(self, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.attention = Attention(channels, heads=1, bias=True)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        pixels = rearrange(self.norm(x), "b c h w -> b (h w) c")
        return x + rearrange(self.attention(pixels), "b (h w) c -> b c h w", h=x.shape[2])


class Encoder(nn.Module):
    """Images (b, in_channels, h, w) -> means and log-variances (b, 2 · latent_channels, h / factor, w / factor)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        width = config.channels[0]
        self.conv_in = nn.Conv2d(config.in_channels, width, kernel_size=3, padding=1)
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        for i, out_width in enumerate(config.channels):
            self.down.append(_blocks(config, width, *[out_width] * config.blocks_per_level))
            width = out_width
            self.downsample.append(AsymmetricDownsample(width) if i < len(config.channels) - 1 else nn.Identity())
        self.middle = _middle(config)
        self.norm_out = nn.GroupNorm(config.norm_groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, 2 * config.latent_channels, kernel_size=3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b moments h_z w_z"]:
        x = self.conv_in(x)
        for blocks, halve in zip(self.down, self.downsample, strict=True):
            x = halve(blocks(x))
        return self.conv_out(F.silu(self.norm_out(self.middle(x))))


class Decoder(nn.Module):
    """Latents (b, latent_channels, h_z, w_z) -> images: the encoder in reverse, with one block more per resolution."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        width = config.channels[-1]
        self.conv_in = nn.Conv2d(config.latent_channels, width, kernel_size=3, padding=1)
        self.middle = _middle(config)
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for i, out_width in reversed(list(enumerate(config.channels))):
            self.up.append(_blocks(config, width, *[out_width] * (config.blocks_per_level + 1)))
            width = out_width
            self.upsample.append(Upsample(width) if i > 0 else nn.Identity())
        self.norm_out = nn.GroupNorm(config.norm_groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, config.in_channels, kernel_size=3, padding=1)

    def forward(self, z: Latents) -> Float[Tensor, "b c h w"]:
        x = self.middle(self.conv_in(z))
        for blocks, double in zip(self.up, self.upsample, strict=True):  # the coarsest first
            x = double(blocks(x))
        return self.conv_out(F.silu(self.norm_out(x)))


class VAE(nn.Module):
    """The autoencoder. `encode` and `decode` call its two networks; `to_latents` and `from_latents` also scale latents for diffusion.

    Images are (b, in_channels, h, w) in [-1, 1]; latents (b, latent_channels, h / factor, w / factor). All four raise ValueError for a
    wrong number of channels, and for a height or width that is not a multiple of `config.factor`.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, kernel_size=1)
        self.post_quant = nn.Conv2d(config.latent_channels, config.latent_channels, kernel_size=1)
        self.decoder = Decoder(config)

    def encode(self, x: Float[Tensor, "b c h w"]) -> tuple[Latents, Latents]:
        """Mean and log-variance of each number of z, in the dtype of x; the log-variance is clamped to -30…20."""
        check_shape("x", x, "b", self.config.in_channels, "h", "w")
        height, width, factor = *x.shape[2:], self.config.factor
        if height % factor or width % factor:
            raise ValueError(f"height and width must be multiples of {factor}, got {height}×{width}: pad or resize x")
        mean, log_variance = self.quant(self.encoder(x)).to(x.dtype).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z: Latents) -> Float[Tensor, "b c h w"]:
        """Decodes latents that are not scaled, in the dtype of z; the images are not clamped to [-1, 1]."""
        check_shape("z", z, "b", self.config.latent_channels, "h", "w")
        return self.decoder(self.post_quant(z)).to(z.dtype)

    def to_latents(self, x: Float[Tensor, "b c h w"], generator: Generators | None = None) -> Latents:
        """Latents of variance 1: `latent_scale` times a sample of z, or times its mean if there is no generator."""
        mean, log_variance = self.encode(x)
        z = mean if generator is None else sample(mean, log_variance, generator)
        return self.config.latent_scale * z

    def from_latents(self, z: Latents) -> Float[Tensor, "b c h w"]:
        """Decodes latents of variance 1: the inverse of `to_latents`."""
        return self.decode(z / self.config.latent_scale)


def _blocks(config: VAEConfig, *widths: int) -> nn.Sequential:
    pairs = pairwise(widths)
    return nn.Sequential(*(ResidualBlock(*pair, norm_groups=config.norm_groups, eps=1e-6) for pair in pairs))


def _middle(config: VAEConfig) -> nn.Sequential:
    width = config.channels[-1]
    attention = PixelAttention(width, config.norm_groups)
    first, last = _blocks(config, width, width, width)
    return nn.Sequential(first, attention, last)
