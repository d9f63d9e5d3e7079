"""What the judge counts, with networks whose answer is known."""

import math

import pytest
import torch

from minidiff.data import digits
from minidiff.metrics import DigitJudge, report

FIRST_ROW = DigitJudge(lambda images: images[:, 0, 0, :10])  # the first ten pixels are the logits


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def showing(*answers: tuple[int, float]) -> torch.Tensor:
    """Images to which FIRST_ROW gives a digit with a given probability; the other nine digits share the rest."""
    images = torch.zeros(len(answers), 1, 32, 32)
    for image, (digit, probability) in zip(images, answers, strict=True):
        image[0, 0, digit] = math.log(9 * probability / (1 - probability))
    return images


def test_probabilities_are_those_of_the_network():
    probabilities = FIRST_ROW.probabilities(showing((3, 0.7), (0, 0.99)))
    torch.testing.assert_close(probabilities[0], torch.full((10,), 0.3 / 9).index_fill(0, torch.tensor(3), 0.7))
    torch.testing.assert_close(probabilities[1], torch.full((10,), 0.01 / 9).index_fill(0, torch.tensor(0), 0.99))


def test_many_pictures_are_judged_as_one_by_one():
    images = torch.rand(1203, 1, 32, 32, generator=seeded())
    assert torch.equal(FIRST_ROW.probabilities(images), images[:, 0, 0, :10].softmax(dim=1))


def test_shares_count_the_confident_ones_of_each_class():
    images = showing((3, 0.95), (3, 0.91), (3, 0.89), (7, 0.99), (0, 0.2))
    assert FIRST_ROW.confident_share(images) == pytest.approx(3 / 5)
    assert FIRST_ROW.confident_share(images, threshold=0.5) == pytest.approx(4 / 5)
    assert FIRST_ROW.class_shares(images).tolist() == pytest.approx([0, 0, 0, 2 / 5, 0, 0, 0, 1 / 5, 0, 0])


def test_exactly_the_threshold_is_accepted():
    assert FIRST_ROW.confident_share(torch.zeros(1, 1, 32, 32), threshold=0.1) == 1  # ten equal logits


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        FIRST_ROW.confident_share(showing((1, 0.5)), threshold)


def test_no_pictures_or_other_shapes_are_errors():
    with pytest.raises(ValueError, match="at least one"):
        FIRST_ROW.probabilities(torch.zeros(0, 1, 32, 32))
    with pytest.raises((ValueError, TypeError)):
        FIRST_ROW.probabilities(torch.zeros(2, 3, 32, 32))


def test_a_report_by_hand():
    """A judge that takes a bright image for a 1 with certainty, and gives all digits the same probability for a dark image."""
    certain, doubt = 20 * torch.eye(10)[1], torch.zeros(10)
    judge = DigitJudge(lambda images: torch.where(images.mean((1, 2, 3))[:, None] > -0.8, certain, doubt))
    images, labels = digits.load("test")
    bright = images.mean((1, 2, 3)) > -0.8
    right = torch.where(bright, 1, 0) == labels  # of equal probabilities argmax takes the first
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
        report(DigitJudge(lambda images: torch.zeros(len(images), 10)), showing((1, 0.99)))
