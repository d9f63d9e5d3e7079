"""Which caption fits a picture best, in the eyes of a CLIP: how often it is the caption that the picture was drawn for."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

BATCH = 200


@runtime_checkable
class ImageTextModel(Protocol):
    """What a `minidiff.text.contrastive.CLIP` is used for here: features of unit length."""

    def image_features(self, x: Tensor) -> Tensor: ...

    def text_features(self, tokens: Tensor) -> Tensor: ...


@torch.no_grad()
def best_caption(
    clip: ImageTextModel, images: Float[Tensor, "n c h w"], tokens: Int[Tensor, "m l"]
) -> Int[Tensor, "n"]:
    r"""For each picture, in [-1, 1], the index of the caption whose features have the greatest cosine with its own.

    $\arg\max_j \langle f(x_i), g(c_j) \rangle$, on the CPU. Raises ValueError where there are no pictures or no captions.

    Source: Radford et al., Learning Transferable Visual Models from Natural Language Supervision, 2021, section 3.1.
    """
    if len(images) == 0 or len(tokens) == 0:
        raise ValueError(f"expected pictures and captions, got {len(images)} and {len(tokens)}")
    words = torch.cat([clip.text_features(part) for part in tokens.split(BATCH)])
    return torch.cat([(clip.image_features(part) @ words.T).argmax(dim=1).cpu() for part in images.split(BATCH)])


def caption_rank(
    clip: ImageTextModel,
    images: Float[Tensor, "n c h w"],
    tokens: Int[Tensor, "m l"],
    concepts: Sequence[str],
    *,
    truth: Int[Tensor, "n"] | None = None,
) -> float:
    """The share of the pictures whose own caption, or one of the same concept, comes first among all captions.

    Caption j means `concepts[j]`. Picture i belongs to caption `truth[i]`, or without `truth` to caption i.

    Raises ValueError where the numbers of pictures, captions and concepts do not fit together.
    """
    if len(concepts) != len(tokens):
        raise ValueError(f"one concept a caption: got {len(concepts)} concepts for {len(tokens)} captions")
    if truth is None:
        truth = torch.arange(len(images))
    if len(truth) != len(images) or not all(0 <= j < len(tokens) for j in truth.tolist()):
        raise ValueError(
            f"each of {len(images)} pictures needs a caption among 0…{len(tokens) - 1}, got truth={truth.tolist()}"
        )
    first = best_caption(clip, images, tokens)
    return sum(concepts[i] == concepts[j] for i, j in zip(first.tolist(), truth.tolist(), strict=True)) / len(images)
