"""A handwritten digit becomes a coloured one on a coloured ground, as large as its scene says, not far from the middle."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from minidiff.data.scenes import BACKGROUNDS, COLOURS, RGB, SIZES, Scene

SIDE = 32
WANDER = 3  # pixels, at most, from the place where the digit would be in the middle, down and across


def render(
    digit_image: Float[Tensor, "1 h w"],
    scene: Scene,
    *,
    generator: torch.Generator | None = None,
    offset: tuple[int, int] | None = None,
) -> Float[Tensor, "3 32 32"]:
    r"""The scene with this handwriting, float32 in [-1, 1].

    The grey value of `digit_image`, in [-1, 1] on a background of -1, is the opacity α of the ink:
    $x = b + \alpha\,(c - b)$ for the colour c and the background b. The box around all ink is scaled, antialiased, to
    the height of the size and as wide as the shape asks for, but no wider than the picture. Its upper left corner is
    at `offset` = (down, right), anywhere in the picture; or, drawn from `generator`, at most WANDER pixels from where it would be in the
    middle, down and across, each place as likely as any other.

    Raises ValueError where not exactly one of them is given, the digit image is blank, or it would not fit in there.
    """
    if (generator is None) == (offset is None):
        raise ValueError(
            "say where the digit goes: by a generator= for a random place, or by an offset=; not by both, nor by neither"
        )
    ink = _scaled(_cut_out((digit_image[0] + 1) / 2), SIZES[scene.size])
    height, width = ink.shape
    room = (SIDE - height, SIDE - width)
    if offset is None:
        offset = tuple(_near_the_middle(free, generator) for free in room)
    if not all(0 <= place <= free for place, free in zip(offset, room, strict=True)):
        raise ValueError(f"a digit of {height}×{width} pixels fits at offsets (0, 0) to {room}, got {offset}")
    down, right = offset
    opacity = F.pad(ink, (right, room[1] - right, down, room[0] - down))
    background, colour = _rgb(BACKGROUNDS[scene.background]), _rgb(COLOURS[scene.colour])
    return background + opacity * (colour - background)


def _near_the_middle(free: int, generator: torch.Generator) -> int:
    """A place in 0…free that is at most WANDER from half of it."""
    first, last = max(0, -(-free // 2) - WANDER), min(free, free // 2 + WANDER)
    return int(torch.randint(first, last + 1, (), generator=generator))


def _cut_out(ink: Float[Tensor, "h w"]) -> Float[Tensor, "height width"]:
    """The smallest box that holds everything above 0."""
    rows, columns = ink.any(dim=1).nonzero(), ink.any(dim=0).nonzero()
    if len(rows) == 0:
        raise ValueError("the digit image is blank: all of it is -1")
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(ink: Float[Tensor, "h w"], height: int) -> Float[Tensor, "height width"]:
    h, w = ink.shape
    width = min(max(round(w * height / h), 1), SIDE)
    return F.interpolate(ink[None, None], size=(height, width), mode="bilinear", antialias=True)[0, 0]


def _rgb(colour: RGB) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(colour).reshape(3, 1, 1) / 127.5 - 1
