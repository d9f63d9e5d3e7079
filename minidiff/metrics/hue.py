"""The colour of what a picture shows, from its hue: white paper, black lines and grey shadows have none, and no say.

Each pixel votes for the name of its hue in CIELAB, with its chroma, its distance from grey, as the weight.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data.cielab import to_lab

HUES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")

_ENDS = (20, 52, 78, 105, 200, 310, 340)  # degrees at which red, orange, …, pink begin; pink goes on to red's
_GREY = 15  # chroma below which a pixel has no hue to speak of
_BROWN_LIGHTNESS, _BROWN_CHROMA = 62, 50  # a red or orange that is darker and duller than both is brown
_SOME_COLOUR = 0.01  # the share of the picture that must vote


def colour_shares(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 8"]:
    """The share of the vote for each of HUES; rows add up to 1, or are 0 where less than a hundredth of the picture votes.

    Pictures in [0, 1]. Raises ValueError where they are not.
    """
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"pictures must be in [0, 1], got {images.min():.3g} to {images.max():.3g}: convert x in [-1, 1] by (x + 1) / 2"
        )
    lightness, a, b = to_lab(images.flatten(2).transpose(1, 2)).unbind(-1)  # each (b, pixels)
    chroma = torch.hypot(a, b)
    hue = torch.rad2deg(torch.atan2(b, a)) % 360
    name = (torch.bucketize(hue, torch.tensor(_ENDS).to(hue), right=True) - 1) % len(_ENDS)
    warm = (name == HUES.index("red")) | (name == HUES.index("orange"))
    name[warm & (lightness < _BROWN_LIGHTNESS) & (chroma < _BROWN_CHROMA)] = HUES.index("brown")
    votes = torch.where(chroma >= _GREY, chroma, 0)
    enough = (votes > 0).double().mean(dim=1, keepdim=True) >= _SOME_COLOUR
    shares = images.new_zeros(len(images), len(HUES)).scatter_add_(1, name, votes)
    return torch.where(enough, shares / shares.sum(dim=1, keepdim=True).clamp(min=1e-9), 0)


def foreground_colour(images: Float[Tensor, "b 3 h w"]) -> list[str]:
    """The name with the most votes for each picture in [0, 1], one of HUES, or "grey" where almost nothing has a hue.

    Raises ValueError where values are not in [0, 1].
    """
    shares = colour_shares(images)
    return [
        HUES[most] if total > 0 else "grey"
        for most, total in zip(shares.argmax(1).tolist(), shares.sum(1).tolist(), strict=True)
    ]
