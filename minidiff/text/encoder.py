r"""CLIP's text transformer: maps each token to a vector (state) that depends on the token and on the tokens before it.

    tokens ─ token + position embedding ─ (norm, causal attention, + ─ norm, feed-forward, +) × layers ─ norm ─ states

Cross-attention reads all states. One vector for the whole prompt is the state at the end token, which depends on all its tokens. Stable
Diffusion's text encoder and the small one for a laptop differ only in their `TextEncoderConfig`.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.4.
"""

from dataclasses import KW_ONLY, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minidiff.config import Config
from minidiff.nets.attention import Attention, FeedForward, quick_gelu

__all__ = ["TextBlock", "TextEncoder", "TextEncoderConfig", "quick_gelu"]


@dataclass(frozen=True)
class TextEncoderConfig(Config):
    """The sizes of a text encoder. `dim` is the width of its states; `end_token` is the id that ends a prompt.

    Raises ValueError, with the field, for sizes that cannot be built.
    """

    vocab_size: int
    context_length: int
    _: KW_ONLY
    dim: int
    layers: int
    heads: int
    end_token: int
    activation: str = "quick_gelu"  # of the feed-forward layers: quick_gelu or gelu
    feed_forward_dim: int | None = None  # their width; None: 4 · dim
    projection_dim: int | None = None  # the width of `TextEncoder.pooled`; None: no projection, dim

    def __post_init__(self) -> None:
        self.check_positive(
            "vocab_size", "context_length", "dim", "layers", "heads", "feed_forward_dim", "projection_dim"
        )
        if self.dim % self.heads:
            raise ValueError(f"heads must divide dim={self.dim}, got heads={self.heads}")
        if not 0 <= self.end_token < self.vocab_size:
            raise ValueError(f"end_token must be in 0…{self.vocab_size - 1}, got {self.end_token}")
        if self.activation not in ("quick_gelu", "gelu"):
            raise ValueError(f"activation must be quick_gelu or gelu, got {self.activation!r}")

    @classmethod
    def tiny(cls, vocab_size: int, context_length: int = 16, **overrides) -> "TextEncoderConfig":
        """A small text encoder for a laptop. Any field can be overridden; `end_token` is the last id, as in our tokenizers."""
        sizes = {"dim": 128, "layers": 2, "heads": 4, "end_token": vocab_size - 1}
        return cls(vocab_size, context_length, **(sizes | overrides))

    @classmethod
    def stable_diffusion_1(cls) -> "TextEncoderConfig":
        """Stable Diffusion 1's, the text half of CLIP ViT-L/14: 123,060,480 parameters."""
        return cls(49_408, 77, dim=768, layers=12, heads=12, end_token=49_407)

    @classmethod
    def stable_diffusion_2(cls) -> "TextEncoderConfig":
        """Stable Diffusion 2's, 23 of the 24 layers of OpenCLIP ViT-H/14: 340,387,840 parameters."""
        return cls(49_408, 77, dim=1024, layers=23, heads=16, end_token=49_407, activation="gelu")

    @classmethod
    def stable_diffusion_xl(cls) -> tuple["TextEncoderConfig", "TextEncoderConfig"]:
        """Stable Diffusion XL's two encoders: that of Stable Diffusion 1, and OpenCLIP ViT-bigG/14 with 694,659,840 parameters."""
        sizes = {"dim": 1280, "layers": 32, "heads": 20, "activation": "gelu", "projection_dim": 1280}
        return cls.stable_diffusion_1(), cls(49_408, 77, end_token=49_407, **sizes)


class TextBlock(nn.Module):
    """Causal attention, then feed-forward: each reads a normalised copy of x and is added to x. (b, l, dim) -> (b, l, dim)."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(config.dim)
        self.self_attention = Attention(config.dim, config.heads, bias=True, causal=True)
        self.norm_feed_forward = nn.LayerNorm(config.dim)
        self.feed_forward = FeedForward(config.dim, config.feed_forward_dim, config.activation)

    def forward(self, x: Float[Tensor, "b l dim"]) -> Float[Tensor, "b l dim"]:
        x = x + self.self_attention(self.norm_self(x))
        return x + self.feed_forward(self.norm_feed_forward(x))


class TextEncoder(nn.Module):
    """`TextEncoder(config)(tokens)`: a state for each token, (b, l) -> (b, l, dim), after the final norm.

    Raises ValueError for an id that is not in 0 … vocab_size - 1, and for more tokens than context_length. The ids are
    not checked inside torch.compile.
    """

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.dim)
        self.position_embedding = nn.Embedding(config.context_length, config.dim)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(config.dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)  # as in CLIP; PyTorch's default is std 1
        nn.init.normal_(self.position_embedding.weight, std=0.01)
        out = config.projection_dim
        self.projection = None if out is None else nn.Linear(config.dim, out, bias=False)

    def forward(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l dim"]:
        return self.norm_out(self.states(tokens))

    def states(self, tokens: Int[Tensor, "b l"], skip: int = 0) -> Float[Tensor, "b l dim"]:
        """The states after all blocks except the last `skip`, without the final norm.

        Stable Diffusion XL reads the states with skip=1. "Clip skip" k in other programs is `norm_out(states(tokens, k))`.
        Raises ValueError as `forward` does, and for a skip outside 0 … layers.
        """
        if not 0 <= skip <= self.config.layers:
            raise ValueError(f"skip must be in 0…{self.config.layers}, the number of layers, got {skip}")
        self._check(tokens)
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for block in self.blocks[: self.config.layers - skip]:
            x = block(x)
        return x

    def pooled(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b out_dim"]:
        """One vector per prompt, (b, dim) or (b, projection_dim): the state at the first end token, after norm and projection (if any).

        Tokens after the first end token are padding and have no effect. Raises ValueError as `forward` does, and if a prompt has no end
        token (not checked inside torch.compile).
        """
        is_end = tokens == self.config.end_token
        if not torch.compiler.is_compiling() and not is_end.any(dim=1).all():
            raise ValueError(
                f"each row of tokens must contain the end token, id {self.config.end_token}, whose state is returned"
            )
        first_end = is_end.int().argmax(dim=1)
        pooled = self(tokens)[torch.arange(tokens.shape[0], device=tokens.device), first_end]
        return pooled if self.projection is None else self.projection(pooled)

    def _check(self, tokens: Tensor) -> None:
        length, vocab_size = self.config.context_length, self.config.vocab_size
        if tokens.shape[1] > length:
            raise ValueError(
                f"expected at most {length} tokens, got {tokens.shape[1]}: cut the prompt, but keep its end token"
            )
        if torch.compiler.is_compiling():
            return
        if (unknown := tokens[(tokens < 0) | (tokens >= vocab_size)]).numel():
            raise ValueError(
                f"ids must be in 0…{vocab_size - 1}, got {unknown[0].item()}: do the tokens come from another tokenizer?"
            )
