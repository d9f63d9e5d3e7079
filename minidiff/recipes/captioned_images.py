"""Training data of a text-to-image model: images, each with one or more captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float16, Int
from torch import Tensor

from minidiff.text import Tokenizer


@dataclass(frozen=True)
class CaptionedImages:
    """Images in [-1, 1], float16, and their captions.

    The first `complete` captions of each image describe it completely; contrastive training uses these alone. Images with the same
    number in `concepts` have interchangeable captions, and contrastive training does not tell them apart. Raises ValueError if the
    numbers of images, captions and concepts differ, or if an image has fewer than `complete` captions.
    """

    images: Float16[Tensor, "n c h w"]
    captions: Sequence[tuple[str, ...]]
    concepts: Int[Tensor, "n"]
    complete: int = 1

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.captions) == len(self.concepts):
            raise ValueError(
                f"got {len(self.images)} images, {len(self.captions)} captions and {len(self.concepts)} concepts;"
                " expected as many of each"
            )
        fewest = min(map(len, self.captions))
        if not 1 <= self.complete <= fewest:
            raise ValueError(f"complete must be in 1…{fewest}, the smallest number of captions, got {self.complete}")

    def __len__(self) -> int:
        return len(self.images)

    def tokens(self, tokenizer: Tokenizer) -> Int[Tensor, "n k l"]:
        """The tokens of each image's captions. Shorter lists of captions are repeated to the same length."""
        most = max(map(len, self.captions))
        rows_of = {caption: i for i, caption in enumerate(dict.fromkeys(chain.from_iterable(self.captions)))}
        rows = [[rows_of[captions[i % len(captions)]] for i in range(most)] for captions in self.captions]
        return tokenizer(list(rows_of))[torch.tensor(rows)]


def numbered(concepts: Sequence[object]) -> Int[Tensor, "n"]:
    """A number for each concept; equal concepts have the same number."""
    known = {concept: i for i, concept in enumerate(dict.fromkeys(concepts))}
    return torch.tensor([known[concept] for concept in concepts])
