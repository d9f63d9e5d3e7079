"""Any folder of pictures as a data set, and random flips and shifts of a batch.

The data set is deterministic: item i is the same tensor every time. Chance enters in `augment` alone, which is given
its generator.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})


@dataclass(frozen=True)
class Images(Dataset):
    """Pictures on disk, read when they are asked for; `images` finds them.

    `dataset[i]` is (picture of shape (channels, size, size), float32 in [-1, 1]; its caption, "" without one).
    A picture that cannot be read raises ValueError which names it.
    """

    files: tuple[Path, ...]
    captions: tuple[str, ...]
    size: int
    channels: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Float[Tensor, "c size size"], str]:
        return read(self.files[i], self.size, channels=self.channels), self.captions[i]


def images(
    folder: str | Path,
    size: int,
    *,
    channels: Literal[1, 3] = 3,
    unreadable: Literal["raise", "skip"] = "raise",
) -> Images:
    """The pictures in a folder and in the folders within, sorted by their path; hidden ones are left out.

    Captions come from `metadata.jsonl` in that folder, if there is one, as in Hugging Face's `imagefolder`: a line
    `{"file_name": "cats/1.png", "text": "a cat"}` a picture. A picture that it does not mention has the caption "".

    An unreadable picture raises when it is asked for. With `unreadable="skip"` every picture is read once here, and a
    warning names each that is left out.

    Raises FileNotFoundError or NotADirectoryError where the folder is none, ValueError where it holds no picture, the
    metadata is malformed or names a picture that is not there, or an option is unknown.
    """
    folder = Path(folder)
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (colour), got {channels}")
    if unreadable not in ("raise", "skip"):
        raise ValueError(f"unreadable must be 'raise' or 'skip', got {unreadable!r}")
    names = _picture_names(folder)
    captions = _captions(folder / "metadata.jsonl", names)
    if unreadable == "skip":
        names = [name for name in names if _is_readable(folder / name, size, channels)]
        if not names:
            raise ValueError(f"none of the pictures in {folder} can be read")
    return Images(
        files=tuple(folder / name for name in names),
        captions=tuple(captions.get(name, "") for name in names),
        size=size,
        channels=channels,
    )


def read(path: str | Path, size: int, *, channels: Literal[1, 3] = 3) -> Float[Tensor, "c size size"]:
    """One picture as float32 in [-1, 1]: upright, on white where it is transparent, its middle square scaled to `size`.

    The short side becomes `size` (Lanczos) and the long one is cut equally at both ends. Of an animation, the first
    frame. Raises ValueError which names the file where it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            plain = _on_white(upright).convert("L" if channels == 1 else "RGB")
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise ValueError(f"cannot read the picture {path}: {error}") from error
    square = ImageOps.fit(plain, (size, size), method=Image.Resampling.LANCZOS)
    pixels = torch.tensor(np.asarray(square)).reshape(size, size, channels)
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def read_mask(
    mask: str | Path | tuple[int, int, int, int], picture: str | Path, size: int
) -> Bool[Tensor, "1 1 size size"]:
    """Which pixels of a picture are marked, after `read` has made it `size` wide: white in the picture `mask`, or in a box.

    A box is (left, top, right, bottom) in the picture's own pixels, right and bottom excluded. What is at least half white is marked.
    Raises ValueError where a file cannot be read, the mask is not as large as the picture, or the box is not within it or empty.
    """
    try:
        with Image.open(picture) as given:
            full = ImageOps.exif_transpose(given).size
        if isinstance(mask, tuple):
            left, top, right, bottom = mask
            if not (0 <= left < right <= full[0] and 0 <= top < bottom <= full[1]):
                raise ValueError(f"a box is left, top, right, bottom within {full[0]}×{full[1]} pixels, got {mask}")
            marked = Image.new("L", full, 0)
            marked.paste(255, mask)
        else:
            with Image.open(mask) as given:
                marked = _on_white(ImageOps.exif_transpose(given)).convert("L")
    except OSError as error:
        raise ValueError(f"cannot read a picture: {error}") from error
    if marked.size != full:
        raise ValueError(
            f"the mask must be as large as the picture, {full[0]}×{full[1]}; got {marked.size[0]}×{marked.size[1]}"
        )
    square = ImageOps.fit(marked, (size, size), method=Image.Resampling.BOX)
    return torch.tensor(np.asarray(square) >= 128)[None, None]


def augment(
    batch: Float[Tensor, "b c h w"], generator: torch.Generator, *, flip: bool = False, shift: int = 0
) -> Float[Tensor, "b c h w"]:
    """Mirror each picture with probability ½ if `flip`, and move it by up to `shift` pixels each way.

    What a shift uncovers repeats the edge. Digits and letters are never to be flipped: a mirrored 2 is no digit.

    Raises ValueError where shift is negative, or not below the height and the width.
    """
    b, _, h, w = batch.shape
    if not 0 <= shift < min(h, w):
        raise ValueError(f"shift must be in 0…{min(h, w) - 1} for pictures of {h}×{w}, got {shift}")
    down, right = torch.randint(-shift, shift + 1, (2, b, 1), generator=generator)
    rows = (torch.arange(h) - down).clamp(0, h - 1)  # (b, h): the row that each row is copied from
    columns = (torch.arange(w) - right).clamp(0, w - 1)
    if flip:
        mirrored = torch.rand(b, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, w - 1 - columns, columns)
    rows, columns = rows.to(batch.device), columns.to(batch.device)
    return batch.take_along_dim(rows[:, None, :, None], 2).take_along_dim(columns[:, None, None, :], 3)


def _picture_names(folder: Path) -> list[str]:
    """Paths relative to the folder, with forward slashes, sorted."""
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of pictures, but {folder} is a file")
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = sorted(path.as_posix() for path in inside if not any(part.startswith(".") for part in path.parts))
    if not names:
        raise ValueError(f"no picture in {folder}: looked for {', '.join(sorted(SUFFIXES))}")
    return names


def _captions(metadata: Path, names: list[str]) -> dict[str, str]:
    if not metadata.exists():
        return {}
    known, captions = set(names), {}
    for number, line in enumerate(metadata.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{metadata}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON: {error}") from error
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("file_name", "text")):
            raise ValueError(f'{where}: expected {{"file_name": "…", "text": "…"}}, got {line.strip()}')
        name = entry["file_name"]
        if name not in known:
            raise ValueError(f"{where}: names {name!r}, but the folder has no such picture")
        if name in captions:
            raise ValueError(f"{where}: names {name!r} a second time")
        captions[name] = entry["text"]
    return captions


def _is_readable(path: Path, size: int, channels: Literal[1, 3]) -> bool:
    try:
        read(path, size, channels=channels)
    except ValueError as error:
        warnings.warn(f"left out: {error}", stacklevel=3)
        return False
    return True


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which pillow would cut off at 255
        return Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    opaque = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(opaque, picture.convert("RGBA"))
