"""How good a model of emoji is: does it recall the captions of training, and does it compose pairs that training never showed?"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data import emoji, recolouring
from minidiff.metrics.emoji_judge import Composition, EmojiJudge
from minidiff.pipelines import TextToImage
from minidiff.recipes.judges import train_emoji_judge

RECALLED = 200  # captions


@dataclass(frozen=True)
class EmojiReport:
    """Shares of drawn images, and of real ones for comparison: emoji themselves, and emoji recoloured by rule."""

    recall: float  # the own caption, or a near-duplicate, is ranked first among all 1,631
    real_recall: float
    composition: Composition  # of the pairs in emoji.HELD_OUT
    real_composition: Composition


def seen_captions(count: int = RECALLED, seed: int = 0) -> list[str]:
    """`count` different captions of emoji, chosen at random; training shows all of them. Raises ValueError for more than there are."""
    captions = emoji.load()[1]
    if not 1 <= count <= len(captions):
        raise ValueError(f"there are {len(captions)} captions, so choose 1 to {len(captions)} of them, got {count}")
    drawn = torch.randperm(len(captions), generator=torch.Generator().manual_seed(seed))[:count]
    return [captions[i] for i in drawn.tolist()]


def evaluate_emoji(
    model: TextToImage, count: int = RECALLED, *, judge: EmojiJudge | None = None, seed: int = 0, **settings
) -> EmojiReport:
    """Draw `count` captions that training showed and the hundred pairs that it did not show, and judge the images.

    `settings` are arguments of `TextToImage.generate`. Without a judge, one is trained; this takes as long as the model's second stage.
    """
    judge = judge or train_emoji_judge(device=str(model.device))
    images, captions = emoji.load()
    seen, pairs = seen_captions(count, seed), sorted(emoji.HELD_OUT)

    def real(name: str) -> Tensor:
        return images[captions.index(name)]

    by_rule = [recolouring.recoloured(real(thing)[None], colour) for colour, thing in pairs]
    draw: Callable[[list[str]], Tensor] = lambda prompts: model.generate(prompts, seed=seed, **settings)  # noqa: E731
    return EmojiReport(
        recall=judge.recall(draw(seen), seen),
        real_recall=judge.recall(_unit(torch.stack([real(caption) for caption in seen])), seen),
        composition=judge.composition(draw([f"{colour} {thing}" for colour, thing in pairs]), pairs),
        real_composition=judge.composition(_unit(torch.cat(by_rule)), pairs),
    )


def _unit(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    return (images.clamp(-1, 1) + 1) / 2
