"""Captions name the attributes of their scene, and `parse` reads them back."""

from itertools import product

import pytest

from minidiff.data.digits import BACKGROUNDS, COLOURS, SIZES, Scene, captions, parse

SCENES = [Scene(*attributes) for attributes in product(range(10), COLOURS, BACKGROUNDS, SIZES)]


def test_every_caption_says_the_truth_and_the_first_six_the_whole_of_it():
    for scene in SCENES:
        said = [parse(caption) for caption in captions(scene)]
        assert all(each.items() <= vars(scene).items() for each in said)
        assert [each == vars(scene) for each in said] == [True] * 6 + [False] * 9


def test_the_captions_of_a_scene_are_all_different():
    for scene in SCENES:
        assert len(set(captions(scene))) == 15


def test_one_full_and_one_partial_caption_by_hand():
    scene = Scene(7, "red", "navy", "small")
    assert {"a small red seven on a navy background", "red 7, navy background"} <= set(captions(scene))


def test_an_before_a_vowel_and_never_elsewhere():
    said = {caption for scene in SCENES for caption in captions(scene)}
    articles = {(words[i], words[i + 1]) for words in map(str.split, said) for i in range(len(words) - 1)}
    assert {noun for article, noun in articles if article == "an"} == {"orange", "eight"}
    assert not {noun for article, noun in articles if article == "a"} & {"orange", "eight"}


def test_attributes_are_named_alone_and_together():
    named = {frozenset(parse(caption)) for caption in captions(SCENES[0])}
    assert frozenset({"digit"}) in named
    assert frozenset({"digit", "colour"}) in named
    assert frozenset({"colour", "background"}) in named
    assert frozenset({"digit", "colour", "background", "size"}) in named


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("RED Seven!", {"colour": "red", "digit": 7}),
        ("the number 3, please", {"digit": 3}),
        ("7 seven", {"digit": 7}),
        ("large; teal", {"size": "large", "background": "teal"}),
        ("weigh nothing, see a four-poster", {"digit": 4}),
    ],
)
def test_prompts_in_other_words(prompt, named):
    assert parse(prompt) == named


@pytest.mark.parametrize("prompt", ["", "a cat", "tented thirteens"])
def test_a_prompt_that_names_nothing_is_refused(prompt):
    with pytest.raises(ValueError, match="names no digit"):
        parse(prompt)


@pytest.mark.parametrize("prompt", ["a red blue 7", "17", "one or two", "small and large"])
def test_a_prompt_that_wants_two_things_at_once_is_refused(prompt):
    with pytest.raises(ValueError, match="names two values"):
        parse(prompt)
