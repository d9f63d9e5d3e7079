"""Read pictures, masks, and folders of pictures as a data set, in which item i is the same tensor every time."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.utils.data import Dataset

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})


@dataclass(frozen=True)
class Images(Dataset):
    """A data set of pictures on disk, which `images` makes. Each picture is read when its item is requested.

    `dataset[i]` is (picture of shape (channels, size, size), float32 in [-1, 1]; its caption, "" if it has none).
    Raises ValueError with the file's name if the picture cannot be read.
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
    """The pictures in a folder and its subfolders, sorted by path. Hidden files and folders are skipped.

    Captions come from `metadata.jsonl` in the folder, if it exists, as in Hugging Face's `imagefolder`: one line
    `{"file_name": "cats/1.png", "text": "a cat"}` per picture. A picture without a line has the caption "".

    By default an unreadable picture raises an error when its item is requested. With `unreadable="skip"` every picture
    is read once here, and a warning names each unreadable file that is left out.

    Raises FileNotFoundError or NotADirectoryError if the folder does not exist or is a file. Raises ValueError if the
    folder holds no picture, the metadata is malformed or names a missing picture, or an option is unknown.
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
    """One picture as float32 in [-1, 1]: upright, with white for transparency, its central square scaled to `size`.

    The long side is cropped equally at both ends, and the square is scaled by Lanczos. An animation gives its first
    frame. Raises ValueError with the file's name if the picture cannot be read.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            plain = _on_white(upright).convert("L" if channels == 1 else "RGB")
    except Exception as error:  # decoders raise many types of error for a broken file
        raise ValueError(f"cannot read the picture {path}: {error}") from error
    square = ImageOps.fit(plain, (size, size), method=Image.Resampling.LANCZOS)
    pixels = torch.tensor(np.asarray(square)).reshape(size, size, channels)
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def read_mask(
    mask: str | Path | tuple[int, int, int, int], picture: str | Path, size: int
) -> Bool[Tensor, "1 1 size size"]:
    """Which pixels are marked in a picture that `read` has cropped and scaled to `size`: True where the mask is white or in the box.

    `mask` is a picture file or a box (left, top, right, bottom) in the original picture's pixels, right and bottom excluded. After scaling,
    a pixel is marked if it is at least half white. Raises ValueError if a file cannot be read, the mask and the picture differ in size,
    or the box is empty or not within the picture.
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


def cover(images: Float[Tensor, "b c h w"], hidden: Bool[Tensor, "b h w"]) -> Float[Tensor, "b c h w"]:
    """The images with each hidden pixel replaced by the nearest pixel that is not hidden; an image hidden everywhere becomes grey."""
    covered = []
    for image, mask in zip(images, hidden, strict=True):
        if mask.all():
            covered.append(torch.full_like(image, 0.5))
            continue
        rows, columns = distance_transform_edt(mask.numpy(), return_distances=False, return_indices=True)
        covered.append(image[:, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()])
    return torch.stack(covered)


def _picture_names(folder: Path) -> list[str]:
    """Paths relative to the folder, with forward slashes, sorted."""
    if not folder.exists():
        raise FileNotFoundError(f"the folder {folder} does not exist")
    if not folder.is_dir():
        raise NotADirectoryError(f"expected a folder of pictures, but {folder} is a file")
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = sorted(path.as_posix() for path in inside if not any(part.startswith(".") for part in path.parts))
    if not names:
        raise ValueError(f"no picture in {folder}: expected files that end in {', '.join(sorted(SUFFIXES))}")
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
            raise ValueError(f"{where}: not valid JSON: {error}") from error
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("file_name", "text")):
            raise ValueError(f'{where}: expected {{"file_name": "…", "text": "…"}}, got {line.strip()}')
        name = entry["file_name"]
        if name not in known:
            raise ValueError(f"{where}: the folder has no picture {name!r}")
        if name in captions:
            raise ValueError(f"{where}: {name!r} already has a caption in an earlier line")
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
    if picture.mode.startswith("I"):  # 16-bit grey, which pillow would clip at 255
        return Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    opaque = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(opaque, picture.convert("RGBA"))
