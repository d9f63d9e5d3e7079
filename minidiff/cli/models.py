"""The commands train, generate, evaluate and info."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer

from minidiff import devices, storage
from minidiff.cli.options import MODELS, Count, Device, Grid, Negative, Out, Sampling, with_options
from minidiff.data import pictures
from minidiff.pipelines import load
from minidiff.recipes import RECIPES, train_recipe
from minidiff.recipes.evaluate import evaluate as evaluate_model

app = typer.Typer()


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help=f"What to train: {', '.join(RECIPES)}, or a folder of images with captions.")
    ],
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default="runs/RECIPE")] = None,
    steps: Annotated[int | None, typer.Option(help="Batches to train on.", show_default="the recipe's")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a batch.", show_default="the recipe's")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its largest value.", show_default="the recipe's")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, data order and noise.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder, if there is one.")] = False,
) -> None:
    """Train a model. Samples and loss curves are written into its folder during training.

    A model with prompts is trained in three stages; --steps, --batch-size and --learning-rate belong to the last, the U-Net.
    """
    given = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    changes = {name: value for name, value in given.items() if value is not None}
    folder = out or Path("runs") / Path(recipe).name
    train_recipe(recipe, folder, changes | {"seed": seed, "precision": precision}, device=device, resume=resume)
    typer.echo(f"model, samples and loss curves: {folder}")


@app.command()
@with_options
def generate(
    sampling: Sampling,
    grid: Grid,
    prompts: Annotated[
        list[str] | None, typer.Argument(help="What to draw: one image for each prompt.", show_default=False)
    ] = None,
    out: Out = Path("picture.png"),
    model: Annotated[str, typer.Option(help=MODELS)] = "digits",
    negative: Negative = None,
    count: Count = None,
    batch_size: Annotated[int, typer.Option(help="Images drawn at a time.")] = 64,
    strip: Annotated[
        Path | None, typer.Option(help="Also write ten steps of the first image, from noise on, as a .png row.")
    ] = None,
    gif: Annotated[Path | None, typer.Option(help="Also write all steps of the first image as a .gif.")] = None,
    device: Device = "auto",
) -> None:
    """Draw images from prompts, or samples of a model without prompts. The .png file records how they were made."""
    for path, suffix in ((out, ".png"), (strip, ".png"), (gif, ".gif")):
        if path is not None and path.suffix.lower() != suffix:
            raise ValueError(f"expected a file name that ends in {suffix}, got {path}")
    pipeline = load(model, device)
    repeats = (64 if not prompts else 1) if count is None else count
    asked = pipeline.requested([prompt for prompt in prompts for _ in range(repeats)] if prompts else repeats)
    negative_prompts = None if negative is None else [negative] * len(asked)
    settings = sampling.settings(pipeline)
    images = pipeline.generate(asked, negative_prompts=negative_prompts, batch_size=batch_size, **settings)
    weights = storage.digest(storage.find_model(model))
    notes = {"model": model, "weights": weights, "prompts": asked, "negative": negative}
    grid.save(images, out, notes | settings)
    if strip is None and gif is None:
        return
    path = pipeline.sample(asked[:1], negative_prompts=negative_prompts and negative_prompts[:1], **settings)
    frames = [pipeline.decode(step.x_t) for step in path]
    if strip is not None:
        shown = [frames[round(i * (len(frames) - 1) / 9)] for i in range(10)]
        pictures.save_png(pictures.grid(2 * torch.cat(shown) - 1, columns=10, scale=grid.scale), strip)
        typer.echo(f"one picture being denoised: {strip}")
    if gif is not None:
        grids = [pictures.grid(2 * frame - 1, columns=1, scale=2 * grid.scale) for frame in frames]
        pictures.save_gif(grids, gif, seconds_per_frame=0.05)
        typer.echo(f"the same as an animation: {gif}")


@app.command()
@with_options
def evaluate(
    sampling: Sampling,
    model: Annotated[str, typer.Argument(help=MODELS)],
    count: Annotated[
        int | None,
        typer.Option(
            help="How many images to judge.", show_default="1000 of each kind, 200 emoji, 512 without prompts"
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Draw images and judge them: do they show what was asked for, compared with real images?

    The judge is a network that is trained first: for digits in about a minute on one core, for emoji in some minutes.
    """
    settings = {"steps": sampling.steps, "sampler": sampling.sampler, "guidance_scale": sampling.guidance}
    for line in evaluate_model(model, count, seed=sampling.seed, device=device, **settings):
        typer.echo(line)


@app.command()
def info(
    model: Annotated[str | None, typer.Option("--model", help="Also describe this model.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also say how `generate` made this .png.")] = None,
) -> None:
    """Print versions, the device and the bundled models; describe a model; say how a picture was made."""
    typer.echo(f"minidiff {version('minidiff')}, torch {torch.__version__}, Python {platform.python_version()}")
    device = devices.resolve()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    typer.echo(f"device: {device} ({name}), training in {str(devices.fast_dtype(device)).removeprefix('torch.')}")
    typer.echo(f"bundled models: {', '.join(storage.BUNDLED)}")
    if model is not None:
        typer.echo(f"{model}: {load(model, 'cpu').summary()}")
    if picture is not None:
        notes = "\n".join(f"  {name}: {value}" for name, value in pictures.read_notes(picture).items())
        typer.echo(f"{picture}:\n{notes}")
