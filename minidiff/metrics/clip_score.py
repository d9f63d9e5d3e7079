"""Rank captions for pictures by CLIP, and count how often a picture's own caption is ranked first."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

BATCH = 200


@runtime_checkable  # beartype checks arguments by isinstance under pytest
class ImageTextModel(Protocol):
    """A model with features of unit length for pictures and for captions: `minidiff.text.contrastive.CLIP` is one."""

    def image_features(self, x: Tensor) -> Tensor: ...

    def text_features(self, tokens: Tensor) -> Tensor: ...


@torch.no_grad()
def best_caption(
    clip: ImageTextModel, images: Float[Tensor, "n c h w"], tokens: Int[Tensor, "m l"]
) -> Int[Tensor, "n"]:
    r"""The index, on the CPU, of the caption whose features have the greatest cosine with the features of each picture.

    Pictures are in [-1, 1]. $\arg\max_j \langle f(x_i), g(c_j) \rangle$

    Source: Radford et al., Learning Transferable Visual Models from Natural Language Supervision, 2021, section 3.1.
    """
    text = torch.cat([clip.text_features(part) for part in tokens.split(BATCH)])
    return torch.cat([(clip.image_features(part) @ text.T).argmax(dim=1).cpu() for part in images.split(BATCH)])


def caption_rank(
    clip: ImageTextModel,
    images: Float[Tensor, "n c h w"],
    tokens: Int[Tensor, "m l"],
    concepts: Sequence[str],
    *,
    truth: Int[Tensor, "n"],
) -> float:
    """The share of pictures for which the best caption has the same concept as the picture's own caption.

    Caption j has the concept `concepts[j]`. Picture i has the caption `truth[i]`.

    Raises ValueError if there is not one concept per caption, or not one caption in 0…m - 1 per picture.
    """
    if len(concepts) != len(tokens):
        raise ValueError(f"expected one concept per caption, got {len(concepts)} concepts for {len(tokens)} captions")
    if len(truth) != len(images) or not all(0 <= j < len(tokens) for j in truth.tolist()):
        raise ValueError(
            f"expected a caption in 0…{len(tokens) - 1} for each of {len(images)} pictures, got truth={truth.tolist()}"
        )
    first = best_caption(clip, images, tokens)
    return sum(concepts[i] == concepts[j] for i, j in zip(first.tolist(), truth.tolist(), strict=True)) / len(images)
