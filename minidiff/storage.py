"""Files: tensors as safetensors, everything else as JSON, each written whole or not at all; model folders; the bundled files."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

CONFIG, CHECKPOINT = "config.json", "checkpoint.safetensors"
BUNDLED = ("digits", "emoji", "digits-pixel")
_PACKAGE = Path(__file__).resolve().parent


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: the content goes to a temporary file beside `path`, which is then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, UTF-8, whole or not at all."""
    write(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict:
    """Read a JSON file that holds an object. Raises ValueError if the file is missing, is not valid JSON, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no {path.name} in {path.parent}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, found a {type(content).__name__}")
    return content


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object] | None = None) -> None:
    """Write a safetensors file, whole or not at all. Metadata values are stored as JSON."""
    text = {key: json.dumps(value) for key, value in (metadata or {}).items()}
    content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write(path, save(content, metadata=text))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read the tensors and the metadata of a safetensors file. Raises ValueError if it is missing or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise ValueError(f"there is no {path.name} in {path.parent}") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a safetensors file: {error}") from error


def write_weights(module: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the parameters and buffers of a module; floating-point tensors are converted to `dtype`."""
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in module.state_dict().items()
    }
    write_tensors(path, tensors)


def read_weights(build: Callable[[], nn.Module], path: Path) -> nn.Module:
    """Build a module with the weights of a file, in float32 and in evaluation mode.

    Also reads the weight names of version 0.1.0. Raises ValueError if the file cannot be read or holds another module's weights.
    """
    with torch.device("meta"):
        module = build()
    tensors = with_current_names(read_tensors(path)[0])
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        module.load_state_dict(floats, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit its {CONFIG}: {error}") from error
    return module.eval()


def digest(folder: Path) -> str:
    """The SHA-256, in hex, of all weights in a model's folder. Equal digests mean equal pictures."""
    weights = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        if path.name != CHECKPOINT:
            weights.update(path.read_bytes())
    return weights.hexdigest()


def bundled(name: str, installed: Path = _PACKAGE / "bundled", checkout: Path = _PACKAGE.parent / "data") -> Path:
    """The path of a bundled file or folder, for example `bundled("digits.npz")`.

    A wheel carries the files inside the package; a checkout keeps them beside it. The package's own folder comes first, because
    a folder `data` beside an installed package may be anybody's. Raises FileNotFoundError with the names that exist.
    """
    folder = installed if installed.is_dir() else checkout
    path = folder / name
    if not name or not path.exists():
        there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        raise FileNotFoundError(f"no bundled file {name!r} in {folder}; there is: {', '.join(there) or 'nothing'}")
    return path


def find_model(model: str | Path) -> Path:
    """The folder of a model: a folder on disk, or the bundled model of this name. Raises ValueError if there is neither."""
    folder = Path(model)
    if not folder.is_dir() and str(model) in BUNDLED:
        folder = bundled(str(model))
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"{model} is not a model: expected a folder with {CONFIG} and its weights, or one of {', '.join(BUNDLED)}"
        )
    return folder


def read_config(folder: Path, kind: str | None = None) -> dict:
    """The config.json of a model. Raises ValueError if it is not valid, or not of the `kind` that is asked for."""
    config = read_json(folder / CONFIG)
    if kind is not None and config.get("kind") != kind:
        raise ValueError(f"{folder} holds a model of kind {config.get('kind')!r}, expected {kind!r}")
    return with_current_fields(config, folder / CONFIG)


# Files of version 0.1.0 are still read. These two functions translate them.

_RENAMED = (
    (r"(^|\.)transformer\.block\.", r"\1transformer.blocks.0."),
    (r"(^|\.)feed_forward\.geglu\.linear\.", r"\1feed_forward.linear."),
    (r"(^|\.)middle\.1\.(query|key|value|out)\.", r"\1middle.1.attention.\2."),
    (r"(^|\.)image_encoder\.levels\.", r"\1image_encoder.stages."),
    (r"^order\.", "data."),
)
_REMOVED = {"block": "resnet", "attention_kind": "full"}  # U-Net options of 0.1.0, and the value that is built today


def with_current_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors; names from version 0.1.0 are replaced by today's names."""

    def current(name: str) -> str:
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        return name

    return {current(name): tensor for name, tensor in tensors.items()}


def with_current_fields(config: dict, path: Path) -> dict:
    """The same configuration without the U-Net options that were removed. Raises ValueError for a network that is no longer built."""
    unet = config.get("unet", {})
    for field, built in _REMOVED.items():
        if unet.get(field, built) != built:
            raise ValueError(
                f"{path} describes a U-Net with {field}={unet[field]!r}, which can no longer be loaded, only {built!r} can;"
                " minidiff 0.1.0 is the last version that reads it"
            )
    if "unet" not in config:
        return config
    return config | {"unet": {name: value for name, value in unet.items() if name not in _REMOVED}}
