"""Emoji: 1,631 small pictures of real things, 32×32 on white, each with its English name as its caption."""

import re

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from minidiff.data.files import bundled

# Applied one after the other to a caption in small letters. What nobody could tell apart in words becomes the same.
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


def load() -> tuple[Float[Tensor, "n 3 32 32"], list[str]]:
    """All pictures, float32 in [-1, 1] on white (+1), and their captions; no picture and no caption is there twice.

    Source: Noto Emoji by Google, names by Unicode; `data/README.md` says how the file is built.
    """
    with np.load(bundled("emoji.npz"), allow_pickle=False) as arrays:
        pixels = torch.from_numpy(arrays["images"])
        captions = [caption.decode() for caption in arrays["captions"].tolist()]
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1, captions


def concept(caption: str) -> str:
    """What a caption is about, the same for near-duplicates: "man running" and "woman running" are both "running".

    Merged are people who differ in gender or in the way that they face, families, clock faces, and a few signs that
    look alike. Two captions are near-duplicates exactly where this is equal.
    """
    merged = caption.lower()
    for pattern, same in _SAME:
        merged = re.sub(pattern, same, merged)
    return " ".join(merged.replace(",", " ").split()) or "person"
