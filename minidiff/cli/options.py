"""What several commands are asked with."""

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from minidiff import samplers
from minidiff.pipelines import folders

MODELS = f"A folder that training wrote, or a bundled model: {', '.join(folders.BUNDLED)}."
SAMPLERS = ", ".join(samplers.BY_NAME)

Given = TypeVar("Given")
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; auto asks MINIDIFF_DEVICE first.")]
Guidance = Annotated[float | None, typer.Option(help="How strongly to guide; 1 is off.", show_default="the model's")]
Negative = Annotated[str | None, typer.Option(help="What to keep away from.")]
Seed = Annotated[int, typer.Option(help="Picture i is drawn from seed + i.")]
Grid = Annotated[int, typer.Option(help="Pictures in a row of the grid.")]
Scale = Annotated[int, typer.Option(help="Width of a pixel.")]
Out = Annotated[Path, typer.Option(help="The picture to write: a .png file, a grid if there is more than one.")]


def given_or(given: Given | None, otherwise: Given) -> Given:
    """What was given on the command line, 0 too; otherwise the default."""
    return otherwise if given is None else given
