"""Words for scenes, and what a prompt asks for.

A caption may name all of a scene or a part of it: then the rest is free, and a picture is right whatever it is.
"""

import re

from minidiff.data.scenes import BACKGROUNDS, COLOURS, SIZES, Scene

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_MEANINGS: dict[str, tuple[str, int | str]] = {
    **{word: ("digit", digit) for digit, word in enumerate(WORDS)},
    **{str(digit): ("digit", digit) for digit in range(10)},
    **{colour: ("colour", colour) for colour in COLOURS},
    **{background: ("background", background) for background in BACKGROUNDS},
    **{size: ("size", size) for size in SIZES},
}


def captions(scene: Scene) -> tuple[str, ...]:
    """Fifteen captions of a scene, all different: the first six name all of it, the others a part.

    Digits are written as words and as numerals.
    """
    size, colour, background = scene.size, scene.colour, scene.background
    word, numeral = WORDS[scene.digit], str(scene.digit)
    return (
        f"a {size} {colour} {word} on a {background} background",
        f"a {size} {colour} {numeral} on {background}",
        f"{size} {colour} {word}, {background} background",
        f"{colour} {numeral}, {size}, {background} background",
        f"a {background} background with a {size} {colour} {word}",
        f"the digit {numeral}, {size} and {colour}, on {background}",
        f"{_with_article(colour)} {word} on a {background} background",
        f"{colour} {numeral}, {background} background",
        f"a {size} {colour} {word}",
        f"a {size} {numeral} on {background}",
        f"{_with_article(colour)} {word}",
        f"{colour} {numeral}",
        f"{_with_article(word)} on a {background} background",
        f"{_with_article(colour)} digit on {background}",
        f"the digit {word}",
    )


def parse(prompt: str) -> dict[str, int | str]:
    """The attributes that a prompt names: {"digit": 7, "colour": "red"} of "a red seven". Other words are passed over.

    Two captions mean the same exactly where this is equal.

    Raises ValueError where the prompt names none, or two values of one attribute.
    """
    named: dict[str, int | str] = {}
    for word in re.findall(r"[^\W\d_]+|\d", prompt.lower()):
        if word not in _MEANINGS:
            continue
        attribute, value = _MEANINGS[word]
        if named.setdefault(attribute, value) != value:
            raise ValueError(f"{prompt!r} names two values of its {attribute}, {named[attribute]} and {value}")
    if not named:
        raise ValueError(
            f"{prompt!r} names no digit, no colour ({', '.join(COLOURS)}), no background ({', '.join(BACKGROUNDS)}) "
            f"and no size ({', '.join(SIZES)})"
        )
    return named


def _with_article(word: str) -> str:
    return f"{'an' if word in ('orange', 'eight') else 'a'} {word}"
