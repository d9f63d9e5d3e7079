"""Convert tensors in [-1, 1] to pictures, and write picture files. A failed write leaves no partial file."""

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from minidiff import storage

_GAP = 2  # pixels between the pictures of a grid
_GAP_GREY = 128
_NOTES = "minidiff"  # keyword of the PNG's text chunk


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Convert [-1, 1] to 0…255, rounded and clamped. Raises ValueError if a value is NaN or infinite."""
    if not torch.isfinite(images).all():
        count = int((~torch.isfinite(images)).sum())
        raise ValueError(f"{count} of {images.numel()} values are NaN or infinite: expected numbers in [-1, 1]")
    return ((images.detach().double() + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)


def grid(images: Float[Tensor, "n c h w"], columns: int, *, scale: int = 1) -> Image.Image:
    """One picture that shows all pictures row by row, each enlarged by `scale`, with grey lines between them.

    One channel gives a grey picture, three channels a colour picture. There are at most n columns. Empty cells are grey.

    Raises ValueError if the shape is wrong, a value is NaN or infinite, or columns or scale is below 1.
    """
    if images.ndim != 4 or images.shape[0] < 1 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images of shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    if columns < 1 or scale < 1:
        raise ValueError(f"columns and scale must be at least 1, got {columns} and {scale}")
    n, c, h, w = images.shape
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    pixels = to_uint8(images).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    h, w = h * scale, w * scale
    canvas = torch.full((c, rows * (h + _GAP) - _GAP, columns * (w + _GAP) - _GAP), _GAP_GREY, dtype=torch.uint8)
    for i, picture in enumerate(pixels):
        top, left = (i // columns) * (h + _GAP), (i % columns) * (w + _GAP)
        canvas[:, top : top + h, left : left + w] = picture
    return Image.fromarray(canvas[0].numpy() if c == 1 else canvas.permute(1, 2, 0).contiguous().numpy())


def save_png(image: Image.Image, path: str | Path, notes: dict[str, object] | None = None) -> Path:
    """Write a PNG, create its folder if needed, and return its path. `notes` (JSON values) are stored in the file as JSON.

    Raises ValueError if the name does not end in .png.
    """
    information = PngInfo()
    if notes is not None:
        information.add_itxt(_NOTES, json.dumps(notes, ensure_ascii=False))
    return _save(image, Path(path), "PNG", pnginfo=information)


def read_notes(path: str | Path) -> dict[str, object]:
    """The notes that `save_png` stored in a picture. Raises ValueError if the file cannot be read or has no notes."""
    try:
        with Image.open(path) as picture:
            return json.loads(picture.info[_NOTES])
    except KeyError:
        raise ValueError(f"{path} has no notes: minidiff did not store its settings in this file") from None
    except OSError as error:
        raise ValueError(f"cannot read the picture {path}: {error}") from error


def save_gif(
    frames: Sequence[Image.Image],
    path: str | Path,
    *,
    seconds_per_frame: float | int = 0.1,
    hold_last: float | int = 1.5,
) -> Path:
    """Write a GIF that loops without end and shows its last frame for `hold_last` seconds, and return its path.

    Raises ValueError if the name does not end in .gif, there is no frame, the frames differ in size, or a time is
    below 0.02 seconds, which browsers do not support.
    """
    if not frames:
        raise ValueError("a GIF needs at least one frame, got none")
    sizes = sorted({frame.size for frame in frames})
    if len(sizes) > 1:
        raise ValueError(f"the frames of a GIF must have one size, got {sizes}")
    if min(seconds_per_frame, hold_last) < 0.02:
        raise ValueError(f"times must be at least 0.02 seconds, got {seconds_per_frame} and {hold_last}")
    seconds = [seconds_per_frame] * (len(frames) - 1) + [hold_last]
    milliseconds = [round(s * 100) * 10 for s in seconds]  # a GIF's unit is 0.01 seconds
    first, *rest = frames
    return _save(first, Path(path), "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)


def _save(image: Image.Image, path: Path, kind: str, **options: object) -> Path:
    if path.suffix.lower() != f".{kind.lower()}":
        raise ValueError(f"expected a file name that ends in .{kind.lower()}, got {path.name!r}")
    content = io.BytesIO()
    image.save(content, format=kind, **options)
    storage.write(path, content.getvalue())
    return path
