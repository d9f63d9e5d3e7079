"""The colour measured in a picture is the colour in its caption, or the colour that the test gave it."""

import re

import pytest
import torch
from PIL import Image

from minidiff.data import emoji
from minidiff.data.cielab import to_lab
from minidiff.data.pictures import to_uint8
from minidiff.metrics.hue import HUES, colour_shares, foreground_colour

ENGLISH = re.compile(rf"^(?:large |small |light |hollow )?({'|'.join(HUES)}) (?!hair|dragon)")


@pytest.fixture(scope="module")
def loaded():
    images, captions = emoji.load()
    return (images + 1) / 2, captions


def test_emoji_whose_caption_begins_with_a_colour_have_it(loaded):
    images, captions = loaded
    named = [(i, ENGLISH.match(caption)) for i, caption in enumerate(captions)]
    named = [(i, match[1]) for i, match in named if match]
    assert len(named) >= 30
    assert {colour for _, colour in named} == set(HUES)
    assert foreground_colour(images[[i for i, _ in named]]) == [colour for _, colour in named]


@pytest.mark.parametrize(
    ("colour", "hue"),
    [("red", 2), ("orange", 32), ("yellow", 52), ("green", 115), ("blue", 215), ("purple", 288), ("pink", 330)],
)
def test_recoloured_emoji_have_their_new_colour(loaded, colour, hue):
    """Pillow replaces every hue in HSV. Dark orange and dark red are brown."""
    images, _ = loaded
    recoloured = []
    for image in images[foreground(images)][::12]:
        _, s, v = Image.fromarray(to_uint8(2 * image - 1).permute(1, 2, 0).numpy()).convert("HSV").split()
        h = Image.new("L", s.size, round(hue / 360 * 255))
        pixels = torch.tensor(list(Image.merge("HSV", (h, s, v)).convert("RGB").tobytes()))
        recoloured.append(pixels.reshape(32, 32, 3).permute(2, 0, 1) / 255)
    assert len(recoloured) >= 40
    accepted = {colour, "brown"} if colour in ("red", "orange") else {colour}
    right = [name in accepted for name in foreground_colour(torch.stack(recoloured))]
    assert sum(right) / len(right) >= 0.95


def foreground(images: torch.Tensor) -> torch.Tensor:
    """Which emoji have strong colours in more than a quarter of the picture."""
    return ((images.amax(1) - images.amin(1)) > 0.4).double().mean((1, 2)) > 0.25


def test_white_black_and_grey_have_no_say():
    """A thin red line among greys: pixels without hue are ignored, however many there are."""
    picture = torch.linspace(0, 1, 32)[None, None, :, None].repeat(1, 3, 1, 32)
    assert foreground_colour(picture) == ["grey"]
    assert colour_shares(picture).sum() == 0
    picture[:, :, 10] = torch.tensor([0.9, 0.1, 0.1])[:, None]
    assert foreground_colour(picture) == ["red"]


def test_votes_are_weighed_by_chroma_and_add_up_to_one():
    """Twelve columns of blue and four of red beside white."""
    picture = torch.ones(1, 3, 32, 32)
    blue, red = torch.tensor([0.1, 0.4, 0.9]), torch.tensor([0.9, 0.1, 0.1])
    picture[:, :, :, :12], picture[:, :, :, 12:16] = blue[:, None, None], red[:, None, None]
    chroma_of_blue, chroma_of_red = to_lab(torch.stack([blue, red]))[:, 1:].norm(dim=1).tolist()
    expected = torch.zeros(1, 8)
    expected[0, HUES.index("blue")] = 3 * chroma_of_blue / (3 * chroma_of_blue + chroma_of_red)
    expected[0, HUES.index("red")] = chroma_of_red / (3 * chroma_of_blue + chroma_of_red)
    torch.testing.assert_close(colour_shares(picture), expected)


def test_pink_lies_on_both_sides_of_nought_degrees():
    assert foreground_colour(torch.tensor([1.0, 0.5, 0.75]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)) == ["pink"]
    assert foreground_colour(torch.tensor([1.0, 0.5, 0.6]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)) == ["pink"]


def test_pictures_in_another_range_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        colour_shares(-torch.ones(1, 3, 4, 4))
