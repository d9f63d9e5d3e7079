"""Recoloured pictures, measured in CIELAB and by `hue.foreground_colour`, which do not use `recoloured`."""

import pytest
import torch

from minidiff.data import emoji
from minidiff.data.cielab import to_lab
from minidiff.data.recolouring import COLOURS, recoloured
from minidiff.metrics.hue import HUES, foreground_colour


@pytest.fixture(scope="module")
def objects() -> torch.Tensor:
    images, captions = emoji.load()
    return images[[captions.index(name) for name in emoji.OBJECTS]]


def lightness(images: torch.Tensor) -> torch.Tensor:
    return to_lab((images.permute(0, 2, 3, 1) + 1) / 2)[..., 0]


def disc(*rgb: float) -> torch.Tensor:
    """A disc of one colour on white, with a black line through it."""
    across, down = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="xy")
    picture = torch.where((across - 16) ** 2 + (down - 16) ** 2 < 120, torch.tensor(rgb)[:, None, None], 1.0)
    picture[:, 16] = -1
    return picture[None]


@pytest.mark.parametrize("colour", COLOURS)
def test_nearly_every_picture_is_then_seen_in_that_colour(objects, colour):
    seen = foreground_colour((recoloured(objects, colour) + 1) / 2)
    assert seen.count(colour) >= 0.94 * len(objects)


def test_its_colours_are_those_that_can_be_seen():
    assert set(COLOURS) == set(HUES) == set(emoji.COLOURS)


@pytest.mark.parametrize("colour", COLOURS)
def test_one_colour_becomes_just_the_one_that_is_listed(colour):
    """A patch of one colour gets the listed colour, as far as sRGB can show it. White and black stay unchanged."""
    changed = recoloured(disc(0.8, -0.7, -0.8), colour)
    assert (changed[:, :, 16] == -1).all()
    assert (changed[:, :, 0] - 1).abs().max() < 1e-4
    L, a, b = to_lab((changed[0, :, 12, 16] + 1) / 2).tolist()
    wanted_lightness, chroma, hue = COLOURS[colour]
    angle = torch.deg2rad(torch.tensor(hue))
    assert pytest.approx((L, a, b), abs=2) == (
        wanted_lightness,
        chroma * angle.cos().item(),
        chroma * angle.sin().item(),
    )


def test_a_grey_picture_is_dyed():
    assert foreground_colour((recoloured(disc(0.2, 0.2, 0.2), "green") + 1) / 2) == ["green"]


def test_what_is_lighter_stays_lighter():
    """Pixels of the main colour keep their order of lightness, so shading is preserved."""
    two = disc(0.8, -0.7, -0.8)
    two[:, :, 8:12] -= torch.tensor([0.3, 0.1, 0.1])[:, None, None] * (two[:, :, 8:12] < 0.9).any(1)
    before, after = lightness(two)[0], lightness(recoloured(two, "blue"))[0]
    assert before[10, 16] < before[20, 16] - 3
    assert after[10, 16] < after[20, 16] - 3


def test_other_colours_stay():
    """A green leaf on a red disc stays green when the disc turns blue."""
    picture = disc(0.8, -0.7, -0.8)
    picture[:, :, 8:11, 14:18] = torch.tensor([-0.6, 0.4, -0.6])[:, None, None]
    changed = recoloured(picture, "blue")
    torch.testing.assert_close(changed[:, :, 8:11, 14:18], picture[:, :, 8:11, 14:18], atol=1e-3, rtol=0)


def test_an_unknown_colour_is_refused():
    with pytest.raises(ValueError, match="unknown colour 'navy': choose one of red, orange"):
        recoloured(torch.ones(1, 3, 32, 32), "navy")
