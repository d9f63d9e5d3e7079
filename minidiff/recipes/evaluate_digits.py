"""How good a model of captioned digits is, by a judge that does not use the model."""

import random
from dataclasses import dataclass
from itertools import islice, product, repeat

import torch

from minidiff.data import digits
from minidiff.metrics import PromptReport, psnr
from minidiff.pipelines import TextToImage
from minidiff.recipes.judges import train_prompt_judge


@dataclass(frozen=True)
class DigitsReport:
    """Shares of images that show what their prompt names, and the error of reconstructions."""

    real: PromptReport  # of real test pictures: the judge's own errors
    seen: PromptReport  # combinations of colour, digit and background that training showed
    held_out: PromptReport  # combinations that it did not show
    reconstruction_psnr: float  # decibels, mean over test pictures


def prompts_of(count: int, *, held_out: bool, seed: int = 0) -> list[str]:
    """Prompts of random scenes in random wordings.

    Prompts of held-out scenes always name colour, digit and background: a prompt that names fewer also describes scenes of training.
    """
    scenes = [
        scene
        for attributes in product(range(10), digits.COLOURS, digits.BACKGROUNDS, digits.SIZES)
        if (scene := digits.Scene(*attributes)).is_held_out == held_out
    ]
    draw = random.Random(seed)
    endless = (draw.choice(digits.captions(draw.choice(scenes))) for _ in repeat(None))
    enough = {"digit", "colour", "background"} if held_out else set()
    return list(islice((prompt for prompt in endless if enough <= set(digits.parse(prompt))), count))


def evaluate_digits(
    model: TextToImage,
    count: int = 1000,
    *,
    seed: int = 0,
    **settings,
) -> DigitsReport:
    """Draw `count` prompts of each kind and judge the images; `settings` are arguments of `TextToImage.generate`, which may raise."""
    judge = train_prompt_judge(device=str(model.device))
    real, scenes = digits.captioned("test", count_per_digit_image=2, seed=seed)
    real = (real.float() + 1) / 2

    def judged(held_out: bool) -> PromptReport:
        prompts = prompts_of(count, held_out=held_out, seed=seed)
        return judge(model.generate(prompts, seed=seed, **settings), prompts)

    reconstructions = torch.cat([model.decode(model.encode(part)) for part in real.split(250)])
    return DigitsReport(
        real=judge(real, [digits.captions(scene)[0] for scene in scenes]),
        seen=judged(held_out=False),
        held_out=judged(held_out=True),
        reconstruction_psnr=psnr(reconstructions, real).mean().item(),
    )
