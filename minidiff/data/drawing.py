"""Draw a handwritten digit in the colours and the size of a scene, near the middle of the picture."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from minidiff.data.scenes import BACKGROUNDS, COLOURS, RGB, SIZES, Scene

SIDE = 32
WANDER = 3  # the largest random shift from the centred position, in pixels, down and across


def render(
    digit_image: Float[Tensor, "1 h w"],
    scene: Scene,
    *,
    generator: torch.Generator | None = None,
    offset: tuple[int, int] | None = None,
) -> Float[Tensor, "3 32 32"]:
    r"""Draw a digit image in the colours and the size of a scene: a picture, float32 in [-1, 1].

    The grey value of `digit_image`, in [-1, 1] on a background of -1, gives the opacity α of the ink:
    $x = b + \alpha\,(c - b)$ for the colour c and the background b. The box around all ink is scaled, with antialiasing,
    to the height that the scene's size gives. The box keeps its proportions unless it would be wider than the picture.

    The box's upper left corner is at `offset` = (down, right), anywhere in the picture. With `generator` its position is
    random instead: uniform among those at most WANDER pixels from the centred position, down and across.

    Raises ValueError if not exactly one of `generator` and `offset` is given, the digit image is blank, or the digit does
    not fit at `offset`.
    """
    if (generator is None) == (offset is None):
        raise ValueError(
            "expected exactly one of generator= (a random position) and offset= (a given position), "
            f"got {'neither' if offset is None else 'both'}"
        )
    ink = _scaled(_cut_out((digit_image[0] + 1) / 2), SIZES[scene.size])
    height, width = ink.shape
    room = (SIDE - height, SIDE - width)
    if offset is None:
        offset = tuple(_near_the_middle(free, generator) for free in room)
    if not all(0 <= position <= free for position, free in zip(offset, room, strict=True)):
        raise ValueError(f"a digit of {height}×{width} pixels fits at offsets (0, 0) to {room}, got offset={offset}")
    down, right = offset
    opacity = F.pad(ink, (right, room[1] - right, down, room[0] - down))
    background, colour = _rgb(BACKGROUNDS[scene.background]), _rgb(COLOURS[scene.colour])
    return background + opacity * (colour - background)


def _near_the_middle(free: int, generator: torch.Generator) -> int:
    """A random position in 0…free, at most WANDER from free / 2."""
    first, last = max(0, -(-free // 2) - WANDER), min(free, free // 2 + WANDER)
    return int(torch.randint(first, last + 1, (), generator=generator))


def _cut_out(ink: Float[Tensor, "h w"]) -> Float[Tensor, "height width"]:
    """The smallest box that contains all values above 0."""
    rows, columns = ink.any(dim=1).nonzero(), ink.any(dim=0).nonzero()
    if len(rows) == 0:
        raise ValueError("the digit image is blank: every pixel is -1")
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(ink: Float[Tensor, "h w"], height: int) -> Float[Tensor, "height width"]:
    h, w = ink.shape
    width = min(max(round(w * height / h), 1), SIDE)
    return F.interpolate(ink[None, None], size=(height, width), mode="bilinear", antialias=True)[0, 0]


def _rgb(colour: RGB) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(colour).reshape(3, 1, 1) / 127.5 - 1
