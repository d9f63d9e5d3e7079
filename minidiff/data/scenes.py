"""The digits, colours, backgrounds and sizes of captioned digits, and the combinations that training never sees.

Least distances in CIELAB (`cielab.to_lab`): 45 between two colours, 48 between a colour and a background, 37 between two backgrounds.
"""

from dataclasses import dataclass
from itertools import product

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (225, 35, 40),
    "orange": (255, 135, 0),
    "yellow": (250, 215, 30),
    "green": (60, 185, 70),
    "cyan": (40, 230, 225),
    "blue": (30, 110, 240),
    "purple": (165, 40, 210),
    "pink": (255, 135, 200),
}

BACKGROUNDS: dict[str, RGB] = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (145, 145, 145),
    "navy": (10, 20, 85),
    "maroon": (100, 10, 35),
    "teal": (0, 75, 100),
}

SIZES: dict[str, int] = {"small": 14, "medium": 20, "large": 28}  # height of the digit, in pixels

# One digit is held out of every pair of a background and a colour: 48 of the 480 triples. These are 6 of the 60 triples
# of each colour, 8 of the 80 of each background, and 4 or 5 of the 48 of each digit.
HELD_OUT: frozenset[tuple[str, int, str]] = frozenset(
    (colour, pair % 10, background) for pair, (background, colour) in enumerate(product(BACKGROUNDS, COLOURS))
)


@dataclass(frozen=True)
class Scene:
    """One digit with its colour, background and size. Raises ValueError for a value that is not listed above."""

    digit: int
    colour: str
    background: str
    size: str

    def __post_init__(self) -> None:
        known = {"digit": range(10), "colour": COLOURS, "background": BACKGROUNDS, "size": SIZES}
        for attribute, values in known.items():
            if getattr(self, attribute) not in values:
                raise ValueError(
                    f"unknown {attribute} {getattr(self, attribute)!r}: choose one of {', '.join(map(str, values))}"
                )

    @property
    def is_held_out(self) -> bool:
        """True if training never sees this colour, digit and background together."""
        return (self.colour, self.digit, self.background) in HELD_OUT
