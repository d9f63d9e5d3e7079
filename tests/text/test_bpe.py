"""Byte-pair encoding, against a count of everything after every merge, and against a replay of the merges one by one."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidiff.text import bpe

COUNTS = st.dictionaries(st.text("abcdé", min_size=1, max_size=8), st.integers(1, 9), min_size=1, max_size=12)


def learn_by_counting(counts, merges):
    """The definition: count all pairs of all words, merge the most frequent, start again."""
    words, learned = {bpe.split(word): count for word, count in counts.items()}, []
    for _ in range(merges):
        total = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                total[pair] += count
        most = max(total.values(), default=0)
        if most < 2:
            break
        learned.append(min(pair for pair in total if total[pair] == most))
        words = {bpe.merge(word, learned[-1]): count for word, count in words.items()}
    return learned


def test_every_byte_has_a_visible_character_of_its_own():
    characters = list(bpe.ALPHABET.values())
    assert sorted(bpe.ALPHABET) == list(range(256))
    assert len(set(characters)) == 256
    assert all(character.isprintable() and not character.isspace() for character in characters)
    assert characters[:3] == ["!", '"', "#"]
    assert (bpe.ALPHABET[0], bpe.ALPHABET[ord(" ")], bpe.ALPHABET[255]) == ("Ā", "Ġ", "ÿ")


def test_a_word_begins_as_its_bytes_with_the_last_one_marked():
    assert bpe.split("cat") == ("c", "a", "t</w>")
    assert bpe.split("é") == ("Ã", "©</w>")
    with pytest.raises(ValueError, match="at least one character"):
        bpe.split("")


def test_a_pair_is_merged_from_left_to_right():
    assert bpe.merge(("a", "a", "a", "b", "a", "a"), ("a", "a")) == ("aa", "a", "b", "aa")
    assert bpe.merge(("a", "b"), ("b", "a")) == ("a", "b")


def test_the_example_of_the_paper():
    """Sennrich et al. 2016, section 3.2, where the mark is a symbol by itself; ties in the order of strings."""
    learned = bpe.learn({"low": 5, "lower": 2, "newest": 6, "widest": 3}, merges=7)
    assert learned == [
        ("e", "s"),
        ("es", "t</w>"),
        ("l", "o"),
        ("e", "w"),
        ("ew", "est</w>"),
        ("n", "ewest</w>"),
        ("lo", "w</w>"),
    ]


@given(COUNTS, st.integers(0, 30))
def test_learning_is_counting_everything_after_every_merge(counts, merges):
    assert bpe.learn(counts, merges) == learn_by_counting(counts, merges)


@given(COUNTS)
def test_the_order_of_the_corpus_does_not_matter(counts):
    assert bpe.learn(counts, 20) == bpe.learn(dict(reversed(counts.items())), 20)


@given(COUNTS, st.text("abcdé", min_size=1, max_size=12))
def test_pieces_are_what_a_replay_of_the_merges_leaves(counts, word):
    learned = bpe.learn(counts, 30)
    replayed = bpe.split(word)
    for pair in learned:
        replayed = bpe.merge(replayed, pair)
    assert bpe.pieces(word, {pair: rank for rank, pair in enumerate(learned)}) == replayed
    assert "".join(replayed) == "".join(bpe.split(word))


def test_words_seen_twice_become_whole_and_new_ones_fall_into_known_pieces():
    ranks = {pair: rank for rank, pair in enumerate(bpe.learn({"seven": 2, "teen": 2}, 100))}
    assert bpe.pieces("seven", ranks) == ("seven</w>",)
    assert bpe.pieces("seventeen", ranks)[-1] == "teen</w>"
    assert bpe.pieces("teens", ranks)[-1] == "s</w>"  # a word's end is another symbol than the same letter within


def test_nothing_is_learned_from_what_occurs_once():
    assert bpe.learn({"seven": 1}, 100) == []


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="got -1"):
        bpe.learn({"a": 1}, -1)
    with pytest.raises(ValueError, match="got 3 and 0"):
        bpe.learn({"a": 0}, 3)
