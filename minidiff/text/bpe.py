"""Byte-pair encoding: splits words into pieces that are frequent in a corpus.

A word starts as its UTF-8 bytes, one symbol each; the last symbol carries an end-of-word mark. Training repeatedly merges the most
frequent pair of neighbouring symbols, and the result is the list of merges. Encoding applies these merges to a new word. Frequent words
become one piece, rare words several, and no word is unknown because every byte is a symbol.

Source: Gage, A New Algorithm for Data Compression, 1994; Sennrich et al., Neural Machine Translation of Rare Words
with Subword Units, 2016, algorithm 1; bytes for characters: Radford et al., Language Models are Unsupervised
Multitask Learners, 2019, section 2.2.
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

Pair = tuple[str, str]

END_OF_WORD = "</w>"


def _alphabet() -> dict[int, str]:
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


# A printable character for each byte, in the order of CLIP's vocabulary. Spaces and control codes would not survive in a text file, so
# these bytes have characters from 256 on.
ALPHABET = _alphabet()
BYTES = {character: byte for byte, character in ALPHABET.items()}


def split(word: str) -> tuple[str, ...]:
    """The bytes of a word as symbols, the last one with the end-of-word mark: "cat" -> ("c", "a", "t</w>").

    Raises ValueError for an empty word, or a character without UTF-8 (half of a surrogate pair).
    """
    if not word:
        raise ValueError('a word must have at least one character, got ""')
    *symbols, last = (ALPHABET[byte] for byte in word.encode("utf-8"))
    return (*symbols, last + END_OF_WORD)


def merge(symbols: tuple[str, ...], pair: Pair) -> tuple[str, ...]:
    """The symbols with every occurrence of the pair merged, from left to right: (a, a) turns "a a a" into "aa a"."""
    merged, i = [], 0
    while i < len(symbols):
        found = symbols[i : i + 2] == pair
        merged.append(pair[0] + pair[1] if found else symbols[i])
        i += 2 if found else 1
    return tuple(merged)


def pieces(word: str, ranks: Mapping[Pair, int]) -> tuple[str, ...]:
    """The pieces of a word: the pair that was learned first is merged, until no pair in the word has been learned.

    `ranks` is the position of each pair in the list of merges, from 0. Raises ValueError as `split` does.
    """
    symbols = split(word)
    while True:
        first = min(pairwise(symbols), key=lambda pair: ranks.get(pair, math.inf), default=None)
        if first not in ranks:
            return symbols
        symbols = merge(symbols, first)


def learn(counts: Mapping[str, int], merges: int) -> list[Pair]:
    """Learn the merges of a corpus: the most frequent pair, then the most frequent pair after that merge, and so on.

    `counts` is how often each word occurs. Ties are broken by the order of strings, so the order of the corpus does not matter. Fewer
    than `merges` are learned if no pair is left that occurs twice. After a merge only the words that contain the pair are recounted.

    Raises ValueError if merges is negative, or a count is below 1.
    """
    if merges < 0 or any(count < 1 for count in counts.values()):
        raise ValueError(f"expected merges ≥ 0 and counts ≥ 1, got {merges} and {min(counts.values(), default=1)}")
    words = [split(word) for word in counts]
    frequencies = list(counts.values())
    total: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in pairwise(word):
            total[pair] += frequencies[i]
            where[pair].add(i)

    learned: list[Pair] = []
    queue = [(-count, pair) for pair, count in total.items()]
    heapq.heapify(queue)
    while queue and len(learned) < merges:
        count, best = heapq.heappop(queue)
        if -count != total[best]:
            continue  # outdated: the pair was queued again when its count changed
        if total[best] < 2:
            break
        learned.append(best)
        changed = set()
        for i in where.pop(best):
            for pair in pairwise(words[i]):
                total[pair] -= frequencies[i]
                changed.add(pair)
            words[i] = merge(words[i], best)
            for pair in pairwise(words[i]):
                total[pair] += frequencies[i]
                where[pair].add(i)
                changed.add(pair)
        for pair in changed:
            heapq.heappush(queue, (-total[pair], pair))
    return learned
