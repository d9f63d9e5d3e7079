"""CLIP's tokenizer: from prompts to tokens and back.

    "A red CAT's hat" ─ words ─> a, red, cat, 's, hat ─ pieces ─> ids ─> start  320 736 2368 568 3801  end end …

A prompt is normalised, lower-cased and split into words, and each word into pieces by byte-pair encoding. A start and an end token are
added, and the row is padded with end tokens. The vocabulary is learned from captions, or read from the files that CLIP was published with;
the ids are then those of transformers' tokenizer.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.4, and
its published code.
"""

import gzip
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import regex
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from minidiff import storage
from minidiff.text import bpe
from minidiff.text.bpe import ALPHABET, BYTES, END_OF_WORD, Pair

START, END = "<|startoftext|>", "<|endoftext|>"
SYMBOLS = (*ALPHABET.values(), *(character + END_OF_WORD for character in ALPHABET.values()))
CLIP_CONTEXT_LENGTH = 77
CLIP_MERGES = 48_894

_SPECIAL = r"<\|startoftext\|>|<\|endoftext\|>"
_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
_SPECIAL_OR_WORD = regex.compile(f"{_SPECIAL}|{_WORD.pattern}")
_AROUND_SPECIAL = regex.compile(f"({_SPECIAL})")  # the group makes split keep the separators


def words(text: str) -> list[str]:
    """The text as a list of lower-case words, contractions ('s, 'll, …), single digits and runs of punctuation, without whitespace.

    Characters are composed first (NFC), so that é is one letter in every spelling. CLIP's own code also repairs broken Unicode and HTML
    entities; transformers' tokenizer does not, and neither does this function.
    """
    # Letter by letter, because for a whole word Python lowers a final Σ to ς, unlike transformers' tokenizer.
    lower = "".join(letter.lower() for letter in unicodedata.normalize("NFC", text))
    # <|ENDOFTEXT|> in capitals is plain text, but it is separated from what follows before it is split into words.
    return [word for part in _SPECIAL_OR_WORD.findall(lower) for word in _WORD.findall(part)]


class Tokenizer:
    """`tokenizer(prompts)` -> tokens (B, context_length): start, the prompt, end, and end tokens as padding.

    `vocab` maps each token to its id, 0 … vocab_size - 1; `merges` are the pairs in the order in which they were learned.

    Raises ValueError if ids are missing or repeated, if a byte, the result of a merge, start or end is not in the vocabulary, or if
    context_length is below 3.
    """

    def __init__(
        self, vocab: Mapping[str, int], merges: Sequence[Pair], context_length: int = CLIP_CONTEXT_LENGTH
    ) -> None:
        if context_length < 3:
            raise ValueError(f"context_length must be at least 3 (start, a word, end), got {context_length}")
        if sorted(vocab.values()) != list(range(len(vocab))):
            raise ValueError(f"the ids of {len(vocab)} tokens must be 0 … {len(vocab) - 1}, each once")
        needed = (START, END, *SYMBOLS, *(left + right for left, right in merges))
        if missing := [token for token in needed if token not in vocab]:
            raise ValueError(f"the vocabulary lacks {len(missing)} required tokens, the first is {missing[0]!r}")
        self.vocab, self.merges, self.context_length = dict(vocab), tuple(merges), context_length
        self.start, self.end = vocab[START], vocab[END]
        self.pad = self.end
        self._tokens = {id_: token for token, id_ in vocab.items()}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, list[int]] = {}  # a cache: the ids of words

    @property
    def vocab_size(self) -> int:
        return len(self.vocab)

    def __call__(self, prompts: Sequence[str]) -> Int64[Tensor, "b l"]:
        """One row of tokens per prompt. A prompt that is too long is cut, with a warning; the end token is always kept.

        Raises TypeError for one string in place of a list.
        """
        rows = list(map(self._row, _many(prompts, "prompts")))
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), self.context_length)

    def encode(self, text: str) -> list[int]:
        """All ids of a text, without start and end. If the text itself contains <|startoftext|> or <|endoftext|>, their ids are included.

        Raises ValueError for a character without UTF-8 (half of a surrogate pair).
        """
        ids = []
        for part in _AROUND_SPECIAL.split(text):
            if part in (START, END):
                ids.append(self.vocab[part])
            else:
                ids += [id_ for word in words(part) for id_ in self._word(word)]
        return ids

    def decode(self, ids: Iterable[int] | Int[Tensor, "l"]) -> str:
        """The text of ids: words with single spaces between them, without start and end. Raises ValueError for an unknown id.

        It inverts `encode` except for upper case, spacing and Unicode normalisation.
        """
        ids = [int(id_) for id_ in ids]
        if unknown := [id_ for id_ in ids if id_ not in self._tokens]:
            raise ValueError(f"ids must be in 0…{self.vocab_size - 1}, got {unknown[0]}")
        characters = "".join(self._tokens[id_] for id_ in ids if id_ not in (self.start, self.end))
        text = bytes(BYTES[character] for character in characters).decode("utf-8", errors="replace")
        return text.replace(END_OF_WORD, " ").strip()

    def too_long(self, prompt: str) -> bool:
        """Whether the prompt would be cut."""
        return len(self.encode(prompt)) > self.context_length - 2

    def save(self, folder: str | Path) -> None:
        """Write vocab.json and merges.txt in CLIP's layout, and the context length in tokenizer_config.json."""
        folder = Path(folder)
        config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": self.context_length}
        lines = ["#version: 0.2", *(f"{left} {right}" for left, right in self.merges)]
        storage.write_json(folder / "vocab.json", self.vocab)
        storage.write(folder / "merges.txt", ("\n".join(lines) + "\n").encode())
        storage.write_json(folder / "tokenizer_config.json", config)

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read the files of `save`, or of CLIP or Stable Diffusion 1 as published.

        The context length is `model_max_length` in tokenizer_config.json, by default CLIP's 77.
        Raises ValueError if a file is missing or malformed.
        """
        folder = Path(folder)
        vocab, settings = storage.read_json(folder / "vocab.json"), folder / "tokenizer_config.json"
        if not all(isinstance(id_, int) for id_ in vocab.values()):
            raise ValueError(f"{folder / 'vocab.json'} must map tokens to ids")
        config = storage.read_json(settings) if settings.is_file() else {}
        length = config.get("model_max_length", CLIP_CONTEXT_LENGTH)
        unlimited = length > 1_000_000  # transformers writes 10³⁰ for an unknown length
        return cls(vocab, _read_merges(folder / "merges.txt"), CLIP_CONTEXT_LENGTH if unlimited else length)

    @classmethod
    def train(cls, corpus: Iterable[str], vocab_size: int, context_length: int = CLIP_CONTEXT_LENGTH) -> "Tokenizer":
        """Learn `vocab_size` tokens from texts: 512 symbols, start, end, and merges.

        There are fewer tokens if no pair is left that occurs twice. The order of the texts does not matter. Raises ValueError if
        vocab_size is below 514 or the texts contain no word, TypeError for one string in place of a list.
        """
        smallest = len(SYMBOLS) + 2
        if vocab_size < smallest:
            raise ValueError(
                f"vocab_size must be at least {smallest} (every byte twice, start and end), got {vocab_size}"
            )
        counts = Counter(word for text in _many(corpus, "texts") for word in words(text))
        if not counts:
            raise ValueError("the corpus contains no word: pass at least one caption")
        return cls._from_merges(bpe.learn(counts, vocab_size - smallest), context_length)

    @classmethod
    def from_open_clip(cls, path: str | Path) -> "Tokenizer":
        """CLIP's own tokenizer, 49,408 tokens, from its published file `bpe_simple_vocab_16e6.txt.gz`.

        The file lists 262,144 merges; CLIP uses the first 48,894. Raises ValueError if the file is missing or is not such a list.
        """
        merges = _read_merges(Path(path), limit=CLIP_MERGES)
        if len(merges) < CLIP_MERGES:
            raise ValueError(f"{path} must list at least {CLIP_MERGES} merges, found {len(merges)}")
        return cls._from_merges(merges, CLIP_CONTEXT_LENGTH)

    @classmethod
    def _from_merges(cls, merges: Sequence[Pair], context_length: int) -> "Tokenizer":
        """The vocabulary in CLIP's order: the symbols, the results of the merges, start, end."""
        tokens = dict.fromkeys([*SYMBOLS, *(left + right for left, right in merges), START, END])
        return cls({token: id_ for id_, token in enumerate(tokens)}, merges, context_length)

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = [self.vocab[piece] for piece in bpe.pieces(word, self._ranks)]
        return self._known[word]

    def _row(self, prompt: str) -> list[int]:
        ids, room = self.encode(prompt), self.context_length - 2
        if len(ids) > room:
            lost = self.decode(ids[room:])
            warnings.warn(f"a prompt of {len(ids)} tokens is cut to {room}: its end is lost, {lost!r}", stacklevel=3)
        row = [self.start, *ids[:room], self.end]
        return row + [self.pad] * (self.context_length - len(row))


def _many(texts: Iterable[str], name: str) -> Iterable[str]:
    if isinstance(texts, str):
        raise TypeError(f"expected a list of {name}, got the string {texts!r}: put it in a list")
    return texts


def _read_merges(path: Path, limit: int | None = None) -> list[Pair]:
    """The merges in a file, plain or gzipped: a line with the version, then one pair per line."""
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8").splitlines()
    except FileNotFoundError:
        raise ValueError(f"there is no {path.name} in {path.parent}") from None
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a list of merges: {error}") from error
    merges = [tuple(line.split()) for line in lines[1:][:limit]]
    if not lines or "#version" not in lines[0] or any(len(pair) != 2 for pair in merges):
        raise ValueError(f"{path} must begin with a line '#version: …', followed by two tokens on each line")
    return merges
