import pytest
import torch
from by_heart import ByHeart

from minidiff.data import emoji, recolouring
from minidiff.metrics.emoji_judge import EmojiJudge
from minidiff.text import Tokenizer


@pytest.fixture(scope="module")
def loaded():
    return emoji.load()


@pytest.fixture(scope="module")
def tokenizer(loaded) -> Tokenizer:
    return Tokenizer.train(loaded[1], 2000, 20)


def test_recall_counts_near_duplicates_as_one(loaded, tokenizer):
    images, captions = loaded
    judge = EmojiJudge(ByHeart(images, captions, tokenizer), tokenizer)
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
    names = [f"{colour} {thing}" for colour, thing in every]
    judge = EmojiJudge(ByHeart(painted, names, tokenizer), tokenizer)
    pairs = [("red", "cat"), ("green", "dog"), ("blue", "key"), ("red", "bus")]
    shown = [("red", "cat"), ("blue", "dog"), ("blue", "crown"), ("red", "bus")]
    drawn = (painted[[every.index(pair) for pair in shown]] + 1) / 2
    found = judge.composition(drawn, pairs)
    assert (found.colour, found.both) == (0.75, 0.5)
    assert judge.composition(drawn[[0, 2, 3]], [pairs[i] for i in (0, 2, 3)]).thing == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="got 4 pairs for 3 images"):
        judge.composition(drawn[:3], pairs)
