r"""Replace the main colour of a picture. White, black and all other colours stay.

Colours are (L*, chroma, hue): CIELAB in polar coordinates. The hue is an angle, the chroma is the distance from grey.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data.cielab import to_lab, to_rgb

COLOURS: dict[str, tuple[float, float, float]] = {  # typical L*, chroma, hue in degrees
    "red": (50, 72, 36),
    "orange": (70, 72, 65),
    "yellow": (86, 78, 91),
    "green": (60, 58, 142),
    "blue": (56, 47, 265),
    "purple": (46, 62, 322),
    "pink": (76, 38, 356),
    "brown": (40, 34, 57),
}

_MIN_CHROMA = 10.0  # a pixel with less chroma has no hue
_REACH = 60.0  # hues within this many degrees of the main hue change with it
_MIN_SHARE = 0.02  # if a smaller share of the pixels has a hue, the greys are coloured instead
_DARKEST, _LIGHTEST = 25.0, 97.0  # only greys between them are coloured, so lines stay black and the background white
_KEPT = 0.3  # the part of a pixel's distance from the main hue that is kept


def recoloured(images: Float[Tensor, "b 3 h w"], colour: str) -> Float[Tensor, "b 3 h w"]:
    """Pictures in [-1, 1] with a new main colour: its mean lightness, its chroma and its hue become those of `colour`.

    The main colour is the hue around which most of the chroma lies. Pixels within 60° of this hue are changed, and keep the order of their
    lightness. A picture almost without hues has its greys coloured. Raises ValueError for a colour not in COLOURS.
    """
    if colour not in COLOURS:
        raise ValueError(f"unknown colour {colour!r}: choose one of {', '.join(COLOURS)}")
    new_lightness, new_chroma, new_hue = COLOURS[colour]
    lightness, a, b = to_lab((images.permute(0, 2, 3, 1) + 1) / 2).flatten(1, 2).unbind(-1)  # each (b, pixels)
    chroma, hue = torch.hypot(a, b), torch.rad2deg(torch.atan2(b, a))
    votes = torch.where(chroma >= _MIN_CHROMA, chroma, 0)  # the weight of a pixel's vote for its hue
    away = _wrapped(hue - _main_hue(votes, hue))
    has_colour = (votes > 0).double().mean(dim=1, keepdim=True) >= _MIN_SHARE
    is_grey = (lightness > _DARKEST) & (lightness < _LIGHTEST)
    moved = torch.where(has_colour, (votes > 0) & (away.abs() <= _REACH), is_grey)
    weight = torch.where(has_colour, votes, 1.0) * moved
    average = lambda values: (weight * values).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1e-9)  # noqa: E731
    chroma = torch.where(has_colour, chroma * new_chroma / average(chroma).clamp(min=1.0), new_chroma)
    lightness = torch.where(moved, (lightness - average(lightness) + new_lightness).clamp(5, 97), lightness)
    angle = torch.deg2rad(new_hue + _KEPT * torch.where(has_colour, away, 0))
    a = torch.where(moved, chroma * angle.cos(), a)
    b = torch.where(moved, chroma * angle.sin(), b)
    rgb = to_rgb(torch.stack([lightness, a, b], dim=-1)).unflatten(1, images.shape[2:])
    return 2 * rgb.permute(0, 3, 1, 2) - 1


def _main_hue(votes: Float[Tensor, "b pixels"], hue: Float[Tensor, "b pixels"]) -> Float[Tensor, "b 1"]:
    """The mean hue, weighted by `votes`, within the arc of 55° that has the most votes."""
    sector = ((hue + 180) / 5).long().clamp(0, 71)
    counts = votes.new_zeros(len(votes), 72).scatter_add_(1, sector, votes)
    around = torch.cat([counts[:, -5:], counts, counts[:, :5]], dim=1).unfold(1, 11, 1).sum(dim=2)
    middle = (around.argmax(dim=1, keepdim=True) * 5 - 177.5).to(hue)
    away = _wrapped(hue - middle)
    votes = votes * (away.abs() <= 27.5)
    return middle + (votes * away).sum(1, keepdim=True) / votes.sum(1, keepdim=True).clamp(min=1e-9)


def _wrapped(degrees: Tensor) -> Tensor:
    """The same angle in [-180, 180)."""
    return (degrees + 180) % 360 - 180
