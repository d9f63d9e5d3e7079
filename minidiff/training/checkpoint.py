"""Checkpoints: everything that the next training step depends on, in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minidiff import storage
from minidiff.training.config import TrainConfig

if TYPE_CHECKING:
    from minidiff.training.loop import Run

CHECKPOINT = "checkpoint.safetensors"


def exists(folder: Path) -> bool:
    """Whether the folder holds a run that can be resumed."""
    return (folder / CHECKPOINT).is_file()


def save(run: "Run", folder: Path) -> None:
    """Write the checkpoint, and the averaged weights in a file of their own."""
    tensors = {
        **_prefixed("model", run.model.state_dict()),
        **_prefixed("ema", run.ema.state_dict()),
        **_prefixed("optimizer", _optimizer_tensors(run.optimizer)),
        **_prefixed("data", run.data.state()),
        "generator": run.generator.get_state(),
        "global.cpu": torch.get_rng_state(),  # dropout draws from the global generators
        "losses": torch.tensor(run.losses, dtype=torch.float64),
    }
    if run.device.type == "cuda":
        tensors["global.cuda"] = torch.cuda.get_rng_state(run.device)
    storage.write_tensors(folder / CHECKPOINT, tensors, {"training": run.config.to_dict()})
    storage.write_weights(run.ema.module, folder / "model.safetensors")


def load(run: "Run", folder: Path) -> None:
    """Continue from the checkpoint in the folder. Raises ValueError if it has other settings, another model or other data.

    A setting that the checkpoint does not know, because it is older than the setting, counts as the setting's default.
    """
    tensors, metadata = storage.read_tensors(folder / CHECKPOINT)
    tensors = storage.with_current_names(tensors)
    now = run.config.to_dict()
    then = TrainConfig(steps=run.config.steps).to_dict() | metadata["training"]
    changed = [f"{key} was {then[key]} and is now {now[key]}" for key in now if then[key] != now[key]]
    if changed:
        raise ValueError(f"a resumed run must keep its settings: {'; '.join(changed)}")
    try:
        run.model.load_state_dict(_unprefixed("model", tensors))
        run.ema.load_state_dict(_unprefixed("ema", tensors))
    except RuntimeError as error:
        raise ValueError(f"the checkpoint in {folder} belongs to another model: {error}") from error
    _load_optimizer(run.optimizer, _unprefixed("optimizer", tensors))
    run.data.load(_unprefixed("data", tensors))
    run.generator.set_state(tensors["generator"])
    torch.set_rng_state(tensors["global.cpu"])
    if run.device.type == "cuda" and "global.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["global.cuda"], run.device)
    run.losses = tensors["losses"].tolist()


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
