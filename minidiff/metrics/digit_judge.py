"""A judge of drawn digits: the share of images that a classifier recognises with confidence.

An image is accepted if one class has a probability of at least `threshold`. The classifier must be unsure about images that are not
digits; `recipes.judges` trains such a classifier. The judge measures legibility. It does not measure whether samples are varied,
copied from the training set, or mirrored.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data import digits


@dataclass(frozen=True)
class DigitJudge:
    """A classifier of digits as a judge. Images are float in [-1, 1]."""

    network: Callable[[Tensor], Tensor]  # (B, 1, 32, 32) -> logits (B, 10)
    device: str | torch.device = "cpu"

    @torch.no_grad()
    def probabilities(self, images: Float[Tensor, "b 1 32 32"]) -> Float[Tensor, "b 10"]:
        """The probability of each digit, on the CPU. Raises ValueError if there is no image."""
        if len(images) == 0:
            raise ValueError("expected at least one image, got none")
        logits = [self.network(part.to(self.device, torch.float32)) for part in images.split(500)]
        return torch.cat(logits).softmax(dim=1).cpu()

    def confident_share(self, images: Float[Tensor, "b 1 32 32"], threshold: float = 0.9) -> float:
        """The share of images that the judge accepts as some digit, in [0, 1]. Raises ValueError for a threshold outside [0, 1]."""
        return self.class_shares(images, threshold).sum().item()

    def class_shares(self, images: Float[Tensor, "b 1 32 32"], threshold: float = 0.9) -> Float[Tensor, "10"]:
        """The shares of all images accepted as 0, as 1, … as 9; their sum is `confident_share`. Raises ValueError as that does."""
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {threshold}")
        confidence, digit = self.probabilities(images).max(dim=1)
        accepted = digit[confidence >= threshold].bincount(minlength=10)
        return accepted.double() / len(images)


@dataclass(frozen=True)
class DigitReport:
    """The judge's results on samples and on real digits. Shares are of images accepted with confidence ≥ 0.9."""

    test_accuracy: float  # of the judge, on the 500 test digits
    real_share: float  # of the test digits
    sample_share: float  # of the samples
    ratio: float  # sample_share / real_share: 1 where samples are as legible as real digits
    class_shares: tuple[float, ...]  # of the samples, accepted as 0 … 9


def report(judge: DigitJudge, samples: Float[Tensor, "b 1 32 32"]) -> DigitReport:
    """Compare samples, in [-1, 1], with the real test digits.

    Raises ValueError if there are no samples, or if the judge accepts none of the real digits.
    """
    images, labels = digits.load("test")
    real_share, sample_share = judge.confident_share(images), judge.confident_share(samples)
    if real_share == 0:
        raise ValueError("this judge accepts none of the real digits: it cannot judge samples")
    return DigitReport(
        test_accuracy=(judge.probabilities(images).argmax(dim=1) == labels).double().mean().item(),
        real_share=real_share,
        sample_share=sample_share,
        ratio=sample_share / real_share,
        class_shares=tuple(judge.class_shares(samples).tolist()),
    )
