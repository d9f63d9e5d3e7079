"""What a model of captioned digits is worth, by a judge that knows nothing of how its pictures were made."""

import random
from dataclasses import dataclass
from itertools import islice, product, repeat

import torch

from minidiff.data import digits
from minidiff.metrics import PromptReport, psnr, train_prompt_judge
from minidiff.pipelines.text_to_image import TextToImage


@dataclass(frozen=True)
class DigitsReport:
    """Shares of pictures that show what their prompt names, and how near reconstructions are to their pictures."""

    real: PromptReport  # the judge, asked about real test pictures
    seen: PromptReport  # combinations of colour, digit and background that training showed
    held_out: PromptReport  # those that it did not
    reconstruction_psnr: float  # decibels, the mean over test pictures


def prompts_of(count: int, *, held_out: bool, seed: int = 0) -> list[str]:
    """Prompts of random scenes, every phrasing as likely as the others.

    Of held-out combinations only such as name colour, digit and background: with fewer named, training has seen it.
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
    progress: bool = False,
    **settings,
) -> DigitsReport:
    """Draw `count` prompts of each kind and judge them; `settings` go to `TextToImage.generate`. Raises ValueError as that does."""
    judge = train_prompt_judge(device=str(model.device), progress=progress)
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
