"""From prompts to tokens and back, as CLIP does it.

    "A red CAT's hat" ─ words ─> a, red, cat, 's, hat ─ pieces ─> ids ─> start  320 736 2368 568 3801  end end …

A prompt is normalised, lower-cased and cut into words; each word into the pieces that byte-pair encoding knows; start
and end are put around it, and the end token fills the row. The same class is trained on a few captions for the laptop,
or reads the vocabulary that CLIP was published with: ids are then those of transformers' tokenizer.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.4, and
its published code.
"""

import gzip
import json
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import regex
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from minidiff.text import bpe
from minidiff.text.bpe import ALPHABET, BYTES, END_OF_WORD, Pair

START, END = "<|startoftext|>", "<|endoftext|>"
SYMBOLS = (*ALPHABET.values(), *(character + END_OF_WORD for character in ALPHABET.values()))
CLIP_CONTEXT_LENGTH = 77
CLIP_MERGES = 48_894

_SPECIAL = r"<\|startoftext\|>|<\|endoftext\|>"
_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
_SPECIAL_OR_WORD = regex.compile(f"{_SPECIAL}|{_WORD.pattern}")
_AROUND_SPECIAL = regex.compile(f"({_SPECIAL})")  # in brackets, so that split keeps it


def words(text: str) -> list[str]:
    """Lower-case words, contractions ('s, 'll, …), single digits and runs of punctuation; what is white only separates.

    Characters are composed first (NFC), so that é is one letter however it was typed. CLIP's own code also mends
    broken Unicode and HTML entities before; transformers' tokenizer does not, nor does this one.
    """
    # Letter by letter: as a whole, Python would make the last Σ of a word ς, which transformers' tokenizer does not.
    lower = "".join(letter.lower() for letter in unicodedata.normalize("NFC", text))
    # <|ENDOFTEXT|>! is plain text, but it is cut off before the exclamation mark, then into words.
    return [word for part in _SPECIAL_OR_WORD.findall(lower) for word in _WORD.findall(part)]


class Tokenizer:
    """`tokenizer(prompts)` -> tokens (B, context_length): start, the prompt, end, and the end token again as padding.

    `vocab` gives each token its id, 0 … vocab_size - 1; `merges` are the pairs in the order in which they were learned.

    Raises ValueError where ids are missing or given twice, a byte, a merge's result, the start or the end is no token,
    or context_length has no room for a word between start and end.
    """

    def __init__(
        self, vocab: Mapping[str, int], merges: Sequence[Pair], context_length: int = CLIP_CONTEXT_LENGTH
    ) -> None:
        if context_length < 3:
            raise ValueError(f"context_length must be at least 3 (start, a word, end), got {context_length}")
        if sorted(vocab.values()) != list(range(len(vocab))):
            raise ValueError(f"the ids of {len(vocab)} tokens must be 0 … {len(vocab) - 1}, each of them once")
        needed = (START, END, *SYMBOLS, *(left + right for left, right in merges))
        if missing := [token for token in needed if token not in vocab]:
            raise ValueError(f"the vocabulary lacks {len(missing)} tokens that are needed, the first is {missing[0]!r}")
        self.vocab, self.merges, self.context_length = dict(vocab), tuple(merges), context_length
        self.start, self.end = vocab[START], vocab[END]
        self.pad = self.end
        self._tokens = {id_: token for token, id_ in vocab.items()}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, list[int]] = {}  # ids of the words met so far

    @property
    def vocab_size(self) -> int:
        return len(self.vocab)

    def __call__(self, prompts: Sequence[str]) -> Int64[Tensor, "b l"]:
        """One row a prompt. What does not fit is cut off, and a warning names it; the end token is always there.

        Raises TypeError where one string is given instead of a list.
        """
        rows = list(map(self._row, _many(prompts, "prompts")))
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), self.context_length)

    def encode(self, text: str) -> list[int]:
        """The text's ids, however many, without start and end. Where the text itself spells these, their ids stand.

        Raises ValueError where a character has no UTF-8 (half of a surrogate pair).
        """
        ids = []
        for part in _AROUND_SPECIAL.split(text):
            if part in (START, END):
                ids.append(self.vocab[part])
            else:
                ids += [id_ for word in words(part) for id_ in self._word(word)]
        return ids

    def decode(self, ids: Iterable[int] | Int[Tensor, "l"]) -> str:
        """Words with single spaces between them, start and end left out: `encode` backwards, but for what it evened out.

        Raises ValueError where an id is none of the vocabulary's.
        """
        ids = [int(id_) for id_ in ids]
        if unknown := [id_ for id_ in ids if id_ not in self._tokens]:
            raise ValueError(f"ids must be in 0…{self.vocab_size - 1}, got {unknown[0]}")
        characters = "".join(self._tokens[id_] for id_ in ids if id_ not in (self.start, self.end))
        text = bytes(BYTES[character] for character in characters).decode("utf-8", errors="replace")
        return text.replace(END_OF_WORD, " ").strip()

    def too_long(self, prompt: str) -> bool:
        """Whether the prompt's end would be cut off."""
        return len(self.encode(prompt)) > self.context_length - 2

    def save(self, folder: str | Path) -> None:
        """Write vocab.json and merges.txt in CLIP's layout, and the context length in tokenizer_config.json."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": self.context_length}
        lines = ["#version: 0.2", *(f"{left} {right}" for left, right in self.merges)]
        (folder / "vocab.json").write_text(json.dumps(self.vocab, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read what `save` wrote, or what CLIP or Stable Diffusion 1 was published with.

        The context length is the `model_max_length` of tokenizer_config.json, or CLIP's 77 where that says nothing.
        Raises ValueError where a file is missing or is not what it should be.
        """
        folder = Path(folder)
        vocab = _read_json(folder / "vocab.json")
        if not all(isinstance(id_, int) for id_ in vocab.values()):
            raise ValueError(f"{folder / 'vocab.json'} should map tokens to ids")
        config = _read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        length = config.get("model_max_length", CLIP_CONTEXT_LENGTH)
        unlimited = length > 1_000_000  # transformers writes 10³⁰ where nobody told it
        return cls(vocab, _read_merges(folder / "merges.txt"), CLIP_CONTEXT_LENGTH if unlimited else length)

    @classmethod
    def train(cls, corpus: Iterable[str], vocab_size: int, context_length: int = CLIP_CONTEXT_LENGTH) -> "Tokenizer":
        """Learn `vocab_size` tokens from texts: 512 symbols, as many merges as fit, start and end.

        There are fewer where the texts have no pair left that occurs twice. The same texts give the same tokens, in
        whatever order they come. Raises ValueError where vocab_size is below 514 or the texts hold no word, TypeError
        where one string is given instead of many.
        """
        smallest = len(SYMBOLS) + 2
        if vocab_size < smallest:
            raise ValueError(f"vocab_size must be at least {smallest}, every byte twice and two more, got {vocab_size}")
        counts = Counter(word for text in _many(corpus, "texts") for word in words(text))
        if not counts:
            raise ValueError("there is nothing to learn from: the corpus holds no word")
        return cls._from_merges(bpe.learn(counts, vocab_size - smallest), context_length)

    @classmethod
    def from_open_clip(cls, path: str | Path) -> "Tokenizer":
        """CLIP's own tokenizer, 49,408 tokens, from the `bpe_simple_vocab_16e6.txt.gz` that it was published with.

        The file lists 262,144 merges, of which CLIP uses the first 48,894.
        Raises ValueError where there is no such file or it is not that list.
        """
        merges = _read_merges(Path(path), limit=CLIP_MERGES)
        if len(merges) < CLIP_MERGES:
            raise ValueError(f"{path} should list at least {CLIP_MERGES} merges, it has {len(merges)}")
        return cls._from_merges(merges, CLIP_CONTEXT_LENGTH)

    @classmethod
    def _from_merges(cls, merges: Sequence[Pair], context_length: int) -> "Tokenizer":
        """CLIP's layout: the symbols, what the merges make of them, start, end."""
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


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no {path.name} in {path.parent}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold a JSON object, it holds a {type(content).__name__}")
    return content


def _read_merges(path: Path, limit: int | None = None) -> list[Pair]:
    """Pairs, a line each, after a first line that names the version; plain or gzipped."""
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8").splitlines()
    except FileNotFoundError:
        raise ValueError(f"there is no {path.name} in {path.parent}") from None
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a list of merges: {error}") from error
    merges = [tuple(line.split()) for line in lines[1:][:limit]]
    if not lines or "#version" not in lines[0] or any(len(pair) != 2 for pair in merges):
        raise ValueError(f"{path} should begin with a line '#version: …' and then have two tokens on each line")
    return merges
