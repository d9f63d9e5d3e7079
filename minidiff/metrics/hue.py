"""Name the main colour of a picture from the hues of its pixels. White, black and grey pixels are ignored.

Each pixel votes for the name of its hue in CIELAB. The weight of a vote is the pixel's chroma, its distance from grey.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data.cielab import to_lab

HUES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")

_STARTS = (20, 52, 78, 105, 200, 310, 340)  # degrees at which red, orange, …, pink begin; pink ends where red begins
_MIN_CHROMA = 15  # a pixel with less chroma has no vote
_BROWN_LIGHTNESS, _BROWN_CHROMA = 62, 50  # red and orange below both are brown
_MIN_SHARE = 0.01  # the least share of the pixels that must have a vote


def colour_shares(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 8"]:
    """The share of the votes for each of HUES in pictures in [0, 1]. Raises ValueError for values outside [0, 1].

    Each row adds up to 1, or is 0 if less than 1 % of the picture's pixels have a vote.
    """
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"pictures must be in [0, 1], got {images.min():.3g} to {images.max():.3g}: convert x in [-1, 1] by (x + 1) / 2"
        )
    lightness, a, b = to_lab(images.flatten(2).transpose(1, 2)).unbind(-1)  # each (b, pixels)
    chroma = torch.hypot(a, b)
    hue = torch.rad2deg(torch.atan2(b, a)) % 360
    name = (torch.bucketize(hue, torch.tensor(_STARTS).to(hue), right=True) - 1) % len(_STARTS)
    warm = (name == HUES.index("red")) | (name == HUES.index("orange"))
    name[warm & (lightness < _BROWN_LIGHTNESS) & (chroma < _BROWN_CHROMA)] = HUES.index("brown")
    votes = torch.where(chroma >= _MIN_CHROMA, chroma, 0)
    enough = (votes > 0).double().mean(dim=1, keepdim=True) >= _MIN_SHARE
    shares = images.new_zeros(len(images), len(HUES)).scatter_add_(1, name, votes)
    return torch.where(enough, shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-9), 0)


def foreground_colour(images: Float[Tensor, "b 3 h w"]) -> list[str]:
    """The main colour of each picture in [0, 1]: one of HUES, or "grey" if less than 1 % of the pixels have a vote.

    Raises ValueError for values outside [0, 1].
    """
    shares = colour_shares(images)
    return [
        HUES[most] if total > 0 else "grey"
        for most, total in zip(shares.argmax(1).tolist(), shares.sum(1).tolist(), strict=True)
    ]
