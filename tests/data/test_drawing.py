"""Digits drawn as scenes, compared with the formula by hand, with pillow's scaling, and by measurement."""

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data import digits
from minidiff.data.digits import BACKGROUNDS, COLOURS, SIZES, Scene, render

SMALL = Scene(0, "red", "navy", "small")


def square(side: int = 7, grey: float = 1.0) -> torch.Tensor:
    """A digit image of one grey square."""
    image = torch.full((1, 32, 32), -1.0)
    image[:, 5 : 5 + side, 9 : 9 + side] = grey
    return image


def rgb(colour: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colour)[:, None, None] / 127.5 - 1


def opacity(picture: torch.Tensor, scene: Scene) -> torch.Tensor:
    background, colour = rgb(BACKGROUNDS[scene.background]), rgb(COLOURS[scene.colour])
    return ((picture - background) * (colour - background)).sum(0) / ((colour - background) ** 2).sum()


def test_a_full_square_is_the_colour_on_the_background():
    picture = render(square(), SMALL, offset=(3, 18))
    expected = rgb(BACKGROUNDS["navy"]).expand(3, 32, 32).clone()
    expected[:, 3:17, 18:32] = rgb(COLOURS["red"])
    torch.testing.assert_close(picture, expected)


def test_grey_mixes_the_two_by_its_value():
    picture = render(square(grey=0.5), SMALL, offset=(0, 0))
    expected = 0.25 * rgb(BACKGROUNDS["navy"]) + 0.75 * rgb(COLOURS["red"])
    torch.testing.assert_close(picture[:, :14, :14], expected.expand(3, 14, 14))


@pytest.mark.parametrize("size", SIZES)
def test_real_digits_have_the_stated_height_lie_within_and_mix_two_colours_only(size, generator):
    for image in digits.load("test")[0][:100]:
        scene = Scene(0, "pink", "grey", size)
        picture = render(image, scene, generator=generator)
        ink = opacity(picture, scene)
        background, colour = rgb(BACKGROUNDS["grey"]), rgb(COLOURS["pink"])
        torch.testing.assert_close(picture, background + ink * (colour - background), atol=1e-5, rtol=0)
        assert -1e-5 <= ink.min() <= ink.max() <= 1 + 1e-5
        rows = (ink > 1e-4).any(dim=1).nonzero()
        assert abs(rows[-1] - rows[0] + 1 - SIZES[size]) <= 1  # an edge may be too faint to measure


@pytest.mark.parametrize("size", SIZES)
def test_scaling_is_antialiased_as_pillow_does_it(size):
    image = digits.load("test")[0][3]
    ink = ((image[0] + 1) / 2).numpy()
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height = SIZES[size]
    width = round(box.shape[1] * height / box.shape[0])
    expected = np.asarray(Image.fromarray(box).resize((width, height), Image.Resampling.BILINEAR))
    scene = Scene(0, "red", "white", size)
    drawn = opacity(render(image, scene, offset=(0, 0)), scene)[:height, :width]
    np.testing.assert_allclose(drawn, expected, atol=2e-3)


def test_a_digit_wider_than_the_picture_is_narrowed_not_cut():
    flat = torch.full((1, 32, 32), -1.0)
    flat[:, 10:20, 2:30] = 1
    scene = Scene(1, "red", "black", "large")
    ink = opacity(render(flat, scene, offset=(0, 0)), scene)
    assert (ink[:28] > 0.99).all()
    assert (ink[28:] < 0.01).all()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "first", "last"), [("large", 0, 4), ("medium", 3, 9), ("small", 6, 12)])
def test_every_place_near_the_middle_is_as_likely_as_any_other(size, first, last, generator):
    """A position is at most 3 pixels from the centred one. A large digit has only 4 pixels of free space."""
    scene, places = Scene(0, "red", "black", size), last - first + 1
    counts = torch.zeros(32, 32)
    for _ in range(100 * places**2):
        ink = opacity(render(square(), scene, generator=generator), scene) > 0.5
        counts[ink.any(1).nonzero()[0, 0], ink.any(0).nonzero()[0, 0]] += 1
    inside = counts[first : last + 1, first : last + 1]
    assert inside.sum() == counts.sum()
    assert (inside - 100).abs().max() < 4.5 * (100 * (1 - 1 / places**2)) ** 0.5


def test_the_generator_alone_decides():
    seeded = lambda seed: torch.Generator().manual_seed(seed)  # noqa: E731
    first, again, other = (render(square(), SMALL, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("places", [{}, {"generator": torch.Generator(), "offset": (0, 0)}])
def test_the_place_must_be_said_once(places):
    with pytest.raises(ValueError, match=r"exactly one of generator= .* and offset="):
        render(square(), SMALL, **places)


@pytest.mark.parametrize("offset", [(-1, 0), (19, 0), (0, 19)])
def test_a_place_without_room_is_refused(offset):
    with pytest.raises(ValueError, match=r"14×14 pixels fits at offsets \(0, 0\) to \(18, 18\)"):
        render(square(), SMALL, offset=offset)


def test_a_blank_picture_holds_no_digit():
    with pytest.raises(ValueError, match="blank"):
        render(torch.full((1, 32, 32), -1.0), SMALL, offset=(0, 0))
