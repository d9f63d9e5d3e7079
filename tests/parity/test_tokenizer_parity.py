"""Given the same vocab.json and merges.txt our tokenizer gives the ids of transformers' CLIPTokenizer, whatever the text."""

import sys
import unicodedata
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidiff.storage import bundled
from minidiff.text import Tokenizer

transformers = pytest.importorskip("transformers")

CORPUS = [
    "A small red seven on a navy background, 7 pixels wide.",
    "It's the cat's hat: they'll wear it, we've seen; I'd say you're not wrong, aren't you?",
    "Des élèves naïfs à Noël, ein Mädchen grüßt, ångström, señor, façade",
    "一只红色的猫 海の見える街 빨간 고양이 красный кот κόκκινη γάτα قط أحمر 🐈 ❤️‍🔥 👩‍🚀",
    "half-red!!! (no?) #1 $5 100% a/b \\ <|x|> …—“quoted” & so on",
] * 3
FRAGMENTS = [
    *(word for line in CORPUS[:5] for word in line.split()),
    "'S", "'LL", "'m", "''d", "İstanbul", "ΣΟΦΟΣ", "ǅ", "ﬁ", "Å", "e\u0301", "\u0301", "½", "٣", "Ⅷ", "&amp;", "</w>", "ĠĊ",
    "<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "|>", "<|", " ", "  ", "\t", "\n\r", "\u00a0", "\u2028", "\u200b", "\x1c", "\x00",
]  # fmt: skip
ANYTHING = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=20)
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | ANYTHING, max_size=8).map("".join)
BATCHES = st.lists(TEXTS, min_size=4, max_size=12)  # some hundreds of texts in all


def of_corpus(folder):
    return Tokenizer.train(CORPUS, vocab_size=800, context_length=12)


def of_clip(folder):
    return Tokenizer.from_open_clip(bundled("clip_bpe.txt.gz"))


@pytest.fixture(scope="module", params=[of_corpus, of_clip], ids=["corpus", "clip"])
def both(request, tmp_path_factory):
    """Ours as it comes back from its files, and transformers' from the same files."""
    folder = tmp_path_factory.mktemp("tokenizer")
    request.param(folder).save(folder)
    return Tokenizer.load(folder), transformers.CLIPTokenizer.from_pretrained(folder)


@given(texts=BATCHES)
def test_the_same_ids_and_the_same_text_back(both, texts):
    ours, theirs = both
    ids = [ours.encode(text) for text in texts]
    assert ids == theirs(texts, add_special_tokens=False).input_ids
    assert [ours.decode(row) for row in ids] == theirs.batch_decode(ids, skip_special_tokens=True)


@given(texts=BATCHES)
def test_the_same_rows_with_start_end_padding_and_the_end_cut_off(both, texts):
    ours, theirs = both
    expected = theirs(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = ours(texts)
    assert rows.tolist() == expected.tolist()


@given(ids=st.lists(st.integers(0, 500), max_size=30))
def test_the_same_text_from_bytes_that_are_no_text(both, ids):
    ours, theirs = both
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.slow
def test_every_character_there_is_is_treated_alike(both):
    """Between letters, so that it shows whether it is one; those that this Python's Unicode does not know are left out."""
    ours, theirs = both
    left_out = {"Cn", "Cs", "Co"}  # not assigned, surrogates, private use
    known = [chr(i) for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) not in left_out]
    texts = [" ".join(f"a{character}b" for character in known[i : i + 200]) for i in range(0, len(known), 200)]
    assert [ours.encode(text) for text in texts] == theirs(texts, add_special_tokens=False).input_ids


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("a photo of a cat", [49406, 320, 1125, 539, 320, 2368, 49407]),
        ("Hello, World!", [49406, 3306, 267, 1002, 256, 49407]),
    ],
)
def test_what_clip_is_known_to_answer(prompt, ids):
    ours = of_clip(None)
    assert ours([prompt]).tolist() == [ids + [49407] * (77 - len(ids))]
