r"""Attention: every position looks at all others (self), or at the words of a prompt (cross), and takes an average.

The weights of that average are the softmax of how well a *query* fits each *key*; what is averaged are *values*.
Shapes: b pictures, n positions (a row of pixels after the next), l words of context, `dim` channels split over heads.
"""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


def attention_weights(query: Float[Tensor, "... n d"], key: Float[Tensor, "... l d"]) -> Float[Tensor, "... n l"]:
    r"""How much each query takes from each key; a row sums to 1 over the keys.

    $A = \operatorname{softmax}_l(Q K^\top / \sqrt d)$   (`attention.weights`)

    d is the width of *one head*: independent unit entries give products of variance d, which the root undoes.
    Source: Vaswani et al. 2017, equation 1.
    """
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1)


def linear_attention(
    query: Float[Tensor, "... n d"], key: Float[Tensor, "... l d"], value: Float[Tensor, "... l e"]
) -> Float[Tensor, "... n e"]:
    r"""Attention whose cost grows with n + l, not with n · l: no n × l matrix is ever made.

    $\operatorname{softmax}_d(Q)\,(\operatorname{softmax}_l(K)^\top V)$   (`attention.linear`)

    Bracketed the other way it is an average too, with weights softmax_d(Q) softmax_l(K)ᵀ whose rows sum to 1. Their
    rank is at most d: this is another layer, not the softmax of `attention_weights` computed faster.
    Source: Shen et al., Efficient Attention, 2018, section 3.2.
    """
    summary = key.softmax(dim=-2).transpose(-1, -2) @ value  # (..., d, e), however many positions there are
    return query.softmax(dim=-1) @ summary


class Attention(nn.Module):
    """Multi-head softmax attention: self-attention without `context_dim`, cross-attention with it.

    Queries, keys and values have no bias, the output has one, as in Stable Diffusion. Computes
    `attention_weights(query, key) @ value` in each head, by PyTorch's fused kernel.

    Raises ValueError where heads does not divide dim, and where a context is missing or not wanted.
    """

    def __init__(self, dim: int, heads: int = 8, context_dim: int | None = None) -> None:
        super().__init__()
        self.heads = _checked_heads(dim, heads)
        self.context_dim = context_dim
        key_dim = dim if context_dim is None else context_dim
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(key_dim, dim, bias=False)
        self.value = nn.Linear(key_dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "b n dim"], context: Float[Tensor, "b l context_dim"] | None = None
    ) -> Float[Tensor, "b n dim"]:
        if (context is None) != (self.context_dim is None):
            given = "no context" if context is None else "a context"
            raise ValueError(f"built with context_dim={self.context_dim}, called with {given}")
        source = x if context is None else context
        query = _split(self.query(x), self.heads)
        key = _split(self.key(source), self.heads)
        value = _split(self.value(source), self.heads)
        return self.out(_merge(F.scaled_dot_product_attention(query, key, value)))


class LinearAttention(nn.Module):
    """Multi-head self-attention by `linear_attention`, with the layers of `Attention`; for large pictures."""

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = _checked_heads(dim, heads)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b n dim"]) -> Float[Tensor, "b n dim"]:
        query, key, value = (_split(layer(x), self.heads) for layer in (self.query, self.key, self.value))
        return self.out(_merge(linear_attention(query, key, value)))


SELF_ATTENTION = {"full": Attention, "linear": LinearAttention}


class GEGLU(nn.Module):
    """A linear layer whose outputs are gated, one by one, by the GELU of as many others.

    Source: Shazeer, GLU Variants Improve Transformer, 2020, equation 5.
    """

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 2 * out_dim)

    def forward(self, x: Float[Tensor, "b n dim"]) -> Float[Tensor, "b n out_dim"]:
        value, gate = self.linear(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """dim -> 4 dim, gated (so 8 dim are computed) -> dim, at each position by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.geglu = GEGLU(dim, 4 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, x: Float[Tensor, "b n dim"]) -> Float[Tensor, "b n dim"]:
        return self.out(self.geglu(x))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention if there is a context, feed-forward: each on a normalised copy, each added to x.

    `attention_kind` chooses the self-attention, "full" or "linear"; cross-attention is linear in positions as it is.
    """

    def __init__(self, dim: int, heads: int = 8, context_dim: int | None = None, attention_kind: str = "full") -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(dim)
        self.self_attention = SELF_ATTENTION[attention_kind](dim, heads)
        self.norm_cross = None if context_dim is None else nn.LayerNorm(dim)
        self.cross_attention = None if context_dim is None else Attention(dim, heads, context_dim)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim)

    def forward(
        self, x: Float[Tensor, "b n dim"], context: Float[Tensor, "b l context_dim"] | None = None
    ) -> Float[Tensor, "b n dim"]:
        x = x + self.self_attention(self.norm_self(x))
        if self.cross_attention is not None:
            x = x + self.cross_attention(self.norm_cross(x), context)
        return x + self.feed_forward(self.norm_feed_forward(x))


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels of a feature map, between two 1×1 convolutions, added to the map.

    Source: Rombach et al. 2022, section 3.3 and appendix E.2.1.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 8,
        context_dim: int | None = None,
        norm_groups: int = 32,
        attention_kind: str = "full",
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.conv_in = nn.Conv2d(channels, channels, kernel_size=1)
        self.block = TransformerBlock(channels, heads, context_dim, attention_kind)
        self.conv_out = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(
        self, x: Float[Tensor, "b c h w"], context: Float[Tensor, "b l context_dim"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        tokens = rearrange(self.conv_in(self.norm(x)), "b c h w -> b (h w) c")
        pixels = rearrange(self.block(tokens, context), "b (h w) c -> b c h w", h=x.shape[2])
        return x + self.conv_out(pixels)


def _checked_heads(dim: int, heads: int) -> int:
    if heads < 1 or dim % heads:
        raise ValueError(f"heads must divide dim={dim}, got heads={heads}")
    return heads


def _split(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (heads d) -> b heads n d", heads=heads)


def _merge(x: Tensor) -> Tensor:
    return rearrange(x, "b heads n d -> b n (heads d)")
