"""Models on disk: a folder with config.json, which says what it is, and its weights as safetensors."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from minidiff.data import files
from minidiff.training import checkpoint

CONFIG = "config.json"
BUNDLED = ("digits", "emoji", "digits-pixel")


def find(model: str | Path) -> Path:
    """The folder of a model: a folder on disk, or that of the bundled model of this name.

    Raises ValueError, naming the bundled models, where it is neither.
    """
    folder = Path(model)
    if not folder.is_dir() and str(model) in BUNDLED:
        folder = files.bundled(str(model))
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{model} is no model: expected a folder with {CONFIG} and its weights, or one of {', '.join(BUNDLED)}"
        )
    return folder


def read_config(folder: Path, kind: str | None = None) -> dict:
    """The model's config.json. Raises ValueError where it is not valid JSON, or of another kind than was asked for."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if kind is not None and config.get("kind") != kind:
        raise ValueError(f"{folder} holds a model of kind {config.get('kind')!r}, expected {kind!r}")
    return config


def digest(folder: Path) -> str:
    """The SHA-256, in hex, of all weights in a model's folder: two models that draw the same have the same."""
    weights = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        if path.name != checkpoint.CHECKPOINT:
            weights.update(path.read_bytes())
    return weights.hexdigest()


def write_weights(module: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """All weights and buffers of a module, those that are not whole numbers as `dtype`."""
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in module.state_dict().items()
    }
    checkpoint.write_tensors(path, tensors)


def read_weights(build: Callable[[], nn.Module], path: Path) -> nn.Module:
    """`build()` with the weights of a file, as float32, ready to be used.

    Raises ValueError where they cannot be read, or are those of another module.
    """
    with torch.device("meta"):
        module = build()
    tensors, _ = checkpoint.read_tensors(path)
    floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    try:
        module.load_state_dict(floats, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit its {CONFIG}: {error}") from error
    return module.eval()
