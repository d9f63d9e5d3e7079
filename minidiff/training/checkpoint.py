"""Checkpoints: all of a run's state in one safetensors file, written to another name first, so that there is always a whole one."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

CHECKPOINT = "checkpoint.safetensors"
RENAMED = (  # names of weights up to version 0.1.0, and since then
    (r"(^|\.)transformer\.block\.", r"\1transformer.blocks.0."),
    (r"(^|\.)feed_forward\.geglu\.linear\.", r"\1feed_forward.linear."),
    (r"(^|\.)middle\.1\.(query|key|value|out)\.", r"\1middle.1.attention.\2."),
)


def has_checkpoint(folder: str | Path) -> bool:
    """Whether a run in this folder can be resumed."""
    return (Path(folder) / CHECKPOINT).is_file()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object] | None = None) -> None:
    """A safetensors file, whole or not at all: written beside `path` and renamed. Metadata values are kept as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    text = {key: json.dumps(value) for key, value in (metadata or {}).items()}
    content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    partial.write_bytes(save(content, metadata=text))  # safetensors' own files can be read by their owner alone
    os.replace(partial, path)


def write_json(path: Path, value: object) -> None:
    """A JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and metadata of a file. Raises ValueError where it is missing or is no safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise ValueError(f"there is no {path.name} in {path.parent}") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a safetensors file: {error}") from error


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with the names of version 0.1.0 replaced by those of now, whatever prefix they have."""

    def now(name: str) -> str:
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        return name

    return {now(name): tensor for name, tensor in tensors.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The reverse of `optimizer_tensors`, into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under `prefix.name`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def unprefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that stand under `prefix.name`, by name."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
