"""How the judges of `minidiff.metrics` are trained: by the same loop as every model."""

import math
import tempfile
from dataclasses import replace
from numbers import Real
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minidiff import devices
from minidiff.data import digits
from minidiff.metrics.digit_judge import DigitJudge
from minidiff.metrics.emoji_judge import EmojiJudge
from minidiff.metrics.prompt_judge import PromptJudge, as_mnist, separate
from minidiff.recipes.emoji import EMOJI, emoji_with_names
from minidiff.recipes.text_to_image import train_text
from minidiff.text import Tokenizer
from minidiff.training import Batches, TrainConfig, initialised, train

DIGIT_JUDGE = TrainConfig(
    steps=900,
    batch_size=100,
    learning_rate=4e-3,
    warmup=100,
    weight_decay=0.02,
    clip=1.0,
    ema_decay=0.99,
    precision="float32",
    checkpoint_every=900,
    preview_every=900,
)
MIXTURES, JUNK = 10, 10  # extra images in each batch: averages of two digits; noise and blanks
MAX_ANGLE, MAX_ZOOM, MAX_SHIFT = math.radians(15), 0.15, 2.5  # radians, fraction of the size, pixels
BEND = 1.0  # pixels, the standard deviation of the displacement at 5×5 points
SCENES_PER_DIGIT, MAX_NOISE = 2, 0.05


def train_digit_judge(*, seed: int = 0, device: str = "auto") -> DigitJudge:
    """Train a judge of digits on the 4,500 training digits: at least 98 % right on the test digits.

    The same seed gives the same judge on the same machine; the global random generator is left unchanged.
    """
    return fit(*digits.load("train"), seed=seed, device=device)


def train_prompt_judge(*, seed: int = 0, device: str = "auto") -> PromptJudge:
    """Train a judge of prompts. Its classifier sees the training digits as the judge will: drawn, blurred, and separated from colour.

    The same seed gives the same judge on the same machine.
    """
    images, scenes = digits.captioned("train", count_per_digit_image=SCENES_PER_DIGIT, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    ink = [separate(softened((part.float() + 1) / 2, generator))[2] for part in images.split(500)]
    labels = torch.tensor([scene.digit for scene in scenes])
    return PromptJudge(fit(as_mnist(torch.cat(ink)), labels, seed=seed, device=device))


def train_emoji_judge(*, seed: int = 1, device: str = "auto") -> EmojiJudge:
    """Train a CLIP like the emoji model's own, with another seed (the model's seed is 0): other initial weights and order of data."""
    data = emoji_with_names()
    tokenizer = Tokenizer.train([caption for (caption,) in data.captions], EMOJI.vocab_size, EMOJI.context_length)
    recipe = replace(EMOJI, text_training=replace(EMOJI.text_training, seed=seed))
    with tempfile.TemporaryDirectory() as folder:
        clip = train_text(recipe, data, tokenizer, Path(folder), device=device)
    return EmojiJudge(clip, tokenizer, devices.resolve(device))


def fit(
    images: Float[Tensor, "n 1 32 32"], labels: Int[Tensor, "n"], *, seed: int = 0, device: str = "auto"
) -> DigitJudge:
    """Train a judge on images in [-1, 1]: white digits on black, of the size and position of `digits.load`.

    A classifier that has seen only digits calls noise a digit with full confidence. So every batch also holds averages of two digits,
    whose target is half of each, and noise and blanks, whose target is a tenth of each class.
    """
    where = devices.resolve(device)
    images, targets = images.to(where), F.one_hot(labels, 10).to(where, images.dtype)

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
        extra, extra_targets = doubtful(images, targets, generator)
        shown = torch.cat([distorted(batch[0], generator), extra])
        return F.cross_entropy(network(shown), torch.cat([batch[1], extra_targets]))

    config = replace(DIGIT_JUDGE, seed=seed)
    batches = Batches(images, targets, batch_size=config.batch_size, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        network = train(initialised(classifier, seed), loss, batches, config, folder, device=str(where))
    return DigitJudge(network, where)


def classifier() -> nn.Sequential:
    """A convolutional classifier: images (B, 1, 32, 32) to the logits of ten classes."""

    def convolution(inputs: int, outputs: int, *, halve: bool = False) -> list[nn.Module]:
        pool = [nn.MaxPool2d(2)] if halve else []  # before the norm, which is then cheaper
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pool, nn.BatchNorm2d(outputs), nn.ReLU()]

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


def distorted(
    images: Float[Tensor, "b 1 h w"],
    generator: torch.Generator,
    *,
    max_angle: Real = MAX_ANGLE,
    max_zoom: Real = MAX_ZOOM,
    max_shift: Real = MAX_SHIFT,
    bend: Real = BEND,
) -> Float[Tensor, "b 1 h w"]:
    """Each image rotated, zoomed, shifted and bent a little at random, never mirrored."""
    angle, zoom, right, down = torch.rand(4, len(images), generator=generator) * 2 - 1
    angle, zoom = max_angle * angle, 1 + max_zoom * zoom
    half = images.shape[-1] / 2  # grid_sample's unit
    first = torch.stack([zoom * angle.cos(), -zoom * angle.sin(), right * max_shift / half], dim=1)
    second = torch.stack([zoom * angle.sin(), zoom * angle.cos(), down * max_shift / half], dim=1)
    affine = torch.stack([first, second], dim=1).to(images)  # (b, 2, 3)
    offsets = torch.randn(len(images), 2, 5, 5, generator=generator) * bend / half
    smooth = F.interpolate(offsets.to(images), size=images.shape[-2:], mode="bicubic", align_corners=False)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False) + smooth.permute(0, 2, 3, 1)  # (b, h, w, 2)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def doubtful(
    images: Float[Tensor, "n 1 h w"], targets: Float[Tensor, "n 10"], generator: torch.Generator
) -> tuple[Float[Tensor, "m 1 h w"], Float[Tensor, "m 10"]]:
    """Images that are no single digit, and their targets: averages of two digits, noise, blanks."""
    pairs = torch.randint(len(images), (2, MIXTURES), generator=generator)
    brightness = torch.rand(JUNK, 1, 1, 1, generator=generator) * 2 - 1
    brightness[::2] = -1  # half of them on the digits' own background
    amplitude = 2 * torch.rand(JUNK, 1, 1, 1, generator=generator)
    amplitude[: JUNK // 3] = 0  # blank
    noise = torch.randn(JUNK, *images.shape[1:], generator=generator)
    junk = (brightness + amplitude * noise).clamp(-1, 1).to(images)
    shown = torch.cat([images[pairs].mean(dim=0), junk])
    return shown, torch.cat([targets[pairs].mean(dim=0), torch.full((JUNK, 10), 0.1).to(targets)])


def softened(images: Float[Tensor, "b 3 h w"], generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Images in [0, 1], each blurred and made noisy by a random amount, as if decoded from latents."""
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).expand(3, 1, 3, 3) / 16
    blurred = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    blur, noise = torch.rand(2, len(images), 1, 1, 1, generator=generator)
    grain = MAX_NOISE * noise * torch.randn(images.shape, generator=generator)
    return (torch.lerp(images, blurred, blur) + grain).clamp(0, 1)
