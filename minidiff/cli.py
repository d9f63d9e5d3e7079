"""The command line: `minidiff train | generate | evaluate | info`."""

import dataclasses
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer

from minidiff import devices
from minidiff.data import pictures
from minidiff.metrics import digit_judge
from minidiff.pipelines.pixel import BUNDLED, SAMPLERS, PixelDiffusion
from minidiff.pipelines.recipes import DIGITS_PIXEL, train_digits_pixel

app = typer.Typer(help="Diffusion models from scratch.", no_args_is_help=True, pretty_exceptions_enable=False)

Device = Annotated[str, typer.Option(help="auto, cpu or cuda; auto asks MINIDIFF_DEVICE first.")]
Model = Annotated[
    str, typer.Option("--model", help=f"A folder that training wrote, or a bundled model: {', '.join(BUNDLED)}.")
]
Seed = Annotated[int, typer.Option(help="Picture i is drawn from seed + i.")]
Steps = Annotated[int, typer.Option(help="Steps of the sampler: how often the network is asked.")]
Sampler = Annotated[str, typer.Option(help=f"{' or '.join(SAMPLERS)}.")]


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="What to train: digits-pixel.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/RECIPE")] = None,
    steps: Annotated[int, typer.Option(help="Batches to train on.")] = DIGITS_PIXEL.steps,
    batch_size: Annotated[int, typer.Option(help="Pictures in a batch.")] = DIGITS_PIXEL.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Its largest value.")] = DIGITS_PIXEL.learning_rate,
    seed: Annotated[int, typer.Option(help="Of weights, data order and noise.")] = DIGITS_PIXEL.seed,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = DIGITS_PIXEL.precision,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
    ] = False,
) -> None:
    """Train a model. Its folder can be used by `generate` from the first checkpoint on; samples and the loss curve appear there."""
    if recipe != "digits-pixel":
        raise ValueError(f"unknown recipe {recipe!r}: choose digits-pixel")
    config = dataclasses.replace(
        DIGITS_PIXEL, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed, precision=precision
    )
    folder = out or Path("runs") / recipe
    train_digits_pixel(folder, config, device=device, resume=resume)
    typer.echo(f"model, samples and loss curve: {folder}")


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="The picture to write, a grid of all samples: a .png file.")],
    model: Model = "digits-pixel",
    count: Annotated[int, typer.Option(help="How many samples.")] = 64,
    steps: Steps = 100,
    sampler: Sampler = "ddpm",
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(help="How many samples at a time.")] = 64,
    columns: Annotated[int, typer.Option(help="Samples in a row of the grid.")] = 8,
    strip: Annotated[
        Path | None, typer.Option(help="Also write the first sample on its way from noise, as one .png row.")
    ] = None,
    gif: Annotated[Path | None, typer.Option(help="Also write that as a .gif.")] = None,
    device: Device = "auto",
) -> None:
    """Draw samples from a trained model."""
    for path, suffix in ((out, ".png"), (strip, ".png"), (gif, ".gif")):
        if path is not None and path.suffix.lower() != suffix:
            raise ValueError(f"expected a file name that ends in {suffix}, got {path}")
    pixel = PixelDiffusion.load(model, device)
    samples = pixel.generate(count, steps=steps, sampler=sampler, seed=seed, batch_size=batch_size)
    pictures.save_png(pictures.grid(2 * samples - 1, columns, scale=2), out)
    typer.echo(f"samples: {out}")
    if strip is None and gif is None:
        return
    path = [step.x_t.cpu() for step in pixel.sample(1, steps=steps, sampler=sampler, seed=seed)]
    shown = [path[round(i * (len(path) - 1) / 9)] for i in range(10)]
    if strip is not None:
        pictures.save_png(pictures.grid(torch.cat(shown), columns=10, scale=3), strip)
        typer.echo(f"one sample being denoised: {strip}")
    if gif is not None:
        frames = [pictures.grid(x_t, columns=1, scale=6) for x_t in path]
        pictures.save_gif(frames, gif, seconds_per_frame=0.05)
        typer.echo(f"the same as an animation: {gif}")


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help=f"A folder that training wrote, or a bundled model: {', '.join(BUNDLED)}.")
    ],
    count: Annotated[int, typer.Option(help="How many samples to judge.")] = 512,
    steps: Steps = 100,
    sampler: Sampler = "ddpm",
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Judge samples of digits by a classifier trained on the real ones (which takes about a minute)."""
    pixel = PixelDiffusion.load(model, device)
    samples = pixel.generate(count, steps=steps, sampler=sampler, seed=seed)
    judge = digit_judge.train_judge(device=str(pixel.device), progress=sys.stderr.isatty())
    report = digit_judge.report(judge, 2 * samples - 1)
    typer.echo(f"the judge names {report.test_accuracy:.1%} of the real test digits rightly")
    typer.echo(
        f"it is sure (confidence ≥ 0.9) of {report.real_share:.1%} of the real digits and of {report.sample_share:.1%} of the samples: {report.ratio:.3f} ×"
    )
    shares = "  ".join(f"{digit}: {share:.1%}" for digit, share in enumerate(report.class_shares))
    typer.echo(f"among those samples: {shares}")


@app.command()
def info(model: Annotated[str | None, typer.Option("--model", help="Also describe this model.")] = None) -> None:
    """Versions, device and bundled models; or what a model is."""
    typer.echo(f"minidiff {version('minidiff')}, torch {torch.__version__}, Python {platform.python_version()}")
    device = devices.resolve()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    typer.echo(f"device: {device} ({name}), training in {str(devices.fast_dtype(device)).removeprefix('torch.')}")
    typer.echo(f"bundled models: {', '.join(BUNDLED)}")
    if model is not None:
        pixel = PixelDiffusion.load(model, "cpu")
        parameters = sum(p.numel() for p in pixel.unet.parameters())
        typer.echo(
            f"{model}: {parameters:,} parameters, predicts {pixel.prediction_type}, schedule {pixel.schedule_config}, {pixel.size}×{pixel.size} pixels"
        )
        typer.echo(str(pixel.config))


def main() -> None:
    """Run the command line; a user's mistake gets one line, not a traceback."""
    try:
        app(standalone_mode=True)
    except (ValueError, TypeError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"minidiff: {error}")
    except KeyboardInterrupt:
        sys.exit("\nminidiff: stopped; a run goes on from its last checkpoint with --resume")
