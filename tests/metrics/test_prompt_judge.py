"""What the judge reads from images whose attributes are known, and what it counts."""

import pytest
import torch

from minidiff.data import digits
from minidiff.data.digits import BACKGROUNDS, COLOURS, SIZES, Scene
from minidiff.metrics import DigitJudge, PromptJudge, prompt_judge
from minidiff.recipes.judges import softened

ALWAYS_SEVEN = DigitJudge(lambda images: 9 * torch.eye(10)[7].expand(len(images), 10))
SEVENS = PromptJudge(ALWAYS_SEVEN)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def real():
    """Pictures of test digits in [0, 1], and their scenes."""
    images, scenes = digits.captioned("test", seed=1)
    return (images.float() + 1) / 2, scenes


def share(judge: PromptJudge, images: torch.Tensor, scenes: list[Scene]) -> dict[str, float]:
    return vars(judge(images, [digits.captions(scene)[0] for scene in scenes]))


def test_colour_background_and_size_of_real_pictures_are_read(real):
    shares = share(SEVENS, *real)
    assert shares["colour"] == shares["background"] == 1
    assert shares["size"] >= 0.99
    assert shares["digit"] == pytest.approx(sum(scene.digit == 7 for scene in real[1]) / 500)


def test_they_are_read_from_soft_and_noisy_pictures_too(real):
    images, scenes = real
    generator = seeded()
    soft = softened(softened(images, generator), generator)
    psnr = -10 * ((soft - images) ** 2).mean((1, 2, 3)).log10()
    assert 25 < psnr.mean() < 35
    shares = share(SEVENS, soft, scenes)
    assert min(shares["colour"], shares["background"]) >= 0.995
    assert shares["size"] >= 0.98


def test_separating_undoes_the_mixing(real):
    images, _ = real
    grounds, colours, ink = prompt_judge.separate(images)
    background = torch.tensor(list(BACKGROUNDS.values()))[grounds] / 255
    colour = torch.tensor(list(COLOURS.values()))[colours] / 255
    mixed = background[:, :, None, None] + ink[:, None] * (colour - background)[:, :, None, None]
    torch.testing.assert_close(mixed, images, atol=2e-3, rtol=0)


def test_the_ink_of_any_scene_is_the_same_mnist_digit():
    """For all colours, sizes and places, the longer side has 20 pixels and its centre is the centre of the image."""
    image = digits.load("test")[0][0]
    scenes = [Scene(0, *names) for names in zip(COLOURS, [*BACKGROUNDS] * 2, [*SIZES] * 3, strict=False)]
    pictures = torch.stack([digits.render(image, scene, generator=seeded(i)) for i, scene in enumerate(scenes)])
    inks = prompt_judge.as_mnist(prompt_judge.separate((pictures + 1) / 2)[2])
    assert (inks - inks[:1]).abs().mean() < 0.1  # of a range of 2
    for ink in inks[:, 0] > 0:
        rows, columns = ink.any(1).nonzero(), ink.any(0).nonzero()
        assert max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 == pytest.approx(20, abs=2)
        for places in (rows, columns):
            assert (places[0] + places[-1]) / 2 == pytest.approx(15.5, abs=1)


def test_a_report_by_hand():
    """Two sevens, a three that is taken for a seven, and a blank. An attribute counts for the prompts that name it."""
    image = digits.load("test")[0][0]
    scenes = [Scene(7, "red", "navy", "small"), Scene(7, "blue", "white", "large"), Scene(3, "cyan", "black", "medium")]
    pictures = [(digits.render(image, scene, generator=seeded()) + 1) / 2 for scene in scenes]
    pictures.append(torch.zeros(3, 32, 32))
    prompts = ["a red seven", "a small green 7 on white", "a medium 3", "a large seven on a black background"]
    report = SEVENS(torch.stack(pictures), prompts)
    assert report.prompts == 4
    assert report.digit == 2 / 4
    assert report.colour == 1 / 2
    assert report.background == 2 / 2
    assert report.size == pytest.approx(1 / 3)
    assert report.everything == 1 / 4


def test_an_attribute_that_no_prompt_names_has_no_share():
    report = SEVENS(torch.zeros(1, 3, 32, 32), ["on black"])
    assert (report.digit, report.colour, report.size) == (None, None, None)
    assert report.background == report.everything == 1


def test_a_flat_picture_in_a_colour_of_digits_is_no_digit():
    for rgb in COLOURS.values():
        flat = torch.tensor(rgb)[None, :, None, None].expand(1, 3, 32, 32) / 255
        assert [reading.keys() for reading in SEVENS.read(flat)] == [{"background"}]


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_where_nothing_is_drawn_there_is_only_a_background(background):
    flat = torch.tensor(BACKGROUNDS[background])[None, :, None, None] / 255
    noisy = (flat + 0.02 * torch.randn(1, 3, 32, 32, generator=seeded())).clamp(0, 1)
    assert SEVENS.read(noisy) == [{"background": background}]


def test_many_images_are_read_as_one_by_one(real):
    images = torch.cat([real[0], real[0][:3]])
    assert len(images) > prompt_judge.BATCH
    assert SEVENS.read(images) == [reading for image in images for reading in SEVENS.read(image[None])]


def test_what_cannot_be_judged_is_refused(real):
    images, _ = real
    with pytest.raises(ValueError, match="one prompt per image, got 1 prompts for 2 images"):
        SEVENS(images[:2], ["a red seven"])
    with pytest.raises(ValueError, match="at least one"):
        SEVENS.read(images[:0])
    with pytest.raises(ValueError, match="names no digit"):
        SEVENS(images[:1], ["a cat"])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        SEVENS.read(2 * images - 1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        SEVENS.read(images * float("nan"))
