"""Editing pictures that are there already."""

from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from minidiff.cli.options import MODELS, SAMPLERS, Device, Grid, Guidance, Negative, Out, Scale, Seed, given_or
from minidiff.data import images as data_images
from minidiff.data import pictures
from minidiff.pipelines import PixelDiffusion, TextToImage, folders

app = typer.Typer()

Picture = Annotated[
    Path, typer.Argument(help="The picture; its middle square is scaled to the model's size.", show_default=False)
]
Prompt = Annotated[str, typer.Argument(help="What it is to show.", show_default=False)]
Model = Annotated[str, typer.Option(help=MODELS)]
Steps = Annotated[int, typer.Option(help="Steps of the sampler, from pure noise on.")]
Sampler = Annotated[str, typer.Option(help=f"One of {SAMPLERS}.")]
Count = Annotated[int, typer.Option(help="How many results, each from a seed of its own.")]
Resampling = Annotated[int, typer.Option(help="Go each step so many times, to bring old and new into agreement.")]


@app.command()
def edit(
    picture: Picture,
    prompt: Prompt,
    strength: Annotated[
        float, typer.Option(help="How far from the picture, above 0 and up to 1, where nothing of it is kept.")
    ] = 0.6,
    out: Out = Path("edited.png"),
    model: Model = "digits",
    negative: Negative = None,
    guidance: Guidance = None,
    steps: Steps = 25,
    sampler: Sampler = "ddim",
    seed: Seed = 0,
    count: Count = 1,
    grid: Grid = 8,
    scale: Scale = 4,
    device: Device = "auto",
) -> None:
    """Draw a picture again, as a prompt says, beginning from it instead of from noise."""
    settings = _Settings(model, prompt, negative, guidance, steps, sampler, seed, count, device)
    edited = settings.model.image_to_image(settings.read(picture), **settings.asked, strength=strength)
    settings.save(edited, out, grid, scale, {"picture": str(picture), "strength": strength})


@app.command()
def inpaint(
    picture: Picture,
    prompt: Prompt,
    mask: Annotated[
        Path | None, typer.Option(help="White where to repaint, black where to keep: a picture of the same size.")
    ] = None,
    box: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(help="Or a box of the picture's pixels: left, top, right, bottom.", show_default=False),
    ] = None,
    out: Out = Path("inpainted.png"),
    model: Model = "digits",
    negative: Negative = None,
    guidance: Guidance = None,
    steps: Steps = 25,
    sampler: Sampler = "ddim",
    resampling: Resampling = 1,
    paste: Annotated[bool, typer.Option(help="Put the kept pixels themselves into the result.")] = True,
    seed: Seed = 0,
    count: Count = 1,
    grid: Grid = 8,
    scale: Scale = 4,
    device: Device = "auto",
) -> None:
    """Repaint a part of a picture: that which a mask or a box marks."""
    if (mask is None) == (box is None):
        raise ValueError("say what to repaint by --mask FILE or by --box LEFT TOP RIGHT BOTTOM, and not by both")
    settings = _Settings(model, prompt, negative, guidance, steps, sampler, seed, count, device)
    marked = data_images.read_mask(mask if box is None else box, picture, settings.model.size)
    images = settings.read(picture)
    painted = settings.model.inpaint(images, marked, **settings.asked, resampling=resampling, paste=paste)
    where = {"mask": str(mask)} if box is None else {"box": box}
    settings.save(painted, out, grid, scale, {"picture": str(picture), "resampling": resampling} | where)


@app.command()
def outpaint(
    picture: Picture,
    prompt: Prompt,
    padding: Annotated[int, typer.Option(help="Pixels to add on each side, of the model's pixels.")] = 8,
    out: Out = Path("outpainted.png"),
    model: Model = "digits",
    negative: Negative = None,
    guidance: Guidance = None,
    steps: Steps = 25,
    sampler: Sampler = "ddim",
    resampling: Resampling = 1,
    seed: Seed = 0,
    count: Count = 1,
    grid: Grid = 8,
    scale: Scale = 4,
    device: Device = "auto",
) -> None:
    """Draw what lies around a picture."""
    settings = _Settings(model, prompt, negative, guidance, steps, sampler, seed, count, device)
    wider = settings.model.outpaint(settings.read(picture), **settings.asked, padding=padding, resampling=resampling)
    settings.save(wider, out, grid, scale, {"picture": str(picture), "padding": padding, "resampling": resampling})


class _Settings:
    """What the three commands share: the model, what is asked of it, and the notes in the result."""

    def __init__(
        self,
        model: str,
        prompt: str,
        negative: str | None,
        guidance: float | None,
        steps: int,
        sampler: str,
        seed: int,
        count: int,
        device: str,
    ) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        folder = folders.find(model)
        if folders.read_config(folder)["kind"] == PixelDiffusion.KIND:
            raise ValueError(f"{model} knows no prompts and cannot edit: choose another model")
        self.model, self.count = TextToImage.load(folder, device), count
        scale = float(given_or(guidance, self.model.guidance_scale))
        numbers = {"steps": steps, "sampler": sampler, "seed": seed, "guidance_scale": scale}
        away = None if negative is None else [negative] * count
        self.asked = {"prompts": [prompt] * count, "negative_prompts": away, **numbers}
        self.notes = {
            "model": model,
            "weights": folders.digest(folder),
            "prompt": prompt,
            "negative": negative,
        } | numbers

    def read(self, picture: Path) -> Tensor:
        """The picture as often as it is asked for, in [0, 1]."""
        return ((data_images.read(picture, self.model.size) + 1) / 2)[None].repeat(self.count, 1, 1, 1)

    def save(self, images: Tensor, out: Path, grid: int, scale: int, notes: dict) -> None:
        pictures.save_png(pictures.grid(2 * images - 1, grid, scale=scale), out, self.notes | notes)
        typer.echo(f"picture: {out}")
