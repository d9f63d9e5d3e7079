"""The state of a training run: one step forward, saved to a checkpoint, and loaded from it."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff import storage
from minidiff.training.batches import Data
from minidiff.training.config import TrainConfig, learning_rate
from minidiff.training.ema import average

Loss = Callable[..., Tensor]


def has_run(folder: Path) -> bool:
    """Whether the folder holds a run that can be resumed."""
    return (folder / storage.CHECKPOINT).is_file()


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

    def save(self, folder: Path) -> None:
        """Write the checkpoint, and the averaged weights in a file of their own."""
        tensors = {
            **_prefixed("model", self.model.state_dict()),
            **_prefixed("ema", self.ema.state_dict()),
            **_prefixed("optimizer", _optimizer_tensors(self.optimizer)),
            **_prefixed("data", self.data.state()),
            "generator": self.generator.get_state(),
            "global.cpu": torch.get_rng_state(),  # dropout draws from the global generators
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }
        if self.device.type == "cuda":
            tensors["global.cuda"] = torch.cuda.get_rng_state(self.device)
        storage.write_tensors(folder / storage.CHECKPOINT, tensors, {"training": self.config.to_dict()})
        storage.write_weights(self.ema.module, folder / "model.safetensors")

    def load(self, folder: Path) -> None:
        """Continue from the checkpoint in the folder. Raises ValueError if it has other settings, another model or other data.

        A setting that the checkpoint does not know, because it is older than the setting, counts as the setting's default.
        """
        tensors, metadata = storage.read_tensors(folder / storage.CHECKPOINT)
        tensors = storage.with_current_names(tensors)
        now = self.config.to_dict()
        then = TrainConfig(steps=self.config.steps).to_dict() | metadata["training"]
        changed = [f"{key} was {then[key]} and is now {now[key]}" for key in now if then[key] != now[key]]
        if changed:
            raise ValueError(f"a resumed run must keep its settings: {'; '.join(changed)}")
        try:
            self.model.load_state_dict(_unprefixed("model", tensors))
            self.ema.load_state_dict(_unprefixed("ema", tensors))
        except RuntimeError as error:
            raise ValueError(f"the checkpoint in {folder} belongs to another model: {error}") from error
        _load_optimizer(self.optimizer, _unprefixed("optimizer", tensors))
        self.data.load(_unprefixed("data", tensors))
        self.generator.set_state(tensors["generator"])
        torch.set_rng_state(tensors["global.cpu"])
        if self.device.type == "cuda" and "global.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["global.cuda"], self.device)
        self.losses = tensors["losses"].tolist()


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


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _unprefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
