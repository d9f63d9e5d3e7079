"""The variational autoencoder of latent diffusion: from a picture to a few numbers that say nearly as much, and back.

    x ─ encoder ─ mean, log variance ─ draw ─ z ─ decoder ─ x        x (b, 3, h, w), z (b, 4, h / factor, w / factor)

A picture becomes not a point but a Gaussian for each number of z. The prior pulls these towards the standard normal,
so that latents near one another decode to pictures that look alike: a space that noise can be added to. The same
class is Stable Diffusion 1's autoencoder and the laptop's: only `VAEConfig` differs.

Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014; Rombach et al. 2022, section 3.1 and appendix G.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from math import inf

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from minidiff.nets.attention import attention_weights
from minidiff.nets.blocks import AsymmetricDownsample, ResidualBlock, Upsample
from minidiff.nets.config import Config


@dataclass(frozen=True)
class VAEConfig(Config):
    """The sizes of an autoencoder. `channels` has one entry a level, the finest first; each level halves the one before.

    The decoder has one block a level more than the encoder's `blocks_per_level`. `latent_scale` is what latents are
    multiplied by to have variance 1: measure it on the training set, since it belongs to the weights.
    """

    in_channels: int = 3
    latent_channels: int = 4
    _: KW_ONLY
    channels: tuple[int, ...]
    blocks_per_level: int = 2
    norm_groups: int = 32
    latent_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("in_channels", "latent_channels", "blocks_per_level", "norm_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.channels or min(self.channels) < 1:
            raise ValueError(
                f"channels must have a positive entry for each level, the finest first, got {self.channels}"
            )
        if any(channels % self.norm_groups for channels in self.channels):
            raise ValueError(f"norm_groups must divide every entry of channels={self.channels}, got {self.norm_groups}")
        if not 0 < self.latent_scale < inf:
            raise ValueError(f"latent_scale must be positive, got {self.latent_scale}")

    @property
    def factor(self) -> int:
        """How many pixels, a side, become one latent: height and width of a picture must be multiples of this."""
        return 2 ** (len(self.channels) - 1)

    @classmethod
    def tiny(cls, **overrides) -> "VAEConfig":
        """The laptop's: 32×32×3 pictures, 8×8×4 latents. Thin where pictures are large. Any field can be overridden."""
        sizes = {"channels": (24, 48, 96), "blocks_per_level": 1, "norm_groups": 8}
        return cls(**(sizes | overrides))

    @classmethod
    def stable_diffusion_1(cls) -> "VAEConfig":
        """Stable Diffusion 1.1 to 1.5: 83,653,863 parameters, 512×512×3 pictures, 64×64×4 latents."""
        return cls(channels=(128, 256, 512, 512), latent_scale=0.18215)


def kl(mean: Float[Tensor, "b *shape"], log_variance: Float[Tensor, "b *shape"]) -> Float[Tensor, "b"]:
    r"""How far each picture's Gaussian is from the prior, in nats.

    $D_{KL}(\mathcal N(\mu, \sigma^2) \| \mathcal N(0, 1)) = \frac12 \sum_i (\mu_i^2 + \sigma_i^2 - \log \sigma_i^2 - 1)$   (`vae.kl`)

    A sum over the dimensions, which are independent: an average would weigh the prior less, the larger z is.
    Source: Kingma & Welling, 2014, appendix B.
    """
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).flatten(1).sum(dim=1)


def sample(
    mean: Float[Tensor, "b *shape"],
    log_variance: Float[Tensor, "b *shape"],
    generator: torch.Generator | Sequence[torch.Generator],
) -> Float[Tensor, "b *shape"]:
    r"""A draw from each picture's Gaussian, through which gradients reach mean and variance.

    $z = \mu + e^{\frac12 \log \sigma^2} \varepsilon$: half the log-variance is the log of the standard deviation.

    The noise is drawn on the CPU and moved, from one generator, or from one a picture. Raises ValueError where there
    are not as many of them as pictures. Source: Kingma & Welling, 2014, section 2.4.
    """
    if isinstance(generator, torch.Generator):
        eps = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    elif len(generator) == len(mean):
        eps = torch.stack([torch.randn(mean.shape[1:], generator=one, dtype=mean.dtype) for one in generator])
    else:
        raise ValueError(f"one generator a picture: got {len(generator)} generators for {len(mean)} pictures")
    return mean + (0.5 * log_variance).exp() * eps.to(mean.device)


class PixelAttention(nn.Module):
    """Every pixel of a feature map looks at all others, with a single head as wide as the map; added to the map.

    Queries, keys and values have biases here, unlike those of `attention.Attention`.
    """

    def __init__(self, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        pixels = rearrange(self.norm(x), "b c h w -> b (h w) c")
        average = attention_weights(self.query(pixels), self.key(pixels)) @ self.value(pixels)
        return x + rearrange(self.out(average), "b (h w) c -> b c h w", h=x.shape[2])


class Encoder(nn.Module):
    """A picture -> the moments of its latents, still mixed: (b, 2 · latent_channels, h / factor, w / factor)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        width = config.channels[0]
        self.conv_in = nn.Conv2d(config.in_channels, width, kernel_size=3, padding=1)
        self.down = nn.ModuleList()
        self.downsample = nn.ModuleList()
        for level, out_width in enumerate(config.channels):
            self.down.append(_blocks(config, width, out_width, config.blocks_per_level))
            width = out_width
            if level < len(config.channels) - 1:
                self.downsample.append(AsymmetricDownsample(width))
        self.middle = _middle(config)
        self.norm_out = nn.GroupNorm(config.norm_groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, 2 * config.latent_channels, kernel_size=3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b moments h_z w_z"]:
        x = self.conv_in(x)
        for level, blocks in enumerate(self.down):
            x = blocks(x)
            if level < len(self.downsample):
                x = self.downsample[level](x)
        return self.conv_out(F.silu(self.norm_out(self.middle(x))))


class Decoder(nn.Module):
    """Latents -> a picture: the encoder backwards, one block a level deeper."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        width = config.channels[-1]
        self.conv_in = nn.Conv2d(config.latent_channels, width, kernel_size=3, padding=1)
        self.middle = _middle(config)
        self.up = nn.ModuleList()
        self.upsample = nn.ModuleList()
        for level, out_width in reversed(list(enumerate(config.channels))):
            self.up.append(_blocks(config, width, out_width, config.blocks_per_level + 1))
            width = out_width
            if level > 0:
                self.upsample.append(Upsample(width))
        self.norm_out = nn.GroupNorm(config.norm_groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, config.in_channels, kernel_size=3, padding=1)

    def forward(self, z: Float[Tensor, "b d h_z w_z"]) -> Float[Tensor, "b c h w"]:
        x = self.middle(self.conv_in(z))
        for level, blocks in enumerate(self.up):  # the coarsest first
            x = blocks(x)
            if level < len(self.upsample):
                x = self.upsample[level](x)
        return self.conv_out(F.silu(self.norm_out(x)))


class VAE(nn.Module):
    """`encode` and `decode` are the two networks; `to_latents` and `from_latents` what diffusion is done between.

    Pictures are (b, in_channels, h, w) in [-1, 1]; latents (b, latent_channels, h / factor, w / factor).
    Each of the four raises ValueError for a wrong number of channels, and for a height or width that is no multiple of
    `config.factor`.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, kernel_size=1)
        self.post_quant = nn.Conv2d(config.latent_channels, config.latent_channels, kernel_size=1)
        self.decoder = Decoder(config)

    def encode(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d h_z w_z"], Float[Tensor, "b d h_z w_z"]]:
        """Mean and log-variance of each number of z, in x's dtype; the log-variance is held within -30…20."""
        _check("x", x, self.config.in_channels)
        if x.shape[2] % self.config.factor or x.shape[3] % self.config.factor:
            raise ValueError(
                f"height and width must be multiples of {self.config.factor}, got {x.shape[2]}×{x.shape[3]}: pad or resize x"
            )
        mean, log_variance = self.quant(self.encoder(x)).to(x.dtype).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z: Float[Tensor, "b d h_z w_z"]) -> Float[Tensor, "b c h w"]:
        """The picture that latents stand for, as `encode` has them (not scaled), in z's dtype; not clamped to [-1, 1]."""
        _check("z", z, self.config.latent_channels)
        return self.decoder(self.post_quant(z)).to(z.dtype)

    def to_latents(
        self, x: Float[Tensor, "b c h w"], generator: torch.Generator | Sequence[torch.Generator] | None = None
    ) -> Float[Tensor, "b d h_z w_z"]:
        """Latents of variance 1, as diffusion wants them: `latent_scale` times a draw, or the mean without a generator."""
        mean, log_variance = self.encode(x)
        z = mean if generator is None else sample(mean, log_variance, generator)
        return self.config.latent_scale * z

    def from_latents(self, z: Float[Tensor, "b d h_z w_z"]) -> Float[Tensor, "b c h w"]:
        """The picture that latents of variance 1 stand for: the inverse of `to_latents`."""
        return self.decode(z / self.config.latent_scale)


def _block(config: VAEConfig, in_channels: int, out_channels: int) -> ResidualBlock:
    return ResidualBlock(in_channels, out_channels, norm_groups=config.norm_groups, eps=1e-6)


def _blocks(config: VAEConfig, in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    widths = [in_channels] + [out_channels] * count
    return nn.Sequential(*(_block(config, *pair) for pair in pairwise(widths)))


def _middle(config: VAEConfig) -> nn.Sequential:
    width = config.channels[-1]
    attention = PixelAttention(width, config.norm_groups)
    return nn.Sequential(_block(config, width, width), attention, _block(config, width, width))


def _check(name: str, value: Tensor, channels: int) -> None:
    if value.ndim != 4 or value.shape[1] != channels:
        raise ValueError(f"{name} must have the shape (b, {channels}, h, w), got {tuple(value.shape)}")
