"""The bundled digits: the documented split, and the file that the README describes."""

import hashlib
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from minidiff.data import digits
from minidiff.storage import bundled


@pytest.fixture(scope="module")
def build():
    return runpy.run_path(str(bundled("build_digits.py")))


@pytest.mark.parametrize(("split", "n"), [("train", 4500), ("test", 500)])
def test_shapes_ranges_and_equal_classes(split, n):
    images, labels = digits.load(split)
    assert images.shape == (n, 1, 32, 32)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (-1, 1)
    assert labels.dtype == torch.int64
    assert labels.bincount().tolist() == [n // 10] * 10


def test_no_picture_is_in_both_halves_nor_twice_in_one():
    pictures = torch.cat([digits.load("train")[0], digits.load("test")[0]]).flatten(1).numpy()
    assert len(np.unique(pictures, axis=0)) == 5000


def test_both_halves_are_mixed():
    """The first hundred pictures already show every digit."""
    for split in digits.SPLITS:
        assert len(digits.load(split)[1][:100].unique()) == 10


def test_two_pixels_of_background_on_each_side():
    images, _ = digits.load("test")
    assert (images[:, :, 2:-2, 2:-2] > -1).any()
    middle = torch.nn.functional.pad(images[:, :, 2:-2, 2:-2], (2, 2, 2, 2), value=-1)
    assert torch.equal(images, middle)


def test_the_labels_are_those_of_the_pictures():
    """The nearest class mean of the training set classifies most test pictures. Shuffled labels would give 10 %."""
    images, labels = digits.load("train")
    means = torch.stack([images[labels == digit].mean(0).flatten() for digit in range(10)])
    test_images, test_labels = digits.load("test")
    nearest = torch.cdist(test_images.flatten(1), means).argmin(dim=1)
    assert (nearest == test_labels).float().mean() > 0.75


def test_an_unknown_split_is_named():
    with pytest.raises((ValueError, TypeError), match="valid"):
        digits.load("valid")


def test_the_readme_holds_the_sha_256_of_every_bundled_file():
    rows = bundled("README.md").read_text(encoding="utf-8").splitlines()
    folder = bundled("README.md").parent
    files = [path for path in folder.rglob("*") if path.suffix in (".npz", ".gz", ".safetensors")]
    assert len(files) >= 2
    for path in files:
        digest, name = hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(folder).as_posix()
        assert any(row.startswith(f"| `{name}` |") and digest in row for row in rows), name


def table(per_class: int) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (10 * per_class, 784))
    return np.column_stack([pixels, np.arange(10).repeat(per_class)])


def test_building_again_gives_the_same_bytes(build, tmp_path: Path):
    images, labels = build["to_pictures"](table(500))
    first = build["write_npz"](build["split"](images, labels), tmp_path / "a.npz")
    again = build["write_npz"](build["split"](images, labels), tmp_path / "b.npz")
    assert first == again == hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()


def test_writing_the_bundled_arrays_gives_the_bundled_file(build, tmp_path: Path):
    with np.load(bundled("digits.npz")) as arrays:
        build["write_npz"](dict(arrays), tmp_path / "digits.npz")
    assert (tmp_path / "digits.npz").read_bytes() == bundled("digits.npz").read_bytes()


def test_the_split_keeps_every_picture_with_its_label(build):
    images, labels = build["to_pictures"](table(500))
    parts = build["split"](images, labels)
    label_of = {picture.tobytes(): label for picture, label in zip(images, labels, strict=True)}
    for half in digits.SPLITS:
        for picture, label in zip(parts[f"{half}_images"], parts[f"{half}_labels"], strict=True):
            assert label_of.pop(picture.tobytes()) == label
    assert not label_of


@pytest.mark.parametrize(
    ("broken", "message"),
    [(table(500)[:-1], "500 pictures"), (table(500)[:, 1:], "784"), (table(500) + 300, "0…255")],
)
def test_another_table_is_refused(build, broken, message):
    with pytest.raises(ValueError, match=message):
        build["to_pictures"](broken)
