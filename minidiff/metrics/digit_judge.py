"""A judge of drawn digits: a small classifier, trained here in code, and the share of pictures that it recognises.

A classifier that has only ever seen digits calls noise a digit too, with full confidence. So this one is taught doubt:
beside the digits each batch holds averages of two (the answer: half of each) and noise and blanks (the answer: a tenth
of everything). A picture is accepted where one class has a probability of at least `threshold`.

What it measures is legibility. It does not see whether samples are varied, copied from the training set, or mirrored.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from minidiff.data import digits

EPOCHS = 20
BATCH = 100
MIXTURES = 10  # averages of two digits, beside each batch
JUNK = 10  # noise and blanks, beside each batch
LEARNING_RATE = 4e-3
MAX_ANGLE, MAX_ZOOM, MAX_SHIFT = math.radians(15), 0.15, 2.5  # radians, share of the size, pixels
BEND = 1.0  # pixels, the standard deviation at 5×5 points


@dataclass(frozen=True)
class DigitJudge:
    """Pictures of digits, float in [-1, 1], go in; how sure the judge is of each class comes out."""

    network: Callable[[Tensor], Tensor]  # (B, 1, 32, 32) -> logits (B, 10)
    device: str | torch.device = "cpu"

    @torch.no_grad()
    def probabilities(self, images: Float[Tensor, "b 1 32 32"]) -> Float[Tensor, "b 10"]:
        """The probability of each digit, on the CPU. Raises ValueError where there is no picture."""
        if len(images) == 0:
            raise ValueError("expected at least one picture, got none")
        logits = [self.network(part.to(self.device, torch.float32)) for part in images.split(500)]
        return torch.cat(logits).softmax(dim=1).cpu()

    def confident_share(self, images: Float[Tensor, "b 1 32 32"], threshold: float = 0.9) -> float:
        """The share of the pictures which the judge accepts as one digit or another, in [0, 1].

        Raises ValueError where the threshold is not in [0, 1].
        """
        return self.class_shares(images, threshold).sum().item()

    def class_shares(self, images: Float[Tensor, "b 1 32 32"], threshold: float = 0.9) -> Float[Tensor, "10"]:
        """The share of all pictures accepted as 0, as 1, … as 9: they add up to `confident_share`.

        Raises ValueError where the threshold is not in [0, 1].
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {threshold}")
        confidence, digit = self.probabilities(images).max(dim=1)
        accepted = digit[confidence >= threshold].bincount(minlength=10)
        return accepted.double() / len(images)


@dataclass(frozen=True)
class DigitReport:
    """What the judge says of samples, and what it is worth. Shares are of pictures accepted with confidence ≥ 0.9."""

    test_accuracy: float  # of the judge, on the 500 test digits
    real_share: float  # of the test digits
    sample_share: float  # of the samples
    ratio: float  # sample_share / real_share: 1 where samples are as legible as real digits
    class_shares: tuple[float, ...]  # of the samples, accepted as 0 … 9


def report(judge: DigitJudge, samples: Float[Tensor, "b 1 32 32"]) -> DigitReport:
    """Hold samples, in [-1, 1], against the real test digits.

    Raises ValueError where there are no samples, or where the judge accepts none of the real digits.
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


def train_judge(*, seed: int = 0, device: str | torch.device = "cpu", progress: bool = False) -> DigitJudge:
    """A judge trained on the 4,500 training digits: at least 98 % right on the test digits, in about 45 s of one core.

    The same seed gives the same judge on the same machine; the global random generator is neither used nor disturbed.
    """
    return fit(*digits.load("train"), seed=seed, device=device, progress=progress)


def fit(
    images: Float[Tensor, "n 1 32 32"],
    labels: Int[Tensor, "n"],
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> DigitJudge:
    """A judge trained on these pictures, in [-1, 1]: white digits on black, as large and as central as in `digits.load`."""
    images, labels = images.to(device), labels.to(device)
    targets = F.one_hot(labels, 10).to(images)
    generator = torch.Generator().manual_seed(seed)
    network = _network(seed).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.02)
    steps = epochs * -(-len(images) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in tqdm(range(epochs), desc="judge", disable=not progress):
        for batch in torch.randperm(len(images), generator=generator).split(BATCH):
            doubtful, answers = _doubtful(images, targets, generator)
            pictures = torch.cat([_jiggled(images[batch], generator), doubtful])
            loss = F.cross_entropy(network(pictures), torch.cat([targets[batch], answers]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return DigitJudge(network.eval(), device)


def _network(seed: int) -> nn.Module:
    def convolution(inputs: int, outputs: int, *, halve: bool = False) -> list[nn.Module]:
        pool = [nn.MaxPool2d(2)] if halve else []  # before the norm, which is cheaper
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pool, nn.BatchNorm2d(outputs), nn.ReLU()]

    with torch.random.fork_rng(devices=[]):  # modules draw their first weights from the global generator
        torch.default_generator.manual_seed(seed)
        network = nn.Sequential(
            *convolution(1, 16, halve=True),  # (B, 16, 16, 16)
            *convolution(16, 32),
            *convolution(32, 64, halve=True),  # (B, 64, 8, 8)
            *convolution(64, 64),
            *convolution(64, 96, halve=True),  # (B, 96, 4, 4)
            nn.Flatten(),
            nn.Linear(96 * 4 * 4, 10),
        )
    return network.to(memory_format=torch.channels_last)


def _jiggled(images: Float[Tensor, "b 1 h w"], generator: torch.Generator) -> Float[Tensor, "b 1 h w"]:
    """Each picture turned, zoomed, moved and bent a little; never mirrored."""
    angle, zoom, right, down = torch.rand(4, len(images), generator=generator) * 2 - 1
    angle, zoom = MAX_ANGLE * angle, 1 + MAX_ZOOM * zoom
    half = images.shape[-1] / 2  # grid_sample's unit
    first = torch.stack([zoom * angle.cos(), -zoom * angle.sin(), right * MAX_SHIFT / half], dim=1)
    second = torch.stack([zoom * angle.sin(), zoom * angle.cos(), down * MAX_SHIFT / half], dim=1)
    affine = torch.stack([first, second], dim=1).to(images)  # (b, 2, 3)
    bend = torch.randn(len(images), 2, 5, 5, generator=generator) * BEND / half
    smooth = F.interpolate(bend.to(images), size=images.shape[-2:], mode="bicubic", align_corners=False)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False) + smooth.permute(0, 2, 3, 1)  # (b, h, w, 2)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _doubtful(
    images: Float[Tensor, "n 1 h w"], targets: Float[Tensor, "n 10"], generator: torch.Generator
) -> tuple[Float[Tensor, "m 1 h w"], Float[Tensor, "m 10"]]:
    """Pictures to be unsure of, and the answers they deserve."""
    pairs = torch.randint(len(images), (2, MIXTURES), generator=generator)
    level = torch.rand(JUNK, 1, 1, 1, generator=generator) * 2 - 1
    level[::2] = -1  # every other one on the digits' own background
    amplitude = 2 * torch.rand(JUNK, 1, 1, 1, generator=generator)
    amplitude[: JUNK // 3] = 0  # blank
    noise = torch.randn(JUNK, *images.shape[1:], generator=generator)
    junk = (level + amplitude * noise).clamp(-1, 1).to(images)
    pictures = torch.cat([images[pairs].mean(dim=0), junk])
    return pictures, torch.cat([targets[pairs].mean(dim=0), torch.full((JUNK, 10), 0.1).to(targets)])
