"""The commands edit, inpaint and outpaint."""

from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from minidiff import storage
from minidiff.cli.options import MODELS, Device, Grid, Negative, Out, Sampling, with_options
from minidiff.data import images as data_images
from minidiff.pipelines import TextToImage, load

app = typer.Typer()

Picture = Annotated[
    Path, typer.Argument(help="The picture; its central square is scaled to the model's size.", show_default=False)
]
Prompt = Annotated[str, typer.Argument(help="What the result is to show.", show_default=False)]
Model = Annotated[str, typer.Option(help=MODELS)]
Count = Annotated[int, typer.Option(help="How many results, each from its own seed.")]
Resampling = Annotated[int, typer.Option(help="How often each step is done; more makes old and new parts agree.")]


@app.command()
@with_options
def edit(
    picture: Picture,
    prompt: Prompt,
    sampling: Sampling,
    grid: Grid,
    strength: Annotated[
        float, typer.Option(help="How much to change, above 0 and up to 1, where almost nothing is kept.")
    ] = 0.6,
    out: Out = Path("edited.png"),
    model: Model = "digits",
    negative: Negative = None,
    count: Count = 1,
    device: Device = "auto",
) -> None:
    """Draw a picture again as a prompt says, starting from the picture instead of pure noise."""
    pipeline = editor(model, device)
    asked = request(pipeline, prompt, negative, count, sampling)
    images = repeated(picture, pipeline, count)
    edited = pipeline.image_to_image(images, **asked, strength=strength)
    grid.save(edited, out, notes(model, asked) | {"picture": str(picture), "strength": strength})


@app.command()
@with_options
def inpaint(
    picture: Picture,
    prompt: Prompt,
    sampling: Sampling,
    grid: Grid,
    mask: Annotated[
        Path | None, typer.Option(help="White where to repaint, black where to keep: a picture of the same size.")
    ] = None,
    box: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(help="Or a box in pixels of the picture: left, top, right, bottom.", show_default=False),
    ] = None,
    out: Out = Path("inpainted.png"),
    model: Model = "digits",
    negative: Negative = None,
    resampling: Resampling = 1,
    paste: Annotated[bool, typer.Option(help="Copy the kept pixels themselves into the result.")] = True,
    count: Count = 1,
    device: Device = "auto",
) -> None:
    """Repaint the part of a picture that a mask or a box marks."""
    if (mask is None) == (box is None):
        raise ValueError("say what to repaint: either --mask FILE or --box LEFT TOP RIGHT BOTTOM")
    pipeline = editor(model, device)
    asked = request(pipeline, prompt, negative, count, sampling)
    marked = data_images.read_mask(mask if box is None else box, picture, pipeline.size)
    images = repeated(picture, pipeline, count)
    painted = pipeline.inpaint(images, marked, **asked, resampling=resampling, paste=paste)
    where = {"mask": str(mask)} if box is None else {"box": box}
    grid.save(painted, out, notes(model, asked) | {"picture": str(picture), "resampling": resampling} | where)


@app.command()
@with_options
def outpaint(
    picture: Picture,
    prompt: Prompt,
    sampling: Sampling,
    grid: Grid,
    padding: Annotated[int, typer.Option(help="Pixels to add on each side, in the model's pixels.")] = 8,
    out: Out = Path("outpainted.png"),
    model: Model = "digits",
    negative: Negative = None,
    resampling: Resampling = 1,
    count: Count = 1,
    device: Device = "auto",
) -> None:
    """Draw what lies around a picture."""
    pipeline = editor(model, device)
    asked = request(pipeline, prompt, negative, count, sampling)
    wider = pipeline.outpaint(repeated(picture, pipeline, count), **asked, padding=padding, resampling=resampling)
    options = {"picture": str(picture), "padding": padding, "resampling": resampling}
    grid.save(wider, out, notes(model, asked) | options)


def editor(model: str, device: str) -> TextToImage:
    """The model, if it can edit. Raises ValueError if it draws without prompts."""
    pipeline = load(model, device)
    if not isinstance(pipeline, TextToImage):
        raise ValueError(f"{model} draws without prompts and cannot edit: choose another model")
    return pipeline


def request(pipeline: TextToImage, prompt: str, negative: str | None, count: int, sampling: Sampling) -> dict[str, Any]:
    """What an editing method is asked for. Raises ValueError for a count below 1."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    negative_prompts = None if negative is None else [negative] * count
    return {"prompts": [prompt] * count, "negative_prompts": negative_prompts, **sampling.settings(pipeline)}


def repeated(picture: Path, pipeline: TextToImage, count: int) -> Tensor:
    """The picture `count` times, in [0, 1]."""
    return ((data_images.read(picture, pipeline.size) + 1) / 2)[None].repeat(count, 1, 1, 1)


def notes(model: str, asked: dict[str, Any]) -> dict[str, Any]:
    """How a picture was made, for its .png file."""
    (prompt, *_), negative = asked["prompts"], asked["negative_prompts"]
    numbers = {name: value for name, value in asked.items() if "prompts" not in name}
    weights = storage.digest(storage.find_model(model))
    return {"model": model, "weights": weights, "prompt": prompt, "negative": negative and negative[0]} | numbers
