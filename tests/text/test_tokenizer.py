"""The tokenizer: what a word is, what a row looks like, what is lost and said to be lost, what a file must hold."""

import gzip
import itertools
import json
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minidiff.text import Tokenizer, bpe
from minidiff.text.tokenizer import SYMBOLS, words

CAPTIONS = [
    f"a {size} {colour} {digit} on a {ground} background"
    for size, colour, digit, ground in itertools.product(
        ["small", "large"], ["red", "green", "blue"], ["one", "two", "seven"], ["navy", "white", "black"]
    )
]
TOKENIZER = Tokenizer.train(CAPTIONS, vocab_size=600, context_length=16)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A small RED seven", ["a", "small", "red", "seven"]),
        ("  tabs\tand\n\nlines  ", ["tabs", "and", "lines"]),
        ("a cat's hat, they'll see", ["a", "cat", "'s", "hat", ",", "they", "'ll", "see"]),
        ("IT'S 'quoted'", ["it", "'s", "'", "quoted", "'"]),
        ("7 of 1984", ["7", "of", "1", "9", "8", "4"]),
        ("half-red?!(no)", ["half", "-", "red", "?!(", "no", ")"]),
        ("cafe\u0301", ["café"]),
        ("ΟΔΟΣ", ["οδοσ"]),
        ("红色7", ["红色", "7"]),
        ("❤️🔥 fire", ["❤️🔥", "fire"]),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_a_row_is_start_prompt_end_and_the_end_token_again():
    tokens = TOKENIZER(["a red seven", ""])
    a, red, seven = (TOKENIZER.vocab[f"{word}</w>"] for word in ("a", "red", "seven"))
    start, end = TOKENIZER.start, TOKENIZER.end
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[start, a, red, seven] + [end] * 12, [start] + [end] * 15]
    assert TOKENIZER.pad == end == TOKENIZER.vocab_size - 1 == start + 1


@given(TEXT)
def test_decoding_gives_the_words_back_whatever_they_are(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == " ".join(words(text))


def test_decode_leaves_start_end_and_padding_out_and_takes_a_row_of_tokens():
    assert TOKENIZER.decode(TOKENIZER(["a red seven"])[0]) == "a red seven"
    for unknown in (-1, TOKENIZER.vocab_size):
        with pytest.raises(ValueError, match=f"got {unknown}"):
            TOKENIZER.decode([unknown])


def test_special_tokens_in_a_prompt_count_only_as_they_are_written():
    assert TOKENIZER.encode("a<|endoftext|>a") == [*TOKENIZER.encode("a"), TOKENIZER.end, *TOKENIZER.encode("a")]
    assert TOKENIZER.end not in TOKENIZER.encode("<|EndOfText|>")
    assert words("<|EndOfText|>!") == ["<|", "endoftext", "|>", "!"]


def test_a_prompt_too_long_keeps_its_end_token_and_says_what_is_lost():
    prompt = "a small red seven on a navy background"
    short = Tokenizer(TOKENIZER.vocab, TOKENIZER.merges, context_length=7)
    with pytest.warns(UserWarning, match="8 tokens is cut to 5: its end is lost, 'a navy background'"):
        (row,) = short([prompt]).tolist()
    assert row == [short.start, *TOKENIZER.encode(prompt)[:5], short.end]
    assert short.too_long(prompt)


def test_a_prompt_that_just_fits_is_not_cut():
    just = Tokenizer(TOKENIZER.vocab, TOKENIZER.merges, context_length=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (row,) = just(["a small red seven on a navy background"]).tolist()
    assert row.count(just.end) == 1
    assert row[-1] == just.end
    assert not just.too_long("a small red seven on a navy background")


def test_half_a_surrogate_pair_is_no_text():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        TOKENIZER.encode("red \ud83d")


def test_one_string_for_a_list_is_an_error():
    with pytest.raises(TypeError):
        TOKENIZER("a red seven")
    with pytest.raises(TypeError):
        Tokenizer.train("a red seven", 600)


def test_no_prompts_are_no_rows():
    assert TOKENIZER([]).shape == (0, 16)


def test_training_makes_whole_tokens_of_the_words_it_saw():
    assert all(len(TOKENIZER.encode(caption)) == 8 for caption in CAPTIONS)
    assert len(TOKENIZER.encode("violet")) > 1


def test_training_does_not_depend_on_the_order_of_the_corpus():
    again = Tokenizer.train(reversed(CAPTIONS), vocab_size=600, context_length=16)
    assert (again.vocab, again.merges) == (TOKENIZER.vocab, TOKENIZER.merges)


def test_training_stops_at_the_size_asked_for_or_where_nothing_repeats():
    assert Tokenizer.train(CAPTIONS, vocab_size=530).vocab_size == 530
    assert Tokenizer.train(CAPTIONS, vocab_size=5000).vocab == TOKENIZER.vocab


def test_training_needs_room_and_words():
    with pytest.raises(ValueError, match=r"at least 514 .* got 513"):
        Tokenizer.train(CAPTIONS, vocab_size=513)
    with pytest.raises(ValueError, match="no word"):
        Tokenizer.train(["", "  "], vocab_size=600)


def test_a_saved_tokenizer_comes_back(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer")
    loaded = Tokenizer.load(tmp_path / "tokenizer")
    assert (loaded.vocab, loaded.merges, loaded.context_length) == (TOKENIZER.vocab, TOKENIZER.merges, 16)
    assert torch.equal(loaded(CAPTIONS), TOKENIZER(CAPTIONS))


@pytest.mark.parametrize("config", [None, "{}", '{"model_max_length": 1000000000000000019884624838656}'])
def test_without_a_stated_context_length_it_is_clip_s(tmp_path, config):
    TOKENIZER.save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(config)
    assert Tokenizer.load(tmp_path).context_length == 77


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", None, "there is no vocab.json"),
        ("vocab.json", "{", "not valid JSON"),
        ("vocab.json", "[]", "JSON object"),
        ("vocab.json", '{"a": "b"}', "map tokens to ids"),
        ("merges.txt", None, "there is no merges.txt"),
        ("merges.txt", "", "begin with a line '#version"),
        ("merges.txt", "a b\n", "begin with a line '#version"),
        ("merges.txt", "#version: 0.2\na b c\n", "two tokens on each line"),
        ("merges.txt", "#version: 0.2\nx q</w>\n", "lacks 1 required tokens, .* 'xq</w>'"),
    ],
)
def test_files_that_are_missing_or_wrong_are_refused(tmp_path, name, content, message):
    TOKENIZER.save(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(tmp_path)


def test_a_vocabulary_must_be_whole():
    without_a_byte = {token: i for i, token in enumerate(token for token in TOKENIZER.vocab if token != "ÿ")}
    with pytest.raises(ValueError, match=r"lacks 1 required tokens, .* 'ÿ'"):
        Tokenizer(without_a_byte, TOKENIZER.merges)
    with pytest.raises(ValueError, match="each once"):
        Tokenizer(TOKENIZER.vocab | {"a</w>": 0}, TOKENIZER.merges)
    with pytest.raises(ValueError, match="at least 3"):
        Tokenizer(TOKENIZER.vocab, TOKENIZER.merges, context_length=2)


def test_clip_s_list_is_read_up_to_the_last_merge_that_clip_uses(tmp_path):
    pairs = list(itertools.product(bpe.ALPHABET.values(), repeat=2))  # 65,536: more than CLIP uses, as in its own file
    lines = ['"a list#version: 0.2', *(f"{left} {right}" for left, right in pairs)]
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode(), compresslevel=1))
    tokenizer = Tokenizer.from_open_clip(path)
    assert (tokenizer.vocab_size, tokenizer.context_length) == (49_408, 77)
    assert (tokenizer.start, tokenizer.end) == (49_406, 49_407)
    assert tokenizer.merges == tuple(pairs[:48_894])
    assert [tokenizer.vocab[token] for token in ("!", "!</w>", "!!")] == [0, 256, 512]
    assert list(tokenizer.vocab)[:512] == list(SYMBOLS)


def test_another_list_is_not_clip_s(tmp_path):
    path = tmp_path / "list.txt.gz"
    with pytest.raises(ValueError, match=r"there is no list\.txt\.gz"):
        Tokenizer.from_open_clip(path)
    path.write_bytes(b"a b")
    with pytest.raises(ValueError, match="cannot be read"):
        Tokenizer.from_open_clip(path)
    path.write_bytes(gzip.compress(b"#version: 0.2\na b"))
    with pytest.raises(ValueError, match="at least 48894 merges, found 1"):
        Tokenizer.from_open_clip(path)


def test_vocab_json_is_plain_text_that_maps_tokens_to_ids(tmp_path):
    TOKENIZER.save(tmp_path)
    assert json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")) == TOKENIZER.vocab
    first, second, *_ = (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert (first, second) == ("#version: 0.2", " ".join(TOKENIZER.merges[0]))
