"""A judge of emoji: does an image show the object and the colour of its caption?

The object is judged by a CLIP that was trained on the same pictures with another seed, the colour by the hue of the pixels, without a network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data import emoji
from minidiff.metrics.clip_score import ImageTextModel, best_caption, caption_rank
from minidiff.metrics.hue import foreground_colour
from minidiff.text import Tokenizer


@dataclass(frozen=True)
class Composition:
    """Shares of images of a colour and an object. The object is chosen among all fifty objects, named in the same colour."""

    colour: float
    thing: float
    both: float


@dataclass(frozen=True)
class EmojiJudge:
    """The judge; `recipes.judges.train_emoji_judge` trains one. Images are in [0, 1]."""

    clip: ImageTextModel
    tokenizer: Tokenizer
    device: str | torch.device = "cpu"  # of the CLIP

    def recall(self, images: Float[Tensor, "n 3 32 32"], captions: Sequence[str]) -> float:
        """The share of images whose own caption, or one of the same concept, is ranked first among the captions of all emoji.

        Raises ValueError for a caption that is no emoji's, or if the numbers of images and captions differ.
        """
        every = emoji.load()[1]
        if unknown := set(captions) - set(every):
            raise ValueError(f"no emoji is called {sorted(unknown)[0]!r}")
        truth = torch.tensor([every.index(caption) for caption in captions])
        concepts = [emoji.concept(caption) for caption in every]
        return caption_rank(self.clip, 2 * images.to(self.device) - 1, self._tokens(every), concepts, truth=truth)

    def composition(self, images: Float[Tensor, "n 3 32 32"], pairs: Sequence[tuple[str, str]]) -> Composition:
        """The shares of images that show the colour, the object and both of their pair (colour, object).

        Objects are those of `emoji.OBJECTS`. Raises ValueError if the numbers of images and pairs differ.
        """
        if len(images) != len(pairs):
            raise ValueError(f"expected one pair per image, got {len(pairs)} pairs for {len(images)} images")
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
