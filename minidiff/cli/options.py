"""Options that several commands share."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from minidiff import samplers, storage
from minidiff.data import pictures
from minidiff.pipelines import Pipeline

MODELS = f"A folder that training wrote, or a bundled model: {', '.join(storage.BUNDLED)}."
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; auto reads MINIDIFF_DEVICE first.")]
Count = Annotated[
    int | None, typer.Option(help="Images of each prompt.", show_default="1; 64 for a model without prompts")
]
Negative = Annotated[str | None, typer.Option(help="A prompt to guide away from.")]
Out = Annotated[Path, typer.Option(help="The .png file to write; several images are put into a grid.")]


@dataclass(frozen=True)
class Sampling:
    """How a model draws. A value of None means the model's own."""

    guidance: Annotated[
        float | None, typer.Option(help="Strength of the guidance; 1 is off.", show_default="the model's")
    ] = None
    steps: Annotated[
        int | None, typer.Option(help="Steps of the sampler.", show_default="25 with prompts, 100 without")
    ] = None
    sampler: Annotated[
        str | None,
        typer.Option(help=f"One of {', '.join(samplers.BY_NAME)}.", show_default="ddim with prompts, ddpm without"),
    ] = None
    seed: Annotated[int, typer.Option(help="Image i is drawn from seed + i.")] = 0

    def settings(self, model: Pipeline) -> dict[str, Any]:
        """The arguments of `generate`, with the model's own values filled in."""
        scale = model.guidance_scale if self.guidance is None else self.guidance
        return {
            "steps": model.STEPS if self.steps is None else self.steps,
            "sampler": self.sampler or model.SAMPLER,
            "seed": self.seed,
            "guidance_scale": float(scale),
        }


@dataclass(frozen=True)
class Grid:
    """How images are written into one file."""

    grid: Annotated[int, typer.Option(help="Images in a row of the grid.")] = 8
    scale: Annotated[int, typer.Option(help="Screen pixels for each pixel of an image.")] = 4

    def save(self, images: Any, out: Path, notes: dict) -> None:
        """Write images in [0, 1] as a .png file that records how they were made."""
        pictures.save_png(pictures.grid(2 * images - 1, self.grid, scale=self.scale), out, notes)
        typer.echo(f"picture: {out}")


def with_options(command: Callable) -> Callable:
    """A command whose parameters of type Sampling or Grid are given on the command line as one option for each of their fields."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if hint in (Sampling, Grid)}
    parameters = [
        parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in groups
    ]
    for group in groups.values():
        of_fields = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=of_fields[f.name])
            for f in fields(group)
        ]

    @wraps(command)
    def run(**given: Any) -> None:
        collected = {
            name: group(**{f.name: given.pop(f.name) for f in fields(group)}) for name, group in groups.items()
        }
        command(**given, **collected)

    del run.__wrapped__
    run.__signature__ = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
