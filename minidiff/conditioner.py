"""The conditioner: turns prompts into the condition of a denoiser.

    prompts (B texts) ─ tokenizer ─ tokens (B, L) ─ text encoder ─ Condition(context (B, L, d)), read by cross-attention

The null prompt is the empty prompt. In training, some prompts are dropped, that is, replaced by the null prompt. So one network learns to
denoise with a prompt and without, and guidance can compare both predictions.
"""

from collections.abc import Sequence
from numbers import Real

import torch
from jaxtyping import Int
from torch import Tensor, nn

from minidiff.nets import Condition
from minidiff.text import TextEncoder, Tokenizer


class Conditioner(nn.Module):
    """`Conditioner(tokenizer, text_encoder)(prompts)` gives a Condition with a context (B, L, d) on the text encoder's device."""

    def __init__(self, tokenizer: Tokenizer, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder

    def forward(self, prompts: Sequence[str]) -> Condition:
        """The condition of a list of prompts. Raises ValueError if there are none, TypeError for one string in place of a list."""
        if not prompts:
            raise ValueError('there must be at least one prompt; for no prompt pass [""]')
        device = next(self.text_encoder.parameters()).device
        return Condition(context=self.text_encoder(self.tokenizer(prompts).to(device)))

    def null(self, count: int) -> Condition:
        """The condition of the empty prompt, `count` times. Raises ValueError if count is below 1."""
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        return self([""]).map(lambda tensor: tensor.expand(count, -1, -1))


def drop(
    tokens: Int[Tensor, "b l"], null_tokens: Int[Tensor, "1 l"], probability: Real, generator: torch.Generator
) -> Int[Tensor, "b l"]:
    """Prompt dropout: replaces each row of tokens, with this probability, by `null_tokens`, which is `tokenizer([""])`.

    The choice is drawn on the CPU, so it is the same on every device. Raises ValueError for a probability outside [0, 1] or null tokens
    of another shape than (1, L), TypeError without a generator.
    Source: Ho & Salimans, Classifier-Free Diffusion Guidance, 2022, algorithm 1, where it is p_uncond.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie in [0, 1], got {probability}")
    if null_tokens.shape != (1, tokens.shape[1]):
        raise ValueError(f"null_tokens must have shape (1, {tokens.shape[1]}), got {tuple(null_tokens.shape)}")
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, to draw which prompts are dropped; got {generator!r}")
    dropped = torch.rand(len(tokens), 1, generator=generator) < probability
    return torch.where(dropped.to(tokens.device), null_tokens.to(tokens), tokens)
