"""The captioned digits: which combinations occur, how often, and reproducibly from a seed."""

from collections import Counter

import pytest
import torch

from minidiff.data import digits
from minidiff.data.digits import BACKGROUNDS, COLOURS, HELD_OUT, Scene


def triple(scene: Scene) -> tuple[str, int, str]:
    return scene.colour, scene.digit, scene.background


@pytest.fixture(scope="module")
def train():
    return digits.captioned("train", seed=0)


def test_shapes_and_range(train):
    images, scenes = train
    assert images.shape == (4500, 3, 32, 32)
    assert images.dtype == torch.float16
    assert (images.min(), images.max()) == (-1, 1)
    assert len(scenes) == 4500


def test_training_never_shows_a_held_out_triple_and_shows_every_other(train):
    seen = {triple(scene) for scene in train[1]}
    assert not seen & HELD_OUT
    assert len(seen) == 432


def test_every_combination_of_a_digit_comes_as_often_as_any_other_to_within_one(train):
    counts = Counter(train[1])
    for digit in range(10):
        allowed = 3 * (48 - sum(held == digit for _, held, _ in HELD_OUT))
        of_digit = [n for scene, n in counts.items() if scene.digit == digit]
        assert len(of_digit) == allowed
        assert set(of_digit) <= {450 // allowed, 450 // allowed + 1}


def test_a_picture_shows_its_scene(train):
    """The corners are background. The strongest ink lies on the line from the background to the colour."""
    for image, scene, label in zip(*(each[:200] for each in (*train, digits.load("train")[1])), strict=True):
        background, colour = (
            torch.tensor(rgb)[:, None, None] / 127.5 - 1
            for rgb in (BACKGROUNDS[scene.background], COLOURS[scene.colour])
        )
        assert scene.digit == label
        corners = (image.float() - background).abs().amax(0)[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.median() < 1e-3
        ink = (image.float() - background).norm(dim=0) / (colour - background).norm()
        strongest = image.float()[:, ink == ink.max()].mean(1)
        torch.testing.assert_close(
            strongest, (background + ink.max() * (colour - background)).flatten(), atol=4e-3, rtol=0
        )
        assert 0.6 < ink.max() < 1.002


def test_test_shows_held_out_triples_too_or_those_alone():
    share = lambda scenes: sum(scene.is_held_out for scene in scenes) / len(scenes)  # noqa: E731
    assert share(digits.captioned("test")[1]) == pytest.approx(0.1, abs=0.03)
    assert share(digits.captioned("test", held_out_only=True)[1]) == 1


def test_the_test_digits_are_drawn_and_no_others():
    labels = digits.load("test")[1].tolist()
    _, scenes = digits.captioned("test", count_per_digit_image=2)
    assert [scene.digit for scene in scenes] == labels + labels


def test_the_seed_alone_decides():
    (first, scenes), (again, scenes_again), (other, scenes_other) = (
        digits.captioned("test", seed=s) for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert scenes == scenes_again
    assert scenes != scenes_other
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test", "count_per_digit_image": 0}, "at least 1"),
        ({"split": "train", "held_out_only": True}, "never sees"),
    ],
)
def test_what_cannot_be_had_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        digits.captioned(**arguments)
