"""One training loop for every model: AdamW, warm-up and cosine decay, clipped gradients, an average of the weights, checkpoints.

A run that was stopped continues bit for bit as if it had not been (on the same machine, with the same number of threads).
"""

import io
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from minidiff import devices, storage
from minidiff.training.batches import Data
from minidiff.training.config import TrainConfig
from minidiff.training.run import Loss, Run, has_run

Preview = Callable[[nn.Module, int], None]


def initialised(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """`build()` with initial weights that depend on the seed alone; the global random state is left unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def train(
    model: nn.Module,
    loss: Loss,
    data: Data,
    config: TrainConfig,
    folder: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    preview: Preview | None = None,
) -> nn.Module:
    """Train a model and return the average of its weights, in evaluation mode.

    `loss(model, batch, generator)` returns the number to minimise for `batch = next(data)`; all its randomness comes from the generator.
    Files in `folder`: every `checkpoint_every` steps checkpoint.safetensors and model.safetensors (the averaged weights); every
    `preview_every` steps loss.png and whatever `preview(averaged model, step)` writes.
    With `resume` a run in `folder` is continued, if there is one. Raises ValueError if there is a run and `resume` is False, or if the run
    has other settings; FloatingPointError, with the step, if the loss is not finite: the last checkpoint is kept.
    """
    folder, where = Path(folder), devices.resolve(device)
    resumed = has_run(folder)
    if resumed and not resume:
        raise ValueError(f"there is a run in {folder} already: resume it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    dtype = devices.fast_dtype(where) if config.precision == "auto" else getattr(torch, config.precision)
    # on a CPU the backward pass of PyTorch's fused attention is several times slower than the plain product
    attention = sdpa_kernel(SDPBackend.MATH) if where.type == "cpu" else nullcontext()
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []), attention:
        torch.manual_seed(config.seed)
        run = Run(model, data, config, where)
        if resumed:
            run.load(folder)
        run.model.train()
        size = config.batch_size
        with tqdm(total=config.steps * size, initial=run.step * size, unit=" images", unit_scale=True) as bar:
            while run.step < config.steps:
                try:
                    run.advance(loss, torch.autocast(where.type, dtype, enabled=dtype != torch.float32))
                except FloatingPointError as error:
                    saved = has_run(folder)
                    kept = f"the last good checkpoint stays in {folder}" if saved else "there is no checkpoint yet"
                    raise FloatingPointError(f"{error}; {kept}. Try a smaller learning rate.") from None
                recent = run.losses[-50:]
                bar.update(size)
                bar.set_postfix_str(f"step {run.step}, loss {sum(recent) / len(recent):.4f}", refresh=False)
                last = run.step == config.steps
                if last or run.step % config.checkpoint_every == 0:
                    run.save(folder)
                if last or run.step % config.preview_every == 0:
                    storage.write(folder / "loss.png", loss_curve(run.losses))
                    if preview is not None:
                        preview(run.ema.module.eval(), run.step)
    return run.ema.module.eval()


def loss_curve(losses: Sequence[float]) -> bytes:
    """A PNG of the loss of each step and its running mean, on a logarithmic scale."""
    window = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    figure = Figure(figsize=(6, 3.2), constrained_layout=True)
    axes = figure.subplots()
    axes.plot(np.arange(1, len(losses) + 1), losses, color="#8d99ae", lw=0.5, alpha=0.7, label="each step")
    axes.plot(np.arange(len(smooth)) + (window + 1) / 2, smooth, color="#2a6f97", lw=2, label=f"mean of {window}")
    axes.set(xlabel="step", ylabel="loss", yscale="log", title="training loss")
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()
