"""What the judge counts, with networks whose answer is known; and, slowly, a judge that is trained."""

import math

import pytest
import torch

from minidiff.data import digits
from minidiff.metrics import DigitJudge, digit_judge, report, train_judge
from minidiff.metrics.digit_judge import _doubtful, _jiggled, _network

FIRST_ROW = DigitJudge(lambda images: images[:, 0, 0, :10])  # reads its logits off the picture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def told(*answers: tuple[int, float]) -> torch.Tensor:
    """Pictures which FIRST_ROW takes for a digit with a given probability, the other nine sharing the rest."""
    images = torch.zeros(len(answers), 1, 32, 32)
    for image, (digit, probability) in zip(images, answers, strict=True):
        image[0, 0, digit] = math.log(9 * probability / (1 - probability))
    return images


def test_probabilities_are_those_of_the_network():
    probabilities = FIRST_ROW.probabilities(told((3, 0.7), (0, 0.99)))
    torch.testing.assert_close(probabilities[0], torch.full((10,), 0.3 / 9).index_fill(0, torch.tensor(3), 0.7))
    torch.testing.assert_close(probabilities[1], torch.full((10,), 0.01 / 9).index_fill(0, torch.tensor(0), 0.99))


def test_many_pictures_are_judged_as_one_by_one():
    images = torch.rand(1203, 1, 32, 32, generator=seeded())
    assert torch.equal(FIRST_ROW.probabilities(images), images[:, 0, 0, :10].softmax(dim=1))


def test_shares_count_the_confident_ones_of_each_class():
    images = told((3, 0.95), (3, 0.91), (3, 0.89), (7, 0.99), (0, 0.2))
    assert FIRST_ROW.confident_share(images) == pytest.approx(3 / 5)
    assert FIRST_ROW.confident_share(images, threshold=0.5) == pytest.approx(4 / 5)
    assert FIRST_ROW.class_shares(images).tolist() == pytest.approx([0, 0, 0, 2 / 5, 0, 0, 0, 1 / 5, 0, 0])


def test_exactly_the_threshold_is_accepted():
    assert FIRST_ROW.confident_share(torch.zeros(1, 1, 32, 32), threshold=0.1) == 1  # ten equal logits


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        FIRST_ROW.confident_share(told((1, 0.5)), threshold)


def test_no_pictures_or_other_shapes_are_errors():
    with pytest.raises(ValueError, match="at least one"):
        FIRST_ROW.probabilities(torch.zeros(0, 1, 32, 32))
    with pytest.raises((ValueError, TypeError)):
        FIRST_ROW.probabilities(torch.zeros(2, 3, 32, 32))


def test_a_report_by_hand():
    """A judge that calls bright pictures a 1 for sure and doubts the others."""
    certain, doubt = 20 * torch.eye(10)[1], torch.zeros(10)
    judge = DigitJudge(lambda images: torch.where(images.mean((1, 2, 3))[:, None] > -0.8, certain, doubt))
    images, labels = digits.load("test")
    bright = images.mean((1, 2, 3)) > -0.8
    right = torch.where(bright, 1, 0) == labels  # argmax takes the first of equals
    samples = torch.tensor([1.0, 0.0, -1.0, -1.0]).reshape(4, 1, 1, 1).expand(4, 1, 32, 32)
    result = report(judge, samples)
    assert result.test_accuracy == pytest.approx(right.double().mean().item())
    assert result.real_share == pytest.approx(bright.double().mean().item())
    assert result.sample_share == 0.5
    assert result.ratio == pytest.approx(0.5 / bright.double().mean().item())
    assert result.class_shares == (0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0)


def test_real_digits_as_samples_have_the_ratio_one():
    judge = DigitJudge(lambda images: 100 * images[:, 0, 16, 10:20])
    assert report(judge, digits.load("test")[0]).ratio == 1


def test_a_judge_of_nothing_cannot_report():
    with pytest.raises(ValueError, match="none of the real digits"):
        report(DigitJudge(lambda images: torch.zeros(len(images), 10)), told((1, 0.99)))


def test_the_seed_alone_decides_on_the_first_weights():
    before = torch.get_rng_state()
    first, again, other = (next(_network(seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def dots(n: int) -> torch.Tensor:
    """A white dot in the middle of black."""
    images = -torch.ones(n, 1, 32, 32)
    images[:, :, 15:17, 15:17] = 1
    return images


def centre_of_mass(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Its x and y in each picture, in pixels from the middle."""
    weight, place = images[:, 0] + 1, torch.arange(32) - 15.5
    total = weight.sum((1, 2))
    return (weight * place).sum((1, 2)) / total, (weight * place[:, None]).sum((1, 2)) / total


def test_jiggling_moves_the_middle_no_farther_than_said(monkeypatch):
    monkeypatch.setattr(digit_judge, "BEND", 0)
    x, y = centre_of_mass(_jiggled(dots(1000), seeded()))
    assert torch.hypot(x, y).max() <= math.hypot(2.5, 2.5) / 0.85 + 0.1
    for moved in (x, y):
        assert moved.mean().item() == pytest.approx(0, abs=0.3)
        assert moved.std().item() == pytest.approx(2.5 / math.sqrt(3), rel=0.15)  # uniform in -2.5…2.5


def test_bending_moves_it_by_about_a_pixel_more(monkeypatch):
    """The stated std is at the 5×5 points, one of which is the middle; between them it is smoothed."""
    for name in ("MAX_ANGLE", "MAX_ZOOM", "MAX_SHIFT"):
        monkeypatch.setattr(digit_judge, name, 0)
    x, _ = centre_of_mass(_jiggled(dots(1000), seeded()))
    assert x.std().item() == pytest.approx(digit_judge.BEND, rel=0.25)
    monkeypatch.setattr(digit_judge, "BEND", 0)
    torch.testing.assert_close(_jiggled(dots(3), seeded()), dots(3))


def test_jiggling_never_mirrors():
    right = -torch.ones(400, 1, 32, 32)
    right[:, :, :, 16:] = 1
    jiggled = _jiggled(right, seeded())
    assert (jiggled[:, :, 8:24, 24:].mean((1, 2, 3)) > 0.5).all()
    assert (jiggled[:, :, 8:24, :8].mean((1, 2, 3)) < -0.5).all()


def test_doubtful_pictures_deserve_divided_answers():
    images, labels = digits.load("test")
    pictures, answers = _doubtful(images, torch.eye(10)[labels], seeded())
    assert len(pictures) == len(answers)
    assert pictures.abs().max() <= 1
    torch.testing.assert_close(answers.sum(dim=1), torch.ones(len(answers)))
    assert set(answers.unique().tolist()) <= {0.0, answers.new_tensor(0.1).item(), 0.5, 1.0}
    assert (answers.max(dim=1).values < 0.9).float().mean() > 0.7


@pytest.mark.slow
def test_a_trained_judge_knows_digits_and_doubts_the_rest():
    before = torch.get_rng_state()
    judge = train_judge(seed=0)
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
