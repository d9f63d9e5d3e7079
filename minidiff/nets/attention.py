r"""Attention: each position computes a weighted average of *values* of all positions (self) or of all tokens of a prompt (cross).

The weights are the softmax of the products of the position's *query* with each *key*.
Shapes: b images, n positions (pixels, row by row), l tokens of context, `dim` channels split over heads.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Tokens = Float[Tensor, "b n dim"]
Context = Float[Tensor, "b l context_dim"] | None


def attention_weights(query: Float[Tensor, "... n d"], key: Float[Tensor, "... l d"]) -> Float[Tensor, "... n l"]:
    r"""The attention weights: for each query one weight per key; a row sums to 1 over the keys.

    $A = \operatorname{softmax}_l(Q K^\top / \sqrt d)$   (`attention.weights`)

    d is the width of *one head*. A product of independent entries of variance 1 has variance d; dividing by √d makes it 1.
    Source: Vaswani et al. 2017, equation 1.
    """
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1)


class Attention(nn.Module):
    """Multi-head softmax attention: self-attention without `context_dim`, cross-attention with it.

    Each head computes `attention_weights(query, key) @ value`, with PyTorch's fused kernel. `causal`: a position sees only itself and
    earlier positions. `bias`: adds biases to queries, keys and values; the output always has one.
    x (b, n, dim), context (b, l, context_dim) -> (b, n, dim).
    Raises ValueError if heads does not divide dim, or if a context is missing or not expected.
    """

    def __init__(
        self, dim: int, heads: int = 8, context_dim: int | None = None, *, bias: bool = False, causal: bool = False
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"heads must divide dim={dim}, got heads={heads}")
        self.heads, self.context_dim, self.causal = heads, context_dim, causal
        key_dim = dim if context_dim is None else context_dim
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key = nn.Linear(key_dim, dim, bias=bias)
        self.value = nn.Linear(key_dim, dim, bias=bias)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tokens, context: Context = None) -> Tokens:
        if (context is None) != (self.context_dim is None):
            given = "no context" if context is None else "a context"
            raise ValueError(f"this attention was built with context_dim={self.context_dim}, but called with {given}")
        source = x if context is None else context
        query, key, value = (
            rearrange(y, "b n (heads d) -> b heads n d", heads=self.heads)
            for y in (self.query(x), self.key(source), self.value(source))
        )
        average = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(rearrange(average, "b heads n d -> b n (heads d)"))


def geglu(x: Float[Tensor, "*shape twice"]) -> Float[Tensor, "*shape once"]:
    """The first half of the channels times the GELU of the second half. Source: Shazeer, GLU Variants, 2020, equation 5."""
    value, gate = x.chunk(2, dim=-1)
    return value * F.gelu(gate)


def quick_gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$x\, \sigma(1.702\, x)$, an approximation of GELU with the logistic function   (`encoder.quick_gelu`)

    OpenAI's CLIP was trained with it; the exact GELU differs by up to 0.02. Source: Hendrycks & Gimpel 2016, section 2.
    """
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"geglu": geglu, "gelu": F.gelu, "quick_gelu": quick_gelu}


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, applied to each position separately. (b, n, dim) -> (b, n, dim).

    hidden_dim is 4 · dim by default. For "geglu", which halves the channels, the first layer is twice as wide.
    Raises ValueError unless the activation is "geglu", "gelu" or "quick_gelu".
    """

    def __init__(self, dim: int, hidden_dim: int | None = None, activation: str = "geglu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        hidden_dim = 4 * dim if hidden_dim is None else hidden_dim
        self.activation = ACTIVATIONS[activation]
        self.linear = nn.Linear(dim, 2 * hidden_dim if activation == "geglu" else hidden_dim)
        self.out = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tokens) -> Tokens:
        return self.out(self.activation(self.linear(x)))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention (with context_dim), feed-forward: each reads a normalised copy of x and is added to x.

    x (b, n, dim), context (b, l, context_dim) -> (b, n, dim). Raises ValueError as `Attention` does.
    """

    def __init__(self, dim: int, heads: int = 8, context_dim: int | None = None) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, heads)
        self.norm_cross = None if context_dim is None else nn.LayerNorm(dim)
        self.cross_attention = None if context_dim is None else Attention(dim, heads, context_dim)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim)

    def forward(self, x: Tokens, context: Context = None) -> Tokens:
        x = x + self.self_attention(self.norm_self(x))
        if self.cross_attention is not None:
            x = x + self.cross_attention(self.norm_cross(x), context)
        return x + self.feed_forward(self.norm_feed_forward(x))


class SpatialTransformer(nn.Module):
    """`depth` transformer blocks over the pixels of a feature map, between two 1×1 convolutions; the result is added to the map.

    x (b, channels, h, w), context (b, l, context_dim) -> (b, channels, h, w). Raises ValueError as `Attention` does.
    Source: Rombach et al. 2022, section 3.3 and appendix E.2.1.
    """

    def __init__(
        self, channels: int, heads: int = 8, context_dim: int | None = None, norm_groups: int = 32, depth: int = 1
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.conv_in = nn.Conv2d(channels, channels, kernel_size=1)
        self.blocks = nn.ModuleList(TransformerBlock(channels, heads, context_dim) for _ in range(depth))
        self.conv_out = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Float[Tensor, "b c h w"], context: Context = None) -> Float[Tensor, "b c h w"]:
        pixels = rearrange(self.conv_in(self.norm(x)), "b c h w -> b (h w) c")
        for block in self.blocks:
            pixels = block(pixels, context)
        return x + self.conv_out(rearrange(pixels, "b (h w) c -> b c h w", h=x.shape[2]))
