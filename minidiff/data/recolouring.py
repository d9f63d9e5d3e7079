r"""The main colour of a picture becomes another; what is white, black or of other colours stays.

Colours are (L*, chroma, hue) here, which is CIELAB in polar coordinates: the hue is an angle, chroma the distance from grey.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data.cielab import to_lab, to_rgb

COLOURS: dict[str, tuple[float, float, float]] = {  # L*, chroma, hue in degrees: what a thing of this colour looks like
    "red": (50, 72, 36),
    "orange": (70, 72, 65),
    "yellow": (86, 78, 91),
    "green": (60, 58, 142),
    "blue": (56, 47, 265),
    "purple": (46, 62, 322),
    "pink": (76, 38, 356),
    "brown": (40, 34, 57),
}

_GREY = 10.0  # chroma below which a pixel has no hue
_REACH = 60.0  # degrees on either side of the main hue that change with it
_SOME_COLOUR = 0.02  # the share of the picture that must have a hue; else its greys are dyed
_DARKEST, _LIGHTEST = 25.0, 97.0  # greys between them are dyed: lines stay black, paper stays white
_KEPT = 0.3  # of a pixel's distance from the main hue


def recoloured(images: Float[Tensor, "b 3 h w"], colour: str) -> Float[Tensor, "b 3 h w"]:
    """Pictures in [-1, 1] with their main colour replaced by one of COLOURS, lighter or darker as that colour asks for.

    The main colour is the hue around which most of the chroma lies. Pixels within 60° of it move with it, and keep the order of their
    lightness; a picture without any hue is dyed. Raises ValueError for a colour that is not in the list.
    """
    if colour not in COLOURS:
        raise ValueError(f"unknown colour {colour!r}: choose one of {', '.join(COLOURS)}")
    new_lightness, new_chroma, new_hue = COLOURS[colour]
    lightness, a, b = to_lab((images.permute(0, 2, 3, 1) + 1) / 2).flatten(1, 2).unbind(-1)  # each (b, pixels)
    chroma, hue = torch.hypot(a, b), torch.rad2deg(torch.atan2(b, a))
    votes = torch.where(chroma >= _GREY, chroma, 0)
    away = _turn(hue - _main_hue(votes, hue))
    has_colour = (votes > 0).double().mean(dim=1, keepdim=True) >= _SOME_COLOUR
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
    """The mean hue on that arc of 55° which has most votes."""
    sector = ((hue + 180) / 5).long().clamp(0, 71)
    counts = votes.new_zeros(len(votes), 72).scatter_add_(1, sector, votes)
    around = torch.cat([counts[:, -5:], counts, counts[:, :5]], dim=1).unfold(1, 11, 1).sum(dim=2)
    middle = (around.argmax(dim=1, keepdim=True) * 5 - 177.5).to(hue)
    away = _turn(hue - middle)
    votes = votes * (away.abs() <= 27.5)
    return middle + (votes * away).sum(1, keepdim=True) / votes.sum(1, keepdim=True).clamp(min=1e-9)


def _turn(degrees: Tensor) -> Tensor:
    """The same angle in [-180, 180)."""
    return (degrees + 180) % 360 - 180
