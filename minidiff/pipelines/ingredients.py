"""What a text-to-image model is trained on, and the numbers of its training."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float16, Int
from torch import Tensor

from minidiff.nets import UNetConfig, VAEConfig
from minidiff.text import Tokenizer
from minidiff.training import TrainConfig, uniform
from minidiff.training.levels import Levels


@dataclass(frozen=True)
class CaptionedPictures:
    """What a model of prompts is trained on: pictures in [-1, 1], each with at least one caption.

    The first `full` captions of a picture say all there is to say of it: the second stage learns from these alone. Pictures
    with the same `meanings`, whole numbers, could swap them, and are not told apart. Raises ValueError where the numbers of pictures,
    captions and meanings differ, or a picture has fewer than `full` captions.
    """

    images: Float16[Tensor, "n c h w"]
    captions: Sequence[tuple[str, ...]]
    meanings: Int[Tensor, "n"]
    full: int = 1

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.captions) == len(self.meanings):
            raise ValueError(
                f"got {len(self.images)} pictures, {len(self.captions)} captions and {len(self.meanings)} meanings"
            )
        fewest = min(map(len, self.captions))
        if not 1 <= self.full <= fewest:
            raise ValueError(f"full must be in 1…{fewest}, the smallest number of captions, got {self.full}")

    def __len__(self) -> int:
        return len(self.images)

    def tokens(self, tokenizer: Tokenizer) -> Int[Tensor, "n k l"]:
        """The tokens of each picture's captions; who has fewer than the others repeats them."""
        most = max(map(len, self.captions))
        known = {caption: i for i, caption in enumerate(dict.fromkeys(chain.from_iterable(self.captions)))}
        rows = [[known[captions[i % len(captions)]] for i in range(most)] for captions in self.captions]
        return tokenizer(list(known))[torch.tensor(rows)]


@dataclass(frozen=True)
class Recipe:
    """The numbers of a text-to-image model and of its three runs.

    `subject` is what it draws, by which it is judged: "digits", "emoji", or another word where nobody can judge. The U-Net's
    averaged weights are also kept as they are after each `snapshots` steps, so that one can see later what it knew when. `levels`
    says how often each level of noise comes in its training; `initial_noise` is the standard deviation of the draws that the untrained
    autoencoder begins with, None for what it happens to be.
    """

    subject: str
    vae: VAEConfig
    unet: UNetConfig
    vae_training: TrainConfig
    text_training: TrainConfig
    unet_training: TrainConfig
    vocab_size: int
    context_length: int
    text_dim: int
    kl_weight: float = 1e-4
    initial_noise: float | None = None
    prompt_dropout: float = 0.1
    schedule_name: str = "cosine"
    prediction_type: str = "v"
    levels: Levels = uniform
    guidance_scale: float = 3.0
    preview_prompts: tuple[str, ...] = ()
    snapshots: int | None = None
