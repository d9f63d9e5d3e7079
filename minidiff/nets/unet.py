"""The U-Net: from a noisy image and its noise level to what was asked for (eps, x_0, v or u), in the image's shape.

    x_t ─ conv ─ level 0 ─────────── skips ─────────── level 0 ─ norm, SiLU, conv ─ prediction
                   └ halve ─ level 1 ─ skips ─ level 1 ─ double ┘
                               └ halve ─ … middle … ─ double ┘

The encoder's feature maps get smaller and have more channels. All are kept as skips, which the decoder reads in reverse
order. Stable Diffusion's network and the one that draws digits on a laptop differ in their `UNetConfig` only.
Source: Ronneberger et al. 2015; Ho et al. 2020, appendix B; Rombach et al. 2022, section 3.3.
"""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn

from minidiff.config import Config, check_shape
from minidiff.nets.attention import Context, SpatialTransformer
from minidiff.nets.blocks import Downsample, ResidualBlock, Upsample
from minidiff.nets.condition import Condition
from minidiff.nets.embeddings import TimeEmbedding, VectorEmbedding

Level = Real[Tensor, "b"] | Real[Tensor, ""] | float | int  # t: one number an image, or one for all
Maps, Time = Float[Tensor, "b c h w"], Float[Tensor, "b time_dim"]


@dataclass(frozen=True)
class UNetConfig(Config):
    """The sizes of a U-Net. `channels` and `attention` have one entry a level, the finest first.

    `heads` and `depth` hold where there is attention: one number for all levels, or one a level; the middle has those
    of the last level. Raises ValueError for sizes that do not make a network, and names the field.
    """

    in_channels: int  # those of x_t and of Condition.image together
    out_channels: int
    channels: tuple[int, ...]
    _: KW_ONLY
    attention: tuple[bool, ...]
    blocks_per_level: int = 2
    context_dim: int | None = None  # of Condition.context; None: no cross-attention
    vector_dim: int | None = None  # of Condition.vector; None: the network takes none
    classes: int | None = None  # how many Condition.labels are told apart; None: the network takes none
    heads: int | tuple[int, ...] = 8
    depth: int | tuple[int, ...] = 1  # transformer blocks
    middle: bool = True  # False: the decoder begins with what the levels down end with
    norm_groups: int = 32
    patch_size: int = 1  # p × p pixels are folded into channels before the first convolution, and unfolded at the end
    dropout: float = 0.0  # in the residual blocks

    def __post_init__(self) -> None:
        self.check_positive("in_channels", "out_channels", "channels", "blocks_per_level", "heads", "depth")
        self.check_positive("context_dim", "vector_dim", "classes", "norm_groups", "patch_size")
        for name in ("attention", "heads", "depth"):
            if len(self.each_level(name)) != len(self.channels):
                raise ValueError(f"{name} must have one entry a level of {self.channels}, got {getattr(self, name)}")
        if any(channels % self.norm_groups for channels in self.channels):
            raise ValueError(f"norm_groups must divide every entry of channels={self.channels}, got {self.norm_groups}")
        if self.channels[0] % 2:
            raise ValueError(f"channels[0] must be even, half sines, half cosines of t, got {self.channels[0]}")
        attention = (*self.attention[:-1], self.attention[-1] or self.middle)  # the middle always has attention
        for here, channels, heads in zip(attention, self.channels, self.each_level("heads"), strict=True):
            if here and channels % heads:
                raise ValueError(f"heads must divide the channels where there is attention: {heads} and {channels}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    def each_level(self, name: str) -> tuple:
        """A field's value at each level, the finest first, for a field that may hold one value for all levels."""
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,) * len(self.channels)

    @property
    def time_dim(self) -> int:
        """The width of the time embedding."""
        return 4 * self.channels[0]

    @property
    def stride(self) -> int:
        """Height and width of an image must be multiples of this."""
        return self.patch_size * 2 ** (len(self.channels) - 1)

    @property
    def skip_channels(self) -> tuple[int, ...]:
        """The channels of each skip, in the order in which the encoder makes them."""
        levels = [width for width in self.channels for _ in range(self.blocks_per_level + 1)]  # blocks, then halving
        return (self.channels[0], *levels[:-1])  # the last level is not halved

    @classmethod
    def tiny(cls, in_channels: int = 1, **overrides) -> "UNetConfig":
        """The laptop's: 32×32 images, folded to 16×16, attention at 8×8 and below. Any field can be overridden."""
        sizes = {"channels": (64, 64, 96), "attention": (False, True, True), "blocks_per_level": 1, "heads": 4}
        sizes |= {"in_channels": in_channels, "out_channels": in_channels, "norm_groups": 8, "patch_size": 2}
        return cls(**(sizes | overrides))

    @classmethod
    def stable_diffusion_1(cls, **overrides) -> "UNetConfig":
        """Stable Diffusion 1.1 to 1.5: 859,520,964 parameters, on 64×64×4 latents and a context of 77×768."""
        sizes = {"channels": (320, 640, 1280, 1280), "attention": (True, True, True, False), "context_dim": 768}
        return cls(**({"in_channels": 4, "out_channels": 4} | sizes | overrides))

    @classmethod
    def stable_diffusion_2(cls, **overrides) -> "UNetConfig":
        """Stable Diffusion 2.0 and 2.1: 865,910,724 parameters, on 64×64×4 or 96×96×4 latents, context 77×1024."""
        return cls.stable_diffusion_1(**({"heads": (5, 10, 20, 20), "context_dim": 1024} | overrides))

    @classmethod
    def stable_diffusion_xl(cls, **overrides) -> "UNetConfig":
        """Stable Diffusion XL: 2,567,463,684 parameters, on 128×128×4 latents, context 77×2048, vector 2816."""
        sizes = {"channels": (320, 640, 1280), "attention": (False, True, True), "heads": (5, 10, 20)}
        sizes |= {"depth": (1, 2, 10), "context_dim": 2048, "vector_dim": 2816}
        return cls.stable_diffusion_1(**(sizes | overrides))


class Features(NamedTuple):
    """What the encoder hands to the decoder, each (b, c, h, w); a ControlNet's residuals have the same type."""

    skips: tuple[Tensor, ...]  # in the order in which the encoder makes them
    middle: Tensor

    def plus(self, residuals: "Features") -> "Features":
        """The sum, entry by entry. Raises ValueError where the number of skips or a shape differs."""
        expected, given = ([tuple(x.shape) for x in (*each.skips, each.middle)] for each in (self, residuals))
        if given != expected:
            raise ValueError(f"residuals must have the shapes {expected}, skips and then middle, got {given}")
        skips = (skip + residual for skip, residual in zip(self.skips, residuals.skips, strict=True))
        return Features(tuple(skips), self.middle + residuals.middle)


class Stage(nn.Module):
    """A residual block, which is given t, then a transformer, which is given the context, where there is attention."""

    def __init__(self, config: UNetConfig, in_channels: int, level: int, attention: bool) -> None:
        super().__init__()
        width, heads, depth = (config.each_level(name)[level] for name in ("channels", "heads", "depth"))
        self.block = ResidualBlock(in_channels, width, config.time_dim, config.norm_groups, dropout=config.dropout)
        self.transformer = None
        if attention:
            self.transformer = SpatialTransformer(width, heads, config.context_dim, config.norm_groups, depth)

    def forward(self, x: Maps, time: Time, context: Context) -> Float[Tensor, "b c_out h w"]:
        x = self.block(x, time)
        return x if self.transformer is None else self.transformer(x, context)


class UNetEncoder(nn.Module):
    """The first half of a U-Net, without a forward: the time embedding, the levels down, and the middle."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width, time_dim, vector_dim = config.channels[0], config.time_dim, config.vector_dim
        self.time_embedding = TimeEmbedding(width, time_dim)
        self.vector_embedding = None if vector_dim is None else VectorEmbedding(vector_dim, time_dim)
        self.label_embedding = None if config.classes is None else nn.Embedding(config.classes, time_dim)
        self.conv_in = nn.Conv2d(config.in_channels * config.patch_size**2, width, kernel_size=3, padding=1)
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        for level, attention in enumerate(config.attention):
            widths = [width] + [config.channels[level]] * (config.blocks_per_level - 1)
            self.down.append(nn.ModuleList(Stage(config, before, level, attention) for before in widths))
            width = config.channels[level]
            if level < len(config.channels) - 1:
                self.downsample.append(Downsample(width))
        kinds = (True, False) if config.middle else ()  # whether there is attention
        self.middle = nn.ModuleList(Stage(config, width, -1, attention) for attention in kinds)

    def embed(self, t: Level, x_t: Maps, condition: Condition) -> Time:
        """The time embedding, plus those of vector and labels. Raises ValueError where t is no number and not (b,)."""
        t = torch.as_tensor(t, device=x_t.device)
        if t.ndim:
            check_shape("t, where it is not one number,", t, x_t.shape[0])
        time = self.time_embedding(t.expand(x_t.shape[0]))
        if condition.vector is not None:
            time = time + self.vector_embedding(condition.vector)
        if condition.labels is not None:
            time = time + self.label_embedding(condition.labels)
        return time

    def encode(self, x_t: Maps, time: Time, condition: Condition) -> Features:
        """The feature maps of x_t and the condition's image; the skips are `config.skip_channels` wide."""
        x = x_t if condition.image is None else torch.cat([x_t, condition.image], dim=1)
        x = self.conv_in(F.pixel_unshuffle(x, self.config.patch_size))
        skips = [x]
        for level, stages in enumerate(self.down):
            for stage in stages:
                x = stage(x, time, condition.context)
                skips.append(x)
            if level < len(self.downsample):
                x = self.downsample[level](x)
                skips.append(x)
        for stage in self.middle:
            x = stage(x, time, condition.context)
        return Features(tuple(skips), x)

    def check(self, x_t: Tensor, condition: Condition) -> None:
        """Raises ValueError where x_t or the condition is not what this network was built for."""
        config, stride, image = self.config, self.config.stride, condition.image
        check_shape("x_t", x_t, "b", "c", "h", "w")
        batch, channels, height, width = x_t.shape
        if height % stride or width % stride:
            raise ValueError(f"height and width must be multiples of {stride}, got {height}×{width}: pad or resize x_t")
        if image is not None:
            check_shape("condition.image", image, batch, "c", height, width)
        both = (channels, 0 if image is None else image.shape[1])
        if sum(both) != config.in_channels:
            raise ValueError(f"x_t and condition.image must have {config.in_channels} channels together, got {both}")
        for name, field, *length in (("context", "context_dim", "l"), ("vector", "vector_dim"), ("labels", "classes")):
            value, size = getattr(condition, name), getattr(config, field)
            if (value is None) != (size is None):
                given = "missing" if value is None else "given, and would be ignored"
                raise ValueError(f"condition.{name} is {given}: the network was built with {field}={size}")
            if value is not None:
                check_shape(f"condition.{name}", value, batch, *length, *(() if name == "labels" else (size,)))


class UNet(UNetEncoder):
    """`UNet(config)(x_t, t, condition=None, residuals=None)`: one prediction for every image of the batch.

    x_t (b, c, h, w), where c is in_channels less those of `condition.image`; t (b,) or one number for all. `residuals`
    are added to what the encoder hands to the decoder. Gives (b, out_channels, h, w) in x_t's dtype.
    Raises ValueError for wrong channels, a height or width that is no multiple of `config.stride`, a t or residuals
    that do not fit, and a part of a condition that is missing, misshapen, or not wanted (`control` without residuals).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        width, skips = config.channels[-1], list(config.skip_channels)
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for level, attention in reversed(list(enumerate(config.attention))):
            widths = [width] + [config.channels[level]] * config.blocks_per_level
            stages = (Stage(config, before + skips.pop(), level, attention) for before in widths)
            self.up.append(nn.ModuleList(stages))
            width = config.channels[level]
            self.upsample.append(Upsample(width) if level > 0 else nn.Identity())
        self.norm_out = nn.GroupNorm(config.norm_groups, width, eps=1e-5)
        self.conv_out = nn.Conv2d(width, config.out_channels * config.patch_size**2, kernel_size=3, padding=1)

    def forward(
        self, x_t: Maps, t: Level, condition: Condition | None = None, residuals: Features | None = None
    ) -> Float[Tensor, "b c_out h w"]:
        condition = Condition() if condition is None else condition
        self.check(x_t, condition)
        if condition.control is not None and residuals is None:
            raise ValueError("got condition.control, but no residuals of a ControlNet: it would be ignored")
        time = self.embed(t, x_t, condition)
        features = self.encode(x_t, time, condition)
        if residuals is not None:
            features = features.plus(residuals)
        return self.decode(features, time, condition).to(x_t.dtype)

    def decode(self, features: Features, time: Time, condition: Condition) -> Maps:
        """The prediction: the levels up, the coarsest first, each stage given what is below it and one skip."""
        skips, x = list(features.skips), features.middle
        for stages, double in zip(self.up, self.upsample, strict=True):
            for stage in stages:
                x = stage(torch.cat([x, skips.pop()], dim=1), time, condition.context)
            x = double(x)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), self.config.patch_size)
