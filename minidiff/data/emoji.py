"""Emoji: 1,631 pictures, 32×32 on white, each with its English name as its caption."""

import re

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data import recolouring
from minidiff.storage import bundled

# Substitutions that `concept` applies in this order to a lower-case caption, so that near-duplicates become equal.
_SAME = (
    (r".*(o'clock|-thirty)$", "clock face"),
    (r"^family\b.*", "family"),
    (r"^(santa|mrs\.|mx) claus$", "claus"),
    (r"^(prince|princess|person with crown)$", "with crown"),
    (r"^(merman|mermaid|merperson)$", "merperson"),
    (r"^(star of david|dotted six-pointed star)$", "six-pointed star"),
    (r"^snowman without snow$", "snowman"),
    (r"^(men's|women's) room$", "men's or women's room"),
    (r"^speaker (low|medium|high) volume$", "speaker"),
    (r"\b(large|medium|medium-small|small) square$", "square"),
    (r" facing right$", ""),
    (r"\bolder\b", "old"),
    (r"\b(boy|girl)\b", "child"),
    (r"\b(woman and man|man|men|woman|women|person|people)\b(?!')", ""),
)

COLOURS = tuple(recolouring.COLOURS)

# Fifty objects that look different, each with two colours that its emoji does not have and in which training never shows it.
_HELD_OUT_COLOURS = {
    "cat": ("red", "orange"),
    "dog": ("green", "blue"),
    "horse": ("pink", "brown"),
    "pig": ("yellow", "purple"),
    "elephant": ("blue", "purple"),
    "rabbit": ("brown", "orange"),
    "bird": ("yellow", "green"),
    "penguin": ("pink", "red"),
    "frog": ("red", "orange"),
    "turtle": ("blue", "purple"),
    "snake": ("pink", "brown"),
    "whale": ("yellow", "green"),
    "fish": ("purple", "pink"),
    "octopus": ("brown", "orange"),
    "butterfly": ("yellow", "green"),
    "snail": ("red", "blue"),
    "crab": ("orange", "yellow"),
    "banana": ("green", "blue"),
    "strawberry": ("pink", "brown"),
    "pineapple": ("purple", "red"),
    "carrot": ("blue", "purple"),
    "tractor": ("pink", "brown"),
    "pear": ("yellow", "pink"),
    "cherries": ("green", "purple"),
    "pizza": ("red", "yellow"),
    "lollipop": ("green", "blue"),
    "teapot": ("pink", "brown"),
    "house": ("orange", "yellow"),
    "castle": ("blue", "purple"),
    "tent": ("red", "brown"),
    "bus": ("green", "pink"),
    "automobile": ("orange", "purple"),
    "bicycle": ("red", "orange"),
    "sailboat": ("green", "blue"),
    "rocket": ("pink", "brown"),
    "helicopter": ("red", "orange"),
    "airplane": ("yellow", "purple"),
    "umbrella": ("brown", "red"),
    "balloon": ("yellow", "green"),
    "guitar": ("pink", "blue"),
    "trumpet": ("red", "orange"),
    "camera": ("pink", "brown"),
    "pencil": ("purple", "orange"),
    "key": ("blue", "purple"),
    "scissors": ("yellow", "brown"),
    "hammer": ("yellow", "green"),
    "bell": ("pink", "red"),
    "crown": ("red", "orange"),
    "star": ("green", "blue"),
    "dress": ("yellow", "purple"),
}
OBJECTS = tuple(_HELD_OUT_COLOURS)
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    (colour, thing) for thing, colours in _HELD_OUT_COLOURS.items() for colour in colours
)


def load() -> tuple[Float[Tensor, "n 3 32 32"], list[str]]:
    """All pictures, float32 in [-1, 1] on white (+1), and their captions. No picture and no caption occurs twice.

    Source: Noto Emoji by Google, names by Unicode; `data/README.md` says how the file is built.
    """
    with np.load(bundled("emoji.npz"), allow_pickle=False) as arrays:
        pixels = torch.from_numpy(arrays["images"])
        captions = [caption.decode() for caption in arrays["captions"].tolist()]
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1, captions


def recoloured(
    images: Float[Tensor, "n 3 32 32"], captions: list[str], colour: str
) -> tuple[Float[Tensor, "m 3 32 32"], list[str], list[int]]:
    """Emoji in this colour, captions that name the colour ("blue cat"), and the index of each emoji in `images`.

    The new colour replaces a colour in the name: "red apple" becomes "blue apple". Left out are names with "black", "white", "grey" or
    "light", new names that another emoji has ("green apple"), and HELD_OUT. Raises ValueError for a colour not in COLOURS.
    """
    names = [_in_colour(caption, colour) for caption in captions]
    taken, held_out = {caption.lower() for caption in captions}, {" ".join(pair) for pair in HELD_OUT}
    kept = [i for i, name in enumerate(names) if name is not None and name.lower() not in taken | held_out]
    return recolouring.recoloured(images[kept], colour), [names[i] for i in kept], kept


def _in_colour(caption: str, colour: str) -> str | None:
    if re.search(r"\b(black|white|grey|light)\b", caption):
        return None
    named = re.compile(rf"\b({'|'.join(COLOURS)})\b")
    return named.sub(colour, caption) if named.search(caption) else f"{colour} {caption}"


def concept(caption: str) -> str:
    """What a caption is about. Near-duplicates have one concept: "man running" and "woman running" give "running".

    Merged are people who differ in gender or in the direction that they face, families, clock faces, and a few signs
    that look alike. Two captions are near-duplicates if and only if their concepts are equal.
    """
    merged = caption.lower()
    for pattern, same in _SAME:
        merged = re.sub(pattern, same, merged)
    return " ".join(merged.replace(",", " ").split()) or "person"
