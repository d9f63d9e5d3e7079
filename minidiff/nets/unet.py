"""The U-Net: predicts eps, x_0, v or u from a noisy image x_t and its timestep t, in the shape of the image.

    x_t ─ conv ─ 32×32 ──────────── skips ──────────── 32×32 ─ norm, SiLU, conv ─ prediction
                   └ halve ─ 16×16 ─ skips ─ 16×16 ─ double ┘
                               └ halve ─ … middle … ─ double ┘

The encoder halves the resolution step by step. All its feature maps are kept as skips, and the decoder reads them in reverse order.
Stable Diffusion's network and the network that draws digits on a laptop differ only in their `UNetConfig`.
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

Level = Real[Tensor, "b"] | Real[Tensor, ""] | float | int  # t: one number per image, or one for all
Maps, Time = Float[Tensor, "b c h w"], Float[Tensor, "b time_dim"]


@dataclass(frozen=True)
class UNetConfig(Config):
    """The sizes of a U-Net. `channels` and `attention` have one entry per resolution, the finest first.

    `heads` and `depth` (transformer blocks) are one number for all resolutions, or one per resolution; they matter where there is
    attention. The middle has the values of the last resolution. Raises ValueError, with the field, for sizes that cannot be built.
    """

    in_channels: int  # of x_t and Condition.image together
    out_channels: int
    channels: tuple[int, ...]
    _: KW_ONLY
    attention: tuple[bool, ...]
    blocks_per_level: int = 2
    context_dim: int | None = None  # width of Condition.context; None: no cross-attention
    vector_dim: int | None = None  # width of Condition.vector; None: no vector
    classes: int | None = None  # number of classes in Condition.labels; None: no labels
    heads: int | tuple[int, ...] = 8
    depth: int | tuple[int, ...] = 1
    middle: bool = True  # False: the decoder starts from the encoder's last feature map
    norm_groups: int = 32
    patch_size: int = 1  # p × p pixels become channels before the first convolution, and pixels again at the end
    dropout: float = 0.0  # in the residual blocks

    def __post_init__(self) -> None:
        self.check_positive("in_channels", "out_channels", "channels", "blocks_per_level", "heads", "depth")
        self.check_positive("context_dim", "vector_dim", "classes", "norm_groups", "patch_size")
        for name in ("attention", "heads", "depth"):
            if len(self.each_resolution(name)) != len(self.channels):
                raise ValueError(f"{name} must have as many entries as {self.channels}, got {getattr(self, name)}")
        if any(channels % self.norm_groups for channels in self.channels):
            raise ValueError(f"norm_groups must divide every entry of channels={self.channels}, got {self.norm_groups}")
        if self.channels[0] % 2:
            raise ValueError(f"channels[0] must be even, for as many sines as cosines of t, got {self.channels[0]}")
        attention = (*self.attention[:-1], self.attention[-1] or self.middle)  # the middle always has attention
        for here, channels, heads in zip(attention, self.channels, self.each_resolution("heads"), strict=True):
            if here and channels % heads:
                raise ValueError(f"heads must divide channels where there is attention, got {heads} and {channels}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    def each_resolution(self, name: str) -> tuple:
        """The value of a field at each resolution, the finest first; one value for all is repeated."""
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,) * len(self.channels)

    @property
    def time_dim(self) -> int:
        """The width of the time embedding."""
        return 4 * self.channels[0]

    @property
    def stride(self) -> int:
        """Height and width of x_t must be multiples of this."""
        return self.patch_size * 2 ** (len(self.channels) - 1)

    @property
    def skip_channels(self) -> tuple[int, ...]:
        """The channels of each skip, in the order of the encoder."""
        widths = [width for width in self.channels for _ in range(self.blocks_per_level + 1)]  # blocks, then halving
        return (self.channels[0], *widths[:-1])  # the last resolution is not halved

    @classmethod
    def tiny(cls, in_channels: int = 1, **overrides) -> "UNetConfig":
        """A small U-Net for a laptop: 32×32 images, folded to 16×16, attention at 8×8 and below. Any field can be overridden."""
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
    """The encoder's feature maps, each (b, c, h, w). The residuals of a ControlNet have the same type."""

    skips: tuple[Tensor, ...]  # in the order of the encoder
    middle: Tensor

    def plus(self, residuals: "Features") -> "Features":
        """The sum of both, entry by entry. Raises ValueError if the number of skips or a shape differs."""
        expected, given = ([tuple(x.shape) for x in (*each.skips, each.middle)] for each in (self, residuals))
        if given != expected:
            raise ValueError(f"residuals must have the shapes {expected} (skips, then middle), got {given}")
        skips = (skip + residual for skip, residual in zip(self.skips, residuals.skips, strict=True))
        return Features(tuple(skips), self.middle + residuals.middle)


class Stage(nn.Module):
    """A residual block, which takes the time embedding, then, if `attention`, a transformer, which takes the context."""

    def __init__(self, config: UNetConfig, in_channels: int, i: int, attention: bool) -> None:  # i: the resolution
        super().__init__()
        width, heads, depth = (config.each_resolution(name)[i] for name in ("channels", "heads", "depth"))
        self.block = ResidualBlock(in_channels, width, config.time_dim, config.norm_groups, dropout=config.dropout)
        self.transformer = None
        if attention:
            self.transformer = SpatialTransformer(width, heads, config.context_dim, config.norm_groups, depth)

    def forward(self, x: Maps, time: Time, context: Context) -> Float[Tensor, "b c_out h w"]:
        x = self.block(x, time)
        return x if self.transformer is None else self.transformer(x, context)


class UNetEncoder(nn.Module):
    """The first half of a U-Net: the time embedding, the encoder and the middle."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width, time_dim, vector_dim = config.channels[0], config.time_dim, config.vector_dim
        self.time_embedding = TimeEmbedding(width, time_dim)
        self.vector_embedding = None if vector_dim is None else VectorEmbedding(vector_dim, time_dim)
        self.label_embedding = None if config.classes is None else nn.Embedding(config.classes, time_dim)
        self.conv_in = nn.Conv2d(config.in_channels * config.patch_size**2, width, kernel_size=3, padding=1)
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        for i, attention in enumerate(config.attention):
            widths = [width] + [config.channels[i]] * (config.blocks_per_level - 1)
            self.down.append(nn.ModuleList(Stage(config, before, i, attention) for before in widths))
            width = config.channels[i]
            if i < len(config.channels) - 1:
                self.downsample.append(Downsample(width))
        middle = (True, False) if config.middle else ()  # with attention, without
        self.middle = nn.ModuleList(Stage(config, width, -1, attention) for attention in middle)

    def embed(self, t: Level, x_t: Maps, condition: Condition) -> Time:
        """The embeddings of t, vector and labels, added up. Raises ValueError unless t is one number or of shape (b,)."""
        t = torch.as_tensor(t, device=x_t.device)
        if t.ndim:
            check_shape("t, unless it is one number,", t, x_t.shape[0])
        time = self.time_embedding(t.expand(x_t.shape[0]))
        if condition.vector is not None:
            time = time + self.vector_embedding(condition.vector)
        if condition.labels is not None:
            time = time + self.label_embedding(condition.labels)
        return time

    def encode(self, x_t: Maps, time: Time, condition: Condition) -> Features:
        """The feature maps of x_t and the condition's image; the skips have `config.skip_channels` channels."""
        x = x_t if condition.image is None else torch.cat([x_t, condition.image], dim=1)
        x = self.conv_in(F.pixel_unshuffle(x, self.config.patch_size))
        skips = [x]
        for i, stages in enumerate(self.down):
            for stage in stages:
                x = stage(x, time, condition.context)
                skips.append(x)
            if i < len(self.downsample):
                x = self.downsample[i](x)
                skips.append(x)
        for stage in self.middle:
            x = stage(x, time, condition.context)
        return Features(tuple(skips), x)

    def check(self, x_t: Tensor, condition: Condition) -> None:
        """Raises ValueError if x_t or the condition does not fit this network."""
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
                given = "missing" if value is None else "given, but would be ignored"
                raise ValueError(f"condition.{name} is {given}: this U-Net was built with {field}={size}")
            if value is not None:
                check_shape(f"condition.{name}", value, batch, *length, *(() if name == "labels" else (size,)))


class UNet(UNetEncoder):
    """`UNet(config)(x_t, t, condition=None, residuals=None)`: one prediction for every image of the batch.

    x_t (b, c, h, w), where c plus the channels of `condition.image` is in_channels; t (b,) or one number for all. `residuals` are added to
    the encoder's feature maps. Returns (b, out_channels, h, w) in the dtype of x_t.
    Raises ValueError for wrong channels, a height or width that is not a multiple of `config.stride`, a t or residuals that do not fit,
    and a part of the condition that is missing, misshapen or not expected (`control` without residuals).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        width, skips = config.channels[-1], list(config.skip_channels)
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for i, attention in reversed(list(enumerate(config.attention))):
            widths = [width] + [config.channels[i]] * config.blocks_per_level
            stages = (Stage(config, before + skips.pop(), i, attention) for before in widths)
            self.up.append(nn.ModuleList(stages))
            width = config.channels[i]
            self.upsample.append(Upsample(width) if i > 0 else nn.Identity())
        self.norm_out = nn.GroupNorm(config.norm_groups, width, eps=1e-5)
        self.conv_out = nn.Conv2d(width, config.out_channels * config.patch_size**2, kernel_size=3, padding=1)

    def forward(
        self, x_t: Maps, t: Level, condition: Condition | None = None, residuals: Features | None = None
    ) -> Float[Tensor, "b c_out h w"]:
        condition = Condition() if condition is None else condition
        self.check(x_t, condition)
        if condition.control is not None and residuals is None:
            raise ValueError("condition.control would be ignored: pass the ControlNet's output as residuals")
        time = self.embed(t, x_t, condition)
        features = self.encode(x_t, time, condition)
        if residuals is not None:
            features = features.plus(residuals)
        return self.decode(features, time, condition).to(x_t.dtype)

    def decode(self, features: Features, time: Time, condition: Condition) -> Maps:
        """The prediction: from the coarsest resolution to the finest, each stage reads the previous output and one skip."""
        skips, x = list(features.skips), features.middle
        for stages, double in zip(self.up, self.upsample, strict=True):
            for stage in stages:
                x = stage(torch.cat([x, skips.pop()], dim=1), time, condition.context)
            x = double(x)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), self.config.patch_size)
