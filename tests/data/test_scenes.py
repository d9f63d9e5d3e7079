"""Scenes have colours that are easy to distinguish, and triples are held out evenly."""

from collections import Counter
from itertools import combinations, product

import pytest
import torch

from minidiff.data.cielab import to_lab
from minidiff.data.digits import BACKGROUNDS, COLOURS, HELD_OUT, SIZES, Scene

TRIPLES = set(product(COLOURS, range(10), BACKGROUNDS))


def distances(first: dict, second: dict) -> list[float]:
    points = [to_lab(torch.tensor(list(colours.values()), dtype=torch.float64) / 255) for colours in (first, second)]
    return torch.cdist(*points).flatten().tolist()


def test_no_two_colours_are_confusable_and_none_comes_near_a_background():
    """The distances in CIELAB that the module states. A distance of 2 is just visible."""
    among = {name: sorted(distances(each, each))[len(each) :] for name, each in [("c", COLOURS), ("b", BACKGROUNDS)]}
    assert min(among["c"]) == pytest.approx(45, abs=0.5)
    assert min(among["b"]) == pytest.approx(37, abs=0.5)
    assert min(distances(COLOURS, BACKGROUNDS)) == pytest.approx(48.5, abs=0.5)


def test_a_name_means_one_thing():
    assert not COLOURS.keys() & BACKGROUNDS.keys()
    assert not (COLOURS.keys() | BACKGROUNDS.keys()) & SIZES.keys()


def test_sizes_differ_by_a_third_at_least_and_fit_into_32_pixels():
    heights = sorted(SIZES.values())
    assert heights[-1] <= 32
    assert all(large / small > 4 / 3 for small, large in combinations(heights, 2))


def test_a_tenth_of_the_triples_is_held_out():
    assert isinstance(HELD_OUT, frozenset)
    assert HELD_OUT <= TRIPLES
    assert 10 * len(HELD_OUT) == len(TRIPLES) == 480


@pytest.mark.parametrize(("attribute", "spread"), [(0, 0), (1, 1), (2, 0)])
def test_held_out_triples_are_spread_evenly(attribute, spread):
    counts = Counter(triple[attribute] for triple in HELD_OUT)
    assert len(counts) == len({triple[attribute] for triple in TRIPLES})
    assert max(counts.values()) - min(counts.values()) <= spread


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (0, 2)])
def test_each_pair_of_attributes_is_still_in_most_of_its_triples(pair):
    count = lambda triples: Counter(tuple(triple[i] for i in pair) for triple in triples)  # noqa: E731
    every, left = count(TRIPLES), count(TRIPLES - HELD_OUT)
    assert every.keys() == left.keys()
    assert all(left[key] >= every[key] * 2 / 3 for key in every)


def test_a_scene_knows_whether_it_is_held_out():
    for colour, digit, background in TRIPLES:
        scene = Scene(digit, colour, background, "small")
        assert scene.is_held_out == ((colour, digit, background) in HELD_OUT)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ((10, "red", "navy", "small"), "digit 10"),
        ((7, "navy", "navy", "small"), "colour 'navy'"),
        ((7, "red", "red", "small"), "background 'red'"),
        ((7, "red", "navy", "huge"), "size 'huge': choose one of small, medium, large"),
    ],
)
def test_an_unknown_attribute_is_named(attributes, message):
    with pytest.raises(ValueError, match=message):
        Scene(*attributes)
