import math

import pytest
import torch

from minidiff.data import digits
from minidiff.metrics import report
from minidiff.recipes import judges
from minidiff.training import initialised


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_seed_alone_decides_on_the_first_weights():
    before = torch.get_rng_state()
    first, again, other = (next(initialised(judges.classifier, seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def dots(n: int) -> torch.Tensor:
    """Black images with a white dot in the middle."""
    images = -torch.ones(n, 1, 32, 32)
    images[:, :, 15:17, 15:17] = 1
    return images


def centre_of_mass(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The x and y of the centre of mass of each image, in pixels from the middle."""
    weight, place = images[:, 0] + 1, torch.arange(32) - 15.5
    total = weight.sum((1, 2))
    return (weight * place).sum((1, 2)) / total, (weight * place[:, None]).sum((1, 2)) / total


def test_distortion_moves_the_middle_no_farther_than_it_may():
    x, y = centre_of_mass(judges.distorted(dots(1000), seeded(), bend=0.0))
    assert torch.hypot(x, y).max() <= math.hypot(2.5, 2.5) / 0.85 + 0.1
    for moved in (x, y):
        assert moved.mean().item() == pytest.approx(0, abs=0.3)
        assert moved.std().item() == pytest.approx(2.5 / math.sqrt(3), rel=0.15)  # uniform in -2.5…2.5


def test_bending_moves_the_middle_by_about_a_pixel_more():
    """BEND is the standard deviation at the 5×5 points, one of which is the middle; between them it is interpolated."""
    still = {"max_angle": 0.0, "max_zoom": 0.0, "max_shift": 0.0}
    x, _ = centre_of_mass(judges.distorted(dots(1000), seeded(), **still))
    assert x.std().item() == pytest.approx(judges.BEND, rel=0.25)
    torch.testing.assert_close(judges.distorted(dots(3), seeded(), **still, bend=0.0), dots(3))


def test_distortion_never_mirrors():
    right = -torch.ones(400, 1, 32, 32)
    right[:, :, :, 16:] = 1
    moved = judges.distorted(right, seeded())
    assert (moved[:, :, 8:24, 24:].mean((1, 2, 3)) > 0.5).all()
    assert (moved[:, :, 8:24, :8].mean((1, 2, 3)) < -0.5).all()


def test_doubtful_images_have_divided_targets():
    images, labels = digits.load("test")
    shown, targets = judges.doubtful(images, torch.eye(10)[labels], seeded())
    assert len(shown) == len(targets)
    assert shown.abs().max() <= 1
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(targets)))
    assert set(targets.unique().tolist()) <= {0.0, targets.new_tensor(0.1).item(), 0.5, 1.0}
    assert (targets.max(dim=1).values < 0.9).float().mean() > 0.7


def test_softening_keeps_flat_images_flat_except_for_noise():
    soft = judges.softened(torch.full((50, 3, 32, 32), 0.5), seeded())
    assert soft.mean((1, 2, 3)).sub(0.5).abs().max() < 0.01
    assert soft.std((1, 2, 3)).max() <= judges.MAX_NOISE * 1.1


@pytest.mark.slow
def test_a_trained_judge_of_digits_knows_digits_and_doubts_the_rest():
    before = torch.get_rng_state()
    judge = judges.train_digit_judge(seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    images, labels = digits.load("test")
    partner = torch.randperm(len(images), generator=seeded())
    other, different = images[partner], labels != labels[partner]
    result = report(judge, ((images + other) / 2)[different])
    assert result.test_accuracy >= 0.98
    assert result.real_share > 0.9
    assert result.ratio < 0.3
    assert judge.class_shares(images).min() > 0.08
    halves = torch.cat([images[:, :, :16], other[:, :, 16:]], dim=2)[different]
    assert judge.confident_share(halves) < 0.8 * result.real_share
    assert judge.confident_share(torch.rand(200, 1, 32, 32, generator=seeded()) * 2 - 1) < 0.05
    blanks = torch.linspace(-1, 1, 21).reshape(21, 1, 1, 1).expand(21, 1, 32, 32)
    assert judge.confident_share(blanks) < 0.1


@pytest.mark.slow
def test_a_trained_judge_of_prompts_is_right_about_real_images_soft_or_not():
    before = torch.get_rng_state()
    judge = judges.train_prompt_judge(seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    images, scenes = digits.captioned("test", count_per_digit_image=3, seed=1)
    images = (images.float() + 1) / 2
    for shown in (images, judges.softened(images, seeded())):
        shares = vars(judge(shown, [digits.captions(scene)[0] for scene in scenes]))
        assert min(shares[attribute] for attribute in ("digit", "colour", "background", "size")) >= 0.97
        assert shares["everything"] >= 0.965
