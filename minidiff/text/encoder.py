r"""CLIP's text transformer: tokens become vectors, each of which knows the words before it.

    tokens ─ token + position embedding ─ (norm, causal attention, + ─ norm, feed-forward, +) × layers ─ norm ─ states

A picture takes from all of the states, by cross-attention; the state at the end token, the only one that has seen the
whole prompt, stands for it where a single vector is wanted. The same class is Stable Diffusion 1's text encoder and the
laptop's: only `TextEncoderConfig` differs.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.4.
"""

from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from minidiff.nets.config import Config


@dataclass(frozen=True)
class TextEncoderConfig(Config):
    """The sizes of a text encoder. `dim` is the width of its states; `end_token` the id that ends a prompt."""

    vocab_size: int
    context_length: int
    _: KW_ONLY
    dim: int
    layers: int
    heads: int
    end_token: int

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "dim", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dim % self.heads:
            raise ValueError(f"heads must divide dim={self.dim}, got heads={self.heads}")
        if not 0 <= self.end_token < self.vocab_size:
            raise ValueError(f"end_token must be in 0…{self.vocab_size - 1}, got {self.end_token}")

    @classmethod
    def tiny(cls, vocab_size: int, context_length: int = 16, **overrides) -> "TextEncoderConfig":
        """The laptop's. Any field can be overridden; `end_token` is the last id, as our tokenizers have it."""
        sizes = {"dim": 128, "layers": 2, "heads": 4, "end_token": vocab_size - 1}
        return cls(vocab_size, context_length, **(sizes | overrides))

    @classmethod
    def stable_diffusion_1(cls) -> "TextEncoderConfig":
        """The text half of CLIP ViT-L/14, which Stable Diffusion 1 listens to: 123,060,480 parameters."""
        return cls(49_408, 77, dim=768, layers=12, heads=12, end_token=49_407)


def quick_gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$x\, \sigma(1.702\, x)$, a GELU by way of the logistic function   (`encoder.quick_gelu`)

    CLIP was trained with it: with the exact GELU, up to 0.02 away, its weights give something else.
    Source: Hendrycks & Gimpel, Gaussian Error Linear Units, 2016, section 2.
    """
    return x * torch.sigmoid(1.702 * x)


class CausalAttention(nn.Module):
    """Multi-head self-attention in which each position sees itself and those before it, none after.

    Unlike the U-Net's attention, queries, keys and values have a bias too.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b l dim"]) -> Float[Tensor, "b l dim"]:
        query, key, value = (
            rearrange(layer(x), "b l (heads d) -> b heads l d", heads=self.heads)
            for layer in (self.query, self.key, self.value)
        )
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(rearrange(heads, "b heads l d -> b l (heads d)"))


class FeedForward(nn.Module):
    """dim -> 4 dim, quick-GELU -> dim, at each position by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 4 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, x: Float[Tensor, "b l dim"]) -> Float[Tensor, "b l dim"]:
        return self.out(quick_gelu(self.linear(x)))


class TextBlock(nn.Module):
    """Causal attention, then feed-forward: each on a normalised copy, each added to x."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(dim)
        self.self_attention = CausalAttention(dim, heads)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim)

    def forward(self, x: Float[Tensor, "b l dim"]) -> Float[Tensor, "b l dim"]:
        x = x + self.self_attention(self.norm_self(x))
        return x + self.feed_forward(self.norm_feed_forward(x))


class TextEncoder(nn.Module):
    """`TextEncoder(config)(tokens)`: a state for each token, (b, l) -> (b, l, dim), after the final norm.

    Raises ValueError for an id that is not in 0 … vocab_size - 1, and for more tokens than context_length.
    """

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.dim)
        self.position_embedding = nn.Embedding(config.context_length, config.dim)
        self.blocks = nn.ModuleList(TextBlock(config.dim, config.heads) for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(config.dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)  # as CLIP's own: PyTorch would begin with std 1
        nn.init.normal_(self.position_embedding.weight, std=0.01)

    def forward(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b l dim"]:
        self._check(tokens)
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm_out(x)

    def pooled(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b dim"]:
        """One vector a prompt: the state at its first end token. Those after it are padding, and change nothing.

        Raises ValueError as `forward` does, and where a prompt has no end token.
        """
        is_end = tokens == self.config.end_token
        if not is_end.any(dim=1).all():
            raise ValueError(
                f"each row needs an end token, id {self.config.end_token}: the prompt's vector stands there"
            )
        first_end = is_end.int().argmax(dim=1)
        return self(tokens)[torch.arange(len(tokens), device=tokens.device), first_end]

    def _check(self, tokens: Tensor) -> None:
        length, vocab_size = self.config.context_length, self.config.vocab_size
        if tokens.shape[1] > length:
            raise ValueError(f"at most {length} tokens fit, got {tokens.shape[1]}: cut the prompt, keep its end token")
        if (unknown := tokens[(tokens < 0) | (tokens >= vocab_size)]).numel():
            raise ValueError(
                f"ids must be in 0…{vocab_size - 1}, got {unknown[0].item()}: is this another tokenizer's?"
            )
