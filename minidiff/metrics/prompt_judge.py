r"""A judge of prompts: which digit, colour, background and size an image shows, compared with what its prompt names.

The judge uses how captioned digits are made, and nothing of the model that drew them. An image mixes a background b with ink of one
colour c: $x = b + \alpha (c - b)$. The background is the median of the image's rim. The colour is the named colour whose mixtures with
the background fit all pixels best. The remaining opacity α has the size of the digit as its height; cut out, centred and scaled like a
digit of MNIST, it is given to a classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from minidiff.data import digits
from minidiff.data.cielab import to_lab
from minidiff.data.scenes import BACKGROUNDS, COLOURS, SIZES
from minidiff.metrics.digit_judge import DigitJudge

FAINT = 0.3  # if no ink is more opaque, nothing is drawn
EDGE = 0.4  # pixels above this fraction of the greatest opacity belong to the digit
MNIST_BOX = 20  # pixels, the longer side of a digit in MNIST
BATCH = 500

Attributes = dict[str, int | str]  # as `digits.parse` gives them


@dataclass(frozen=True)
class PromptReport:
    """Shares of correct images, in [0, 1]: of each attribute among the prompts that name it, or None if no prompt does."""

    prompts: int
    digit: float | None
    colour: float | None
    background: float | None
    size: float | None
    everything: float  # every attribute that the prompt names is correct


@dataclass(frozen=True)
class PromptJudge:
    """`judge(images, prompts)` gives a PromptReport. `recipes.judges.train_prompt_judge` trains a judge."""

    classifier: DigitJudge

    def __call__(self, images: Float[Tensor, "b 3 32 32"], prompts: Sequence[str]) -> PromptReport:
        """Compare images, in [0, 1], with their prompts.

        Raises ValueError if there are no images, not one image per prompt, or a prompt that names no attribute.
        """
        if len(images) != len(prompts):
            raise ValueError(f"expected one prompt per image, got {len(prompts)} prompts for {len(images)} images")
        asked = [digits.parse(prompt) for prompt in prompts]
        right = [
            {attribute: shown.get(attribute) == value for attribute, value in named.items()}
            for named, shown in zip(asked, self.read(images), strict=True)
        ]
        shares = {attribute: _share(right, attribute) for attribute in ("digit", "colour", "background", "size")}
        return PromptReport(len(prompts), **shares, everything=sum(all(each.values()) for each in right) / len(right))

    def read(self, images: Float[Tensor, "b 3 32 32"]) -> list[Attributes]:
        """The attributes that each image, in [0, 1], shows; of an image without a digit, the background alone.

        Raises ValueError if there are no images, or if their values are not in [0, 1].
        """
        if len(images) == 0:
            raise ValueError("expected at least one image, got none")
        if not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(
                f"images must be in [0, 1], got {images.min():.3g} to {images.max():.3g}: convert x in [-1, 1] by (x + 1) / 2"
            )
        return [shown for part in images.cpu().float().split(BATCH) for shown in self._read(part)]

    def _read(self, images: Tensor) -> list[Attributes]:
        grounds, colours, ink = separate(images)
        top, bottom, _, _ = _box(ink)
        heights = torch.tensor(list(SIZES.values()))
        sizes = ((bottom - top)[:, None] - heights).abs().argmin(dim=1)
        shapes = self.classifier.probabilities(as_mnist(ink)).argmax(dim=1)
        is_drawn = ink.amax((1, 2)) >= FAINT
        readings = []
        for ground, colour, size, digit, drawn in torch.stack(
            [grounds, colours, sizes, shapes, is_drawn], dim=1
        ).tolist():
            reading: Attributes = {"background": list(BACKGROUNDS)[ground]}
            if drawn:
                reading |= {"digit": digit, "colour": list(COLOURS)[colour], "size": list(SIZES)[size]}
            readings.append(reading)
        return readings


def separate(
    images: Float[Tensor, "b 3 h w"],
) -> tuple[Int[Tensor, "b"], Int[Tensor, "b"], Float[Tensor, "b h w"]]:
    r"""Background and colour, as indices to BACKGROUNDS and COLOURS, and the ink's opacity α in [0, 1].

    The colour is $\arg\min_c \min_\alpha \sum \lVert x - b - \alpha (c - b) \rVert^2$ over the named colours. The background
    is measured, and named after the nearest named colour in CIELAB.
    """
    rim = torch.cat([images[:, :, [0, -1]].flatten(2), images[:, :, 1:-1, [0, -1]].flatten(2)], dim=2)
    ground = rim.median(dim=2).values  # (b, 3)
    grounds = torch.cdist(to_lab(ground), to_lab(_rgb(BACKGROUNDS).to(images))).argmin(dim=1)
    direction = _rgb(COLOURS).to(images) - ground[:, None]  # (b, colours, 3)
    square = (direction**2).sum(dim=2, keepdim=True).clamp(min=1e-6)  # a background may be one of the colours
    along = direction @ (images - ground[:, :, None, None]).flatten(2)  # (b, colours, h w)
    opacity = (along / square).clamp(0, 1)
    error = (opacity * (opacity * square - 2 * along)).sum(dim=2)  # without the term that all colours share
    colours = error.argmin(dim=1)
    ink = opacity[torch.arange(len(images)), colours]
    return grounds, colours, ink.reshape(len(images), *images.shape[2:])


def as_mnist(ink: Float[Tensor, "b h w"]) -> Float[Tensor, "b 1 h w"]:
    """The ink alone, in [-1, 1], centred, its longer side scaled to 20 pixels as in MNIST."""
    top, bottom, left, right = _box(ink)
    side = ink.shape[-1]
    zoom = torch.maximum(bottom - top, right - left) / MNIST_BOX
    across, down = (left + right) / side - 1, (top + bottom) / side - 1  # the centre, from -1 to 1
    zero = torch.zeros_like(zoom)
    affine = torch.stack([zoom, zero, across, zero, zoom, down], dim=1).reshape(-1, 2, 3).to(ink)
    grid = F.affine_grid(affine, [len(ink), 1, side, side], align_corners=False)
    return 2 * F.grid_sample(ink[:, None], grid, align_corners=False) - 1


def _box(ink: Float[Tensor, "b h w"]) -> tuple[Int[Tensor, "b"], Int[Tensor, "b"], Int[Tensor, "b"], Int[Tensor, "b"]]:
    """First row, last row + 1, first column, last column + 1 of the ink above EDGE."""
    solid = ink >= EDGE * ink.amax((1, 2), keepdim=True)
    return *_extent(solid.any(dim=2)), *_extent(solid.any(dim=1))


def _extent(line: Tensor) -> tuple[Tensor, Tensor]:
    """The first true of each row of booleans, and one past the last true. Every row has one."""
    line = line.int()
    return line.argmax(dim=1), line.shape[1] - line.flip(1).argmax(dim=1)


def _rgb(colours: dict) -> Float[Tensor, "n 3"]:
    return torch.tensor(list(colours.values())) / 255


def _share(right: list[dict[str, bool]], attribute: str) -> float | None:
    among = [each[attribute] for each in right if attribute in each]
    return sum(among) / len(among) if among else None
