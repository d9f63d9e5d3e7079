"""The judge of emoji is a CLIP: here one that knows each picture by heart, so that what it must say is known."""

import pytest
import torch
from torch.nn.functional import one_hot

from minidiff.data import emoji, recolouring
from minidiff.pipelines import evaluate_emoji
from minidiff.pipelines.evaluate_emoji import EmojiJudge
from minidiff.text import Tokenizer


class ByHeart:
    """A picture is looked up among those shown, and a caption is its own row: features are one-hot."""

    def __init__(self, images: torch.Tensor, captions: list[str], tokenizer: Tokenizer) -> None:
        self.images, self.rows = images.flatten(1), {tuple(t): i for i, t in enumerate(tokenizer(captions).tolist())}

    def image_features(self, x: torch.Tensor) -> torch.Tensor:
        nearest = torch.cdist(x.flatten(1), self.images).argmin(dim=1)
        return one_hot(nearest, len(self.images)).float()

    def text_features(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = torch.tensor([self.rows[tuple(row)] for row in tokens.tolist()])
        return one_hot(rows, len(self.images)).float()


@pytest.fixture(scope="module")
def loaded():
    return emoji.load()


@pytest.fixture(scope="module")
def tokenizer(loaded) -> Tokenizer:
    return Tokenizer.train(loaded[1], 2000, 20)


def by_heart(images: torch.Tensor, captions: list[str], tokenizer: Tokenizer) -> EmojiJudge:
    return EmojiJudge(ByHeart(images, captions, tokenizer), tokenizer)


def test_recall_counts_near_duplicates_as_one(loaded, tokenizer):
    images, captions = loaded
    judge = by_heart(images, captions, tokenizer)
    asked = ["man running", "red heart", "cat", "pizza"]
    shown = ["woman running", "red heart", "dog", "pizza"]
    drawn = (images[[captions.index(name) for name in shown]] + 1) / 2
    assert judge.recall(drawn, asked) == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="no emoji is called 'cats'"):
        judge.recall(drawn, ["cats"] * 4)


def test_composition_counts_colour_and_object_by_themselves_and_together(loaded, tokenizer):
    images, captions = loaded
    colours = ("red", "green", "blue")
    every = [(colour, thing) for colour in colours for thing in emoji.OBJECTS]
    painted = torch.cat([recolouring.recoloured(images[[captions.index(t)]], colour) for colour, t in every])
    judge = by_heart(painted, [f"{colour} {thing}" for colour, thing in every], tokenizer)
    pairs = [("red", "cat"), ("green", "dog"), ("blue", "key"), ("red", "bus")]
    shown = [("red", "cat"), ("blue", "dog"), ("blue", "crown"), ("red", "bus")]
    drawn = (painted[[every.index(pair) for pair in shown]] + 1) / 2
    found = judge.composition(drawn, pairs)
    assert (found.colour, found.both) == (0.75, 0.5)
    assert judge.composition(drawn[[0, 2, 3]], [pairs[i] for i in (0, 2, 3)]).thing == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="got 4 pairs for 3 pictures"):
        judge.composition(drawn[:3], pairs)


def test_the_captions_asked_for_are_all_different_and_depend_on_the_seed():
    first = evaluate_emoji.seen_captions(200)
    assert len(set(first)) == 200
    assert first == evaluate_emoji.seen_captions(200) != evaluate_emoji.seen_captions(200, seed=1)
    with pytest.raises(ValueError, match="cannot draw 2000"):
        evaluate_emoji.seen_captions(2000)


def test_a_report_holds_drawn_pictures_against_real_ones(loaded, tokenizer, small_model, monkeypatch):
    """A model that draws every caption's own picture recalls all; asked for what has no picture, it composes nothing."""
    images, captions = loaded

    def perfect(prompts, **settings):
        known = [captions.index(prompt) if prompt in captions else 0 for prompt in prompts]
        return (images[known] + 1) / 2

    monkeypatch.setattr(small_model, "generate", perfect)
    named = captions + [f"{colour} {thing}" for colour in emoji.COLOURS for thing in emoji.OBJECTS]
    blank = torch.zeros(len(named) - len(captions), 3, 32, 32)
    judge = by_heart(torch.cat([images, blank]), named, tokenizer)
    report = evaluate_emoji.evaluate_emoji(small_model, 40, judge=judge)
    assert (report.recall, report.real_recall) == (1, 1)
    assert report.composition.both == 0
    assert report.real_composition.colour >= 0.97
