"""One training loop for every model: AdamW, warm-up and cosine decay, clipped gradients, an average of the weights, checkpoints.

A run that was stopped continues bit for bit as if it had not been (on the same machine, with the same number of threads).
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from minidiff import devices, storage
from minidiff.training import checkpoint
from minidiff.training.batches import Data
from minidiff.training.config import TrainConfig, learning_rate
from minidiff.training.ema import average

Loss = Callable[..., Tensor]
Preview = Callable[[nn.Module, int], None]


def initialised(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """`build()` with initial weights that depend on the seed alone; the global random state is left unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


class Run:
    """Everything that the next training step depends on: model, averaged model, optimiser, data, generator, and the losses so far."""

    def __init__(self, model: nn.Module, data: Data, config: TrainConfig, device: torch.device) -> None:
        self.config, self.data, self.device = config, data, device
        self.model = model.to(device)
        self.ema = average(self.model, config.ema_decay)
        groups = parameter_groups(model, config.shares)
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.losses: list[float] = []

    @property
    def step(self) -> int:
        """The number of steps done."""
        return len(self.losses)

    def advance(self, loss: Loss, autocast: AbstractContextManager) -> None:
        """Do one step. Raises FloatingPointError, with nothing changed, if the loss or the gradient is not finite."""
        step = self.step + 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(self.config, step)
        with autocast:
            value = loss(self.model, next(self.data), self.generator)
        self.optimizer.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if not (math.isfinite(value.item()) and math.isfinite(norm.item())):
            raise FloatingPointError(f"step {step}: the loss is {value.item()} and the gradient's norm {norm.item()}")
        self.optimizer.step()
        self.ema.update_parameters(self.model)
        self.losses.append(value.item())


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
    resumed = checkpoint.exists(folder)
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
            checkpoint.load(run, folder)
        run.model.train()
        size = config.batch_size
        with tqdm(total=config.steps * size, initial=run.step * size, unit=" images", unit_scale=True) as bar:
            while run.step < config.steps:
                try:
                    run.advance(loss, torch.autocast(where.type, dtype, enabled=dtype != torch.float32))
                except FloatingPointError as error:
                    saved = checkpoint.exists(folder)
                    kept = f"the last good checkpoint stays in {folder}" if saved else "there is no checkpoint yet"
                    raise FloatingPointError(f"{error}; {kept}. Try a smaller learning rate.") from None
                recent = run.losses[-50:]
                bar.update(size)
                bar.set_postfix_str(f"step {run.step}, loss {sum(recent) / len(recent):.4f}", refresh=False)
                last = run.step == config.steps
                if last or run.step % config.checkpoint_every == 0:
                    checkpoint.save(run, folder)
                if last or run.step % config.preview_every == 0:
                    storage.write(folder / "loss.png", loss_curve(run.losses))
                    if preview is not None:
                        preview(run.ema.module.eval(), run.step)
    return run.ema.module.eval()


def parameter_groups(model: nn.Module, shares: Mapping[str, Real]) -> list[dict]:
    """The parameters as an optimiser's groups: one group for each part in `shares`, with its share, and one for the rest.

    A part is a direct child of the model. Raises ValueError if the model has no child of that name.
    """
    children = dict(model.named_children())
    unknown = sorted(shares.keys() - children.keys())
    if unknown:
        raise ValueError(f"shares names {', '.join(unknown)}; the parts of this model are {', '.join(children)}")
    slowed = [{"params": list(children[part].parameters()), "share": share} for part, share in shares.items()]
    elsewhere = {id(weight) for group in slowed for weight in group["params"]}
    rest = [weight for weight in model.parameters() if id(weight) not in elsewhere]
    return [{"params": rest, "share": 1.0}, *slowed]


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
