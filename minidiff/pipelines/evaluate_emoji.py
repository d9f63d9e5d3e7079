"""What a model of emoji is worth: does it recall what training showed, and does it compose what training never showed together?

The judge is a CLIP of its own, trained on the same pictures with another seed, and the hue of the picture, which is no network at all.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff import devices
from minidiff.data import emoji, recolouring
from minidiff.metrics.clip_score import ImageTextModel, best_caption, caption_rank
from minidiff.metrics.hue import foreground_colour
from minidiff.pipelines.recipes import EMOJI, emoji_with_names
from minidiff.pipelines.stages import train_text
from minidiff.pipelines.text_to_image import TextToImage
from minidiff.text import Tokenizer

JUDGE_SEED = 1  # the model's own CLIP has seed 0
RECALLED = 200  # captions


@dataclass(frozen=True)
class Composition:
    """Shares of pictures of a colour × object caption. The object is the first among all fifty, named in the same colour."""

    colour: float
    thing: float
    both: float


@dataclass(frozen=True)
class EmojiReport:
    """Shares of drawn pictures, and, to compare, of real ones: emoji themselves, and those that were recoloured by rule."""

    recall: float  # the own caption, or a near-duplicate, comes first among all 1,631
    real_recall: float
    composition: Composition  # of the pairs in emoji.HELD_OUT
    real_composition: Composition


@dataclass(frozen=True)
class EmojiJudge:
    """`train_emoji_judge` makes one. Pictures are in [0, 1]."""

    clip: ImageTextModel
    tokenizer: Tokenizer
    device: str | torch.device = "cpu"  # of the CLIP

    def recall(self, images: Float[Tensor, "n 3 32 32"], captions: Sequence[str]) -> float:
        """The share whose own caption, or one of the same concept, comes first among the captions of all emoji.

        Raises ValueError where a caption is no emoji's, or there are not as many as pictures.
        """
        every = emoji.load()[1]
        if unknown := set(captions) - set(every):
            raise ValueError(f"no emoji is called {sorted(unknown)[0]!r}")
        truth = torch.tensor([every.index(caption) for caption in captions])
        concepts = [emoji.concept(caption) for caption in every]
        return caption_rank(self.clip, 2 * images.to(self.device) - 1, self._tokens(every), concepts, truth=truth)

    def composition(self, images: Float[Tensor, "n 3 32 32"], pairs: Sequence[tuple[str, str]]) -> Composition:
        """How many show the colour, the object and both of their pair (colour, object), the object one of `emoji.OBJECTS`."""
        if len(images) != len(pairs):
            raise ValueError(f"one pair a picture: got {len(pairs)} pairs for {len(images)} pictures")
        colours = foreground_colour(images)
        things = []
        for image, (colour, _) in zip(images, pairs, strict=True):
            named = self._tokens([f"{colour} {thing}" for thing in emoji.OBJECTS])
            things.append(emoji.OBJECTS[best_caption(self.clip, 2 * image[None].to(self.device) - 1, named).item()])
        right = torch.tensor(
            [
                (seen == colour, shown == thing)
                for seen, shown, (colour, thing) in zip(colours, things, pairs, strict=True)
            ]
        ).double()
        return Composition(*right.mean(dim=0).tolist(), both=right.prod(dim=1).mean().item())

    def _tokens(self, captions: Sequence[str]) -> Tensor:
        return self.tokenizer(captions).to(self.device)


def train_emoji_judge(*, seed: int = JUDGE_SEED, device: str = "auto") -> EmojiJudge:
    """A CLIP trained as the model's own is, with a seed of its own, which gives it other first weights and another order."""
    data = emoji_with_names()
    tokenizer = Tokenizer.train([caption for (caption,) in data.captions], EMOJI.vocab_size, EMOJI.context_length)
    recipe = replace(EMOJI, text_training=replace(EMOJI.text_training, seed=seed))
    with tempfile.TemporaryDirectory() as folder:
        clip = train_text(recipe, data, tokenizer, Path(folder), device=device)
    return EmojiJudge(clip, tokenizer, devices.resolve(device))


def seen_captions(count: int = RECALLED, seed: int = 0) -> list[str]:
    """Captions of emoji, which training shows all of, drawn without repeating one. Raises ValueError for more than there are."""
    captions = emoji.load()[1]
    if not 1 <= count <= len(captions):
        raise ValueError(f"there are {len(captions)} captions: cannot draw {count} of them")
    drawn = torch.randperm(len(captions), generator=torch.Generator().manual_seed(seed))[:count]
    return [captions[i] for i in drawn.tolist()]


def evaluate_emoji(
    model: TextToImage, count: int = RECALLED, *, judge: EmojiJudge | None = None, seed: int = 0, **settings
) -> EmojiReport:
    """Draw `count` captions that training showed and the hundred pairs that it did not, and judge them.

    `settings` go to `TextToImage.generate`. Without a judge one is trained, which takes as long as the model's own second stage.
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
