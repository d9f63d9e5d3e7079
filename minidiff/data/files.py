"""Where the bundled files lie: one answer for a source checkout and for an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "bundled"  # a wheel carries the files here
_CHECKOUT = _PACKAGE.parent / "data"  # a checkout keeps them beside the package


def bundled(name: str) -> Path:
    """The path of a bundled file or folder, for example `bundled("digits.npz")`.

    Raises FileNotFoundError which says what was looked for, where, and what there is.
    """
    # A wheel's own folder is asked first: beside an installed package, `data` may be anybody's.
    folder = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    path = folder / name
    if not name or not path.exists():
        there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        raise FileNotFoundError(f"no bundled file {name!r} in {folder}; there is: {', '.join(there) or 'nothing'}")
    return path
