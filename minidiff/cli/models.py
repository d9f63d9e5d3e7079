"""Training models, drawing with them, judging them, and asking what they are."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer

from minidiff import devices
from minidiff.cli.options import MODELS, SAMPLERS, Device, Grid, Guidance, Negative, Out, Scale, Seed, given_or
from minidiff.data import pictures
from minidiff.pipelines import PixelDiffusion, TextToImage, folders, load, recipes, reports

app = typer.Typer()

Steps = Annotated[int | None, typer.Option(help="Steps of the sampler.", show_default="25 with prompts, 100 without")]
Sampler = Annotated[
    str | None, typer.Option(help=f"One of {SAMPLERS}.", show_default="ddim with prompts, ddpm without")
]


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help=f"What to train: {', '.join(recipes.RECIPES)}.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/RECIPE")] = None,
    steps: Annotated[int | None, typer.Option(help="Batches to train on.", show_default="the recipe's")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures in a batch.", show_default="the recipe's")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its largest value.", show_default="the recipe's")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, data order and noise.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
    ] = False,
) -> None:
    """Train a model. Samples and loss curves appear in its folder while it learns.

    A model of prompts is trained in three stages; --steps, --batch-size and --learning-rate are those of the last, the U-Net.
    """
    given = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    changes = {name: value for name, value in given.items() if value is not None}
    folder = out or Path("runs") / Path(recipe).name
    recipes.train_recipe(recipe, folder, changes | {"seed": seed, "precision": precision}, device=device, resume=resume)
    typer.echo(f"model, samples and loss curves: {folder}")


@app.command()
def generate(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="What to draw: a picture for each prompt.", show_default=False)
    ] = None,
    out: Out = Path("picture.png"),
    model: Annotated[str, typer.Option(help=MODELS)] = "digits",
    negative: Negative = None,
    guidance: Guidance = None,
    steps: Steps = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    count: Annotated[
        int | None, typer.Option(help="Pictures of each prompt.", show_default="1; 64 for a model without prompts")
    ] = None,
    grid: Grid = 8,
    scale: Scale = 4,
    batch_size: Annotated[int, typer.Option(help="How many pictures at a time.")] = 64,
    strip: Annotated[
        Path | None, typer.Option(help="Also write the first picture on its way from noise, as one .png row.")
    ] = None,
    gif: Annotated[Path | None, typer.Option(help="Also write that as a .gif.")] = None,
    device: Device = "auto",
) -> None:
    """Draw pictures: of prompts, or samples of a model that knows none. How they were made is noted in the PNG."""
    for path, suffix in ((out, ".png"), (strip, ".png"), (gif, ".gif")):
        if path is not None and path.suffix.lower() != suffix:
            raise ValueError(f"expected a file name that ends in {suffix}, got {path}")
    folder = folders.find(model)
    notes = {"model": model, "weights": folders.digest(folder), "seed": seed}
    if folders.read_config(folder)["kind"] == PixelDiffusion.KIND:
        if prompts or negative:
            raise ValueError(f"{model} knows no prompts: leave out prompts and --negative, or choose another model")
        pixel = PixelDiffusion.load(folder, device)
        settings = {
            "steps": given_or(steps, 100),
            "sampler": given_or(sampler, "ddpm"),
            "seed": seed,
            "guidance_scale": float(given_or(guidance, pixel.guidance_scale)),
        }
        images = pixel.generate(given_or(count, 64), **settings, batch_size=batch_size)
        path = ((step.x_t.cpu() + 1) / 2 for step in pixel.sample(1, **settings))
    else:
        if not prompts:
            raise ValueError(f'{model} draws what it is told: minidiff generate "a red seven"')
        text = TextToImage.load(folder, device)
        settings = {
            "steps": given_or(steps, 25),
            "sampler": given_or(sampler, "ddim"),
            "seed": seed,
            "guidance_scale": float(given_or(guidance, text.guidance_scale)),
        }
        asked = [prompt for prompt in prompts for _ in range(given_or(count, 1))]
        away = None if negative is None else [negative] * len(asked)
        images = text.generate(asked, negative_prompts=away, **settings, batch_size=batch_size)
        path = (
            text.decode(step.x_t) for step in text.sample(asked[:1], negative_prompts=away and away[:1], **settings)
        )
        notes |= {"prompts": asked, "negative": negative}
    pictures.save_png(pictures.grid(2 * images - 1, grid, scale=scale), out, notes | settings)
    typer.echo(f"picture: {out}")
    if strip is None and gif is None:
        return
    frames = list(path)
    if strip is not None:
        shown = [frames[round(i * (len(frames) - 1) / 9)] for i in range(10)]
        pictures.save_png(pictures.grid(2 * torch.cat(shown) - 1, columns=10, scale=scale), strip)
        typer.echo(f"one picture being denoised: {strip}")
    if gif is not None:
        grids = [pictures.grid(2 * frame - 1, columns=1, scale=2 * scale) for frame in frames]
        pictures.save_gif(grids, gif, seconds_per_frame=0.05)
        typer.echo(f"the same as an animation: {gif}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help=MODELS)],
    count: Annotated[
        int | None,
        typer.Option(
            help="How many pictures to judge.", show_default="1000 of each kind, 200 emoji, 512 without prompts"
        ),
    ] = None,
    guidance: Guidance = None,
    steps: Steps = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Draw pictures and judge them, against what was asked for and beside real ones, by networks that are trained for it on the spot.

    Digits are judged by a classifier of real ones, a minute of one core; emoji by a CLIP with another seed, some minutes.
    """
    settings = {"steps": steps, "sampler": sampler, "guidance_scale": guidance, "seed": seed, "device": device}
    for line in reports.evaluate(model, count, **settings):
        typer.echo(line)


@app.command()
def info(
    model: Annotated[str | None, typer.Option("--model", help="Also describe this model.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also say how `generate` made this .png.")] = None,
) -> None:
    """Versions, device and bundled models; what a model is; how a picture was made."""
    typer.echo(f"minidiff {version('minidiff')}, torch {torch.__version__}, Python {platform.python_version()}")
    device = devices.resolve()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    typer.echo(f"device: {device} ({name}), training in {str(devices.fast_dtype(device)).removeprefix('torch.')}")
    typer.echo(f"bundled models: {', '.join(folders.BUNDLED)}")
    if model is not None:
        typer.echo(f"{model}: {load(model, 'cpu').summary()}")
    if picture is not None:
        notes = "\n".join(f"  {name}: {value}" for name, value in pictures.read_notes(picture).items())
        typer.echo(f"{picture}:\n{notes}")
