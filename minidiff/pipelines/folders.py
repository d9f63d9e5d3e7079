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
    """The model's config.json, as this version would write it.

    Raises ValueError where it is not valid JSON, of another kind than asked for, or of a network no longer built.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if kind is not None and config.get("kind") != kind:
        raise ValueError(f"{folder} holds a model of kind {config.get('kind')!r}, expected {kind!r}")
    if "unet" in config:
        config["unet"] = _without_removed(config["unet"], path)
    return config


def _without_removed(unet: dict, path: Path) -> dict:
    """The sizes of a U-Net without the fields that they had up to version 0.1.0, which must hold what is built now."""
    for field, kept in (("block", "resnet"), ("attention_kind", "full")):
        if unet.get(field, kept) != kept:
            raise ValueError(
                f"{path} is of a U-Net with {field}={unet[field]!r}: it can no longer be loaded, only {kept!r} can;"
                " minidiff 0.1.0 is the last version that reads it"
            )
    return {name: value for name, value in unet.items() if name not in ("block", "attention_kind")}


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

    Reads names of version 0.1.0 too. Raises ValueError where the weights cannot be read, or are another module's.
    """
    with torch.device("meta"):
        module = build()
    tensors, _ = checkpoint.read_tensors(path)
    floats = {name: t.float() if t.is_floating_point() else t for name, t in checkpoint.renamed(tensors).items()}
    try:
        module.load_state_dict(floats, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit its {CONFIG}: {error}") from error
    return module.eval()
