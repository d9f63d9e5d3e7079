import pytest
import torch
from by_heart import ByHeart

from minidiff.data import emoji
from minidiff.metrics.emoji_judge import EmojiJudge
from minidiff.pipelines import TextToImage
from minidiff.recipes.evaluate_emoji import evaluate_emoji, seen_captions
from minidiff.text import Tokenizer


class Perfect(TextToImage):
    """A model that draws each emoji as it is. Another prompt gets the first emoji."""

    def generate(self, prompts, **settings):
        images, captions = emoji.load()
        rows = [captions.index(prompt) if prompt in captions else 0 for prompt in prompts]
        return (images[rows] + 1) / 2


@pytest.fixture
def perfect(small_model) -> Perfect:
    parts = small_model.vae, small_model.conditioner, small_model.unet
    return Perfect(*parts, {"name": "cosine", "T": 50}, "v", size=16, guidance_scale=3)


def test_the_captions_asked_for_are_all_different_and_depend_on_the_seed():
    first = seen_captions(200)
    assert len(set(first)) == 200
    assert first == seen_captions(200) != seen_captions(200, seed=1)
    with pytest.raises(ValueError, match=r"there are 1631 captions.* got 2000"):
        seen_captions(2000)


@pytest.mark.slow
def test_a_report_compares_drawn_images_with_real_ones(perfect):
    """The model recalls every caption. It composes no pair of colour and object that is held out."""
    images, captions = emoji.load()
    tokenizer = Tokenizer.train(captions, 2000, 20)
    named = captions + [f"{colour} {thing}" for colour in emoji.COLOURS for thing in emoji.OBJECTS]
    blank = torch.zeros(len(named) - len(captions), 3, 32, 32)
    judge = EmojiJudge(ByHeart(torch.cat([images, blank]), named, tokenizer), tokenizer)
    report = evaluate_emoji(perfect, 40, judge=judge)
    assert (report.recall, report.real_recall) == (1, 1)
    assert report.composition.both == 0
    assert report.real_composition.colour >= 0.97
