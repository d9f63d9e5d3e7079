"""One training loop for any model: AdamW, warm-up and cosine decay, clipped gradients, an average of the weights, and checkpoints from
which a run goes on bit for bit as if it had never stopped (on the same machine, with the same number of threads)."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from minidiff import devices
from minidiff.training import checkpoint
from minidiff.training.averaging import average
from minidiff.training.config import TrainConfig, learning_rate
from minidiff.training.curve import write_loss_curve
from minidiff.training.order import Order


@runtime_checkable
class Data(Protocol):
    """What can be trained on: a tensor (N, …), or anything with a length that takes a tensor of indices."""

    def __len__(self) -> int: ...
    def __getitem__(self, indices: Tensor) -> object: ...


Loss = Callable[[nn.Module, object, torch.Generator], Tensor]
Preview = Callable[[nn.Module, int], None]


def initialised(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """`build()` with weights that depend on the seed alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def parameter_groups(model: nn.Module, shares: Mapping[str, Real]) -> list[dict]:
    """The weights of a model as an optimiser's groups: each part that `shares` names with its share of the rate, the rest with all of it.

    A part is a direct child of the model. Raises ValueError where there is none of that name.
    """
    children = dict(model.named_children())
    unknown = sorted(shares.keys() - children.keys())
    if unknown:
        raise ValueError(f"shares names {', '.join(unknown)}; the parts of this model are {', '.join(children)}")
    slowed = [{"params": list(children[part].parameters()), "share": share} for part, share in shares.items()]
    elsewhere = {id(weight) for group in slowed for weight in group["params"]}
    rest = [weight for weight in model.parameters() if id(weight) not in elsewhere]
    return [{"params": rest, "share": 1.0}, *slowed]


class Run:
    """The state of a run: everything that the next step depends on."""

    def __init__(self, model: nn.Module, size: int, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.model = model.to(device)
        self.ema = average(self.model, config.ema_decay)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, config.shares),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.order = Order(size, config.batch_size, config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.losses: list[float] = []

    @property
    def step(self) -> int:
        """How many steps are done."""
        return len(self.losses)

    def save(self, folder: Path) -> None:
        """Write the checkpoint, and the averaged weights by themselves for those who only want to use them."""
        tensors = {
            **checkpoint.prefixed("model", self.model.state_dict()),
            **checkpoint.prefixed("ema", self.ema.state_dict()),
            **checkpoint.prefixed("optimizer", checkpoint.optimizer_tensors(self.optimizer)),
            **checkpoint.prefixed("order", self.order.state()),
            "generator": self.generator.get_state(),
            **checkpoint.prefixed("global", self._global_state()),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }
        checkpoint.write_tensors(folder / checkpoint.CHECKPOINT, tensors, {"training": self.config.to_dict()})
        checkpoint.write_tensors(folder / "model.safetensors", self.ema.module.state_dict())

    def load(self, folder: Path) -> None:
        """Go on from the checkpoint, one of version 0.1.0 too. Raises ValueError where it was made by another configuration or of another model."""
        tensors, metadata = checkpoint.read_tensors(folder / checkpoint.CHECKPOINT)
        tensors = checkpoint.renamed(tensors)
        now = self.config.to_dict()
        then = (
            TrainConfig(steps=now["steps"]).to_dict() | metadata["training"]
        )  # what was not known then, as by default
        changed = [f"{key} was {then[key]} and is now {now[key]}" for key in now if then[key] != now[key]]
        if changed:
            raise ValueError(f"a run goes on with the numbers it was begun with: {'; '.join(changed)}")
        try:
            self.model.load_state_dict(checkpoint.unprefixed("model", tensors))
            self.ema.load_state_dict(checkpoint.unprefixed("ema", tensors))
        except RuntimeError as error:
            raise ValueError(f"the checkpoint in {folder} is of another model: {error}") from error
        checkpoint.load_optimizer(self.optimizer, checkpoint.unprefixed("optimizer", tensors))
        self.order.load(checkpoint.unprefixed("order", tensors))
        self.generator.set_state(tensors["generator"])
        torch.set_rng_state(tensors["global.cpu"])
        if self.device.type == "cuda" and "global.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["global.cuda"], self.device)
        self.losses = tensors["losses"].tolist()

    def _global_state(self) -> dict[str, Tensor]:
        """The global generators, which dropout draws from."""
        cuda = {"cuda": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {}
        return {"cpu": torch.get_rng_state(), **cuda}

    def advance(self, loss: Loss, data: Data, autocast: AbstractContextManager) -> float:
        """One step; returns its loss. Raises FloatingPointError, with nothing changed, where loss or gradient is not finite."""
        step = self.step + 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(self.config, step)
        with autocast:
            value = loss(self.model, data[self.order.next()], self.generator)
        self.optimizer.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if not (math.isfinite(value.item()) and math.isfinite(norm.item())):
            raise FloatingPointError(f"step {step}: the loss is {value.item()} and its gradient's norm {norm.item()}")
        self.optimizer.step()
        self.ema.update_parameters(self.model)
        self.losses.append(value.item())
        return value.item()


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
    """Train a model; returns the average of its weights, in evaluation mode.

    `loss(model, batch, generator)` gives the number to minimise for `batch = data[indices]`; all its randomness comes from the generator.
    In `folder`, every `checkpoint_every` steps: checkpoint.safetensors and model.safetensors (the averaged weights); every
    `preview_every` steps: loss.png, and whatever `preview(averaged model, step)` leaves.
    With `resume` a run in `folder` goes on, if there is one. Raises ValueError where there is one and `resume` was not asked for, or
    where it was begun otherwise; FloatingPointError, naming the step, where the loss is no longer finite: the last checkpoint stays.
    """
    folder = Path(folder)
    if checkpoint.has_checkpoint(folder) and not resume:
        raise ValueError(f"there is a run in {folder} already: resume it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    where = devices.resolve(device)
    dtype = devices.fast_dtype(where) if config.precision == "auto" else getattr(torch, config.precision)
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(config.seed)
        run = Run(model, len(data), config, where)
        if checkpoint.has_checkpoint(folder):
            run.load(folder)
        # on a CPU PyTorch's fused attention goes backward several times slower than the plain product
        attention = sdpa_kernel(SDPBackend.MATH) if where.type == "cpu" else nullcontext()
        run.model.train()
        bar = tqdm(
            total=config.steps * config.batch_size,
            initial=run.step * config.batch_size,
            unit=" images",
            unit_scale=True,
        )
        with bar, attention:
            while run.step < config.steps:
                try:
                    value = run.advance(loss, data, torch.autocast(where.type, dtype, enabled=dtype != torch.float32))
                except FloatingPointError as error:
                    kept = (
                        f"the last good checkpoint stays in {folder}"
                        if checkpoint.has_checkpoint(folder)
                        else "there is no checkpoint yet"
                    )
                    raise FloatingPointError(f"{error}; {kept}. Try a smaller learning rate.") from None
                bar.update(config.batch_size)
                bar.set_postfix_str(
                    f"step {run.step}, loss {sum(run.losses[-50:]) / len(run.losses[-50:]):.4f}, now {value:.4f}",
                    refresh=False,
                )
                last = run.step == config.steps
                if last or run.step % config.checkpoint_every == 0:
                    run.save(folder)
                if last or run.step % config.preview_every == 0:
                    write_loss_curve(run.losses, folder / "loss.png")
                    if preview is not None:
                        preview(run.ema.module.eval(), run.step)
    return run.ema.module.eval()
