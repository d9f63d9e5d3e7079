"""Write captions for scenes, and read the attributes that a prompt names.

A caption may name only some attributes of its scene. A picture is then right if these attributes are right.
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
    """Fifteen different captions of a scene. The first six name all four attributes, the others only some.

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
    """The attributes that a prompt names: "a red seven" gives {"digit": 7, "colour": "red"}. Other words are ignored.

    Two captions have the same meaning if and only if they give the same attributes.

    Raises ValueError if the prompt names no attribute, or two values of one attribute.
    """
    named: dict[str, int | str] = {}
    for word in re.findall(r"[^\W\d_]+|\d", prompt.lower()):
        if word not in _MEANINGS:
            continue
        attribute, value = _MEANINGS[word]
        if named.setdefault(attribute, value) != value:
            raise ValueError(f"{prompt!r} names two values of {attribute}: {named[attribute]} and {value}; name one")
    if not named:
        raise ValueError(
            f"{prompt!r} names no digit, no colour ({', '.join(COLOURS)}), no background ({', '.join(BACKGROUNDS)}) "
            f"and no size ({', '.join(SIZES)}): name at least one"
        )
    return named


def _with_article(word: str) -> str:
    return f"{'an' if word in ('orange', 'eight') else 'a'} {word}"
