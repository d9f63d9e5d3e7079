"""The U-Net: from a noisy picture and its noise level to what was asked for (eps, x_0 or v), in the picture's shape.

    x_t ─ conv ─ level 0 ─────────── skips ─────────── level 0 ─ norm, SiLU, conv ─ prediction
                   └ halve ─ level 1 ─ skips ─ level 1 ─ double ┘
                               └ halve ─ … middle … ─ double ┘

Going down a picture gets smaller and its channels more; every feature map made on the way down is kept, and handed
to its counterpart on the way up. The same class is Stable Diffusion 1's network and the one that draws digits on a
laptop: only `UNetConfig` differs.

Source: Ronneberger et al. 2015; Ho et al. 2020, appendix B; Rombach et al. 2022, section 3.3.
"""

from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn

from minidiff.nets.attention import SELF_ATTENTION, SpatialTransformer
from minidiff.nets.blocks import ConvNeXtBlock, Downsample, ResidualBlock, Upsample
from minidiff.nets.config import Config
from minidiff.nets.embeddings import TimeEmbedding

BLOCKS = {"resnet": ResidualBlock, "convnext": ConvNeXtBlock}


@dataclass(frozen=True)
class UNetConfig(Config):
    """The sizes of a U-Net. `channels` and `attention` have one entry a level, the finest first.

    `patch_size` p folds p × p pixels into channels before the first convolution, and unfolds them at the end.
    `dropout` is that of the residual blocks. `context_dim=None` builds no cross-attention.
    """

    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    _: KW_ONLY
    attention: tuple[bool, ...]
    blocks_per_level: int = 2
    context_dim: int | None = None
    heads: int = 8
    norm_groups: int = 32
    patch_size: int = 1
    block: str = "resnet"
    attention_kind: str = "full"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "blocks_per_level", "heads", "norm_groups", "patch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.context_dim is not None and self.context_dim < 1:
            raise ValueError(f"context_dim must be at least 1, or None for no cross-attention, got {self.context_dim}")
        if not self.channels or min(self.channels) < 1:
            raise ValueError(
                f"channels must have a positive entry for each level, the finest first, got {self.channels}"
            )
        if len(self.attention) != len(self.channels):
            raise ValueError(
                f"attention must have one entry a level: got {self.attention} for the levels {self.channels}"
            )
        if any(channels % self.norm_groups for channels in self.channels):
            raise ValueError(f"norm_groups must divide every entry of channels={self.channels}, got {self.norm_groups}")
        if self.channels[0] % 2:
            raise ValueError(f"channels[0] must be even, half sines, half cosines of t, got {self.channels[0]}")
        # The middle, as wide as the last level, has attention in any case.
        for channels, attention in zip(self.channels, (*self.attention[:-1], True), strict=True):
            if attention and channels % self.heads:
                raise ValueError(
                    f"heads must divide the channels where there is attention: {self.heads} and {channels}"
                )
        for name, known in (("block", BLOCKS), ("attention_kind", SELF_ATTENTION)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {sorted(known)}, got {getattr(self, name)!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @property
    def time_dim(self) -> int:
        return 4 * self.channels[0]

    @property
    def stride(self) -> int:
        """Height and width of a picture must be multiples of this."""
        return self.patch_size * 2 ** (len(self.channels) - 1)

    @classmethod
    def tiny(cls, in_channels: int = 1, **overrides) -> "UNetConfig":
        """The laptop's: 32×32 pictures, folded to 16×16, attention at 8×8 and below. Any field can be overridden."""
        sizes = {
            "in_channels": in_channels,
            "out_channels": in_channels,
            "channels": (64, 64, 96),
            "attention": (False, True, True),
            "blocks_per_level": 1,
            "heads": 4,
            "norm_groups": 8,
            "patch_size": 2,
        }
        return cls(**(sizes | overrides))

    @classmethod
    def stable_diffusion_1(cls) -> "UNetConfig":
        """Stable Diffusion 1.1 to 1.5: 859,520,964 parameters, on 64×64×4 latents and CLIP's 77×768 context."""
        return cls(4, 4, (320, 640, 1280, 1280), attention=(True, True, True, False), context_dim=768)


class Stage(nn.Module):
    """A block that knows t and, where there is attention, a transformer that knows the context."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int, attention: bool) -> None:
        super().__init__()
        self.block = BLOCKS[config.block](
            in_channels, out_channels, config.time_dim, config.norm_groups, dropout=config.dropout
        )
        self.transformer = None
        if attention:
            self.transformer = SpatialTransformer(
                out_channels, config.heads, config.context_dim, config.norm_groups, config.attention_kind
            )

    def forward(
        self,
        x: Float[Tensor, "b c_in h w"],
        time: Float[Tensor, "b time_dim"],
        context: Float[Tensor, "b l context_dim"] | None,
    ) -> Float[Tensor, "b c_out h w"]:
        x = self.block(x, time)
        return x if self.transformer is None else self.transformer(x, context)


class UNet(nn.Module):
    """`UNet(config)(x_t, t, context=None)`: one prediction for every picture of the batch.

    x_t (b, in_channels, h, w); t (b,) or one number for all; context (b, l, context_dim) exactly where the network
    was built with `context_dim`. Gives (b, out_channels, h, w) in x_t's dtype.

    Raises ValueError for a wrong number of channels, a height or width that is no multiple of `config.stride`, a t
    that does not fit the batch, and a context that is missing, not wanted, or of the wrong shape.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, attention, patch = config.channels, config.attention, config.patch_size**2

        self.time_embedding = TimeEmbedding(channels[0], config.time_dim)
        self.conv_in = nn.Conv2d(config.in_channels * patch, channels[0], kernel_size=3, padding=1)

        self.down = nn.ModuleList()
        self.downsample = nn.ModuleList()
        skips = [width := channels[0]]  # the channels of each feature map that the way up will be handed
        for level, out_width in enumerate(channels):
            stages = nn.ModuleList()
            for _ in range(config.blocks_per_level):
                stages.append(Stage(config, width, out_width, attention[level]))
                skips.append(width := out_width)
            self.down.append(stages)
            if level < len(channels) - 1:
                self.downsample.append(Downsample(width))
                skips.append(width)

        self.middle = nn.ModuleList([Stage(config, width, width, True), Stage(config, width, width, False)])

        self.up = nn.ModuleList()
        self.upsample = nn.ModuleList()
        for level, out_width in reversed(list(enumerate(channels))):
            stages = nn.ModuleList()
            for _ in range(config.blocks_per_level + 1):
                stages.append(Stage(config, width + skips.pop(), out_width, attention[level]))
                width = out_width
            self.up.append(stages)
            if level > 0:
                self.upsample.append(Upsample(width))

        self.norm_out = nn.GroupNorm(config.norm_groups, width, eps=1e-5)
        self.conv_out = nn.Conv2d(width, config.out_channels * patch, kernel_size=3, padding=1)

    def forward(
        self,
        x_t: Float[Tensor, "b c_in h w"],
        t: Real[Tensor, "b"] | Real[Tensor, ""] | float | int,
        context: Float[Tensor, "b l context_dim"] | None = None,
    ) -> Float[Tensor, "b c_out h w"]:
        self._check(x_t, context)
        time = self.time_embedding(_one_each(t, x_t))
        x = self.conv_in(F.pixel_unshuffle(x_t, self.config.patch_size))

        skips = [x]
        for level, stages in enumerate(self.down):
            for stage in stages:
                x = stage(x, time, context)
                skips.append(x)
            if level < len(self.downsample):
                x = self.downsample[level](x)
                skips.append(x)

        for stage in self.middle:
            x = stage(x, time, context)

        for level, stages in enumerate(self.up):  # the coarsest first
            for stage in stages:
                x = stage(torch.cat([x, skips.pop()], dim=1), time, context)
            if level < len(self.upsample):
                x = self.upsample[level](x)

        x = self.conv_out(F.silu(self.norm_out(x)))
        return F.pixel_shuffle(x, self.config.patch_size).to(x_t.dtype)

    def _check(self, x_t: Tensor, context: Tensor | None) -> None:
        if x_t.ndim != 4:
            raise ValueError(f"x_t must have the shape (b, c, h, w), got {tuple(x_t.shape)}")
        batch, channels, height, width = x_t.shape
        stride, context_dim = self.config.stride, self.config.context_dim
        if channels != self.config.in_channels:
            raise ValueError(f"x_t must have {self.config.in_channels} channels, got {channels}: {tuple(x_t.shape)}")
        if height % stride or width % stride:
            raise ValueError(f"height and width must be multiples of {stride}, got {height}×{width}: pad or resize x_t")
        if context_dim is None and context is not None:
            raise ValueError("got a context, but the network was built with context_dim=None: it would be ignored")
        if context_dim is not None and context is None:
            raise ValueError(f"no context given: the network was built with context_dim={context_dim}")
        if context is not None and (context.ndim != 3 or (len(context), context.shape[-1]) != (batch, context_dim)):
            raise ValueError(f"context must have the shape ({batch}, l, {context_dim}), got {tuple(context.shape)}")


def _one_each(t: Tensor | float | int, x_t: Tensor) -> Tensor:
    t = torch.as_tensor(t, device=x_t.device)
    if t.ndim and t.shape != x_t.shape[:1]:
        raise ValueError(f"t must be one number, or one for each of {len(x_t)} pictures, got shape {tuple(t.shape)}")
    return t.expand(len(x_t))
