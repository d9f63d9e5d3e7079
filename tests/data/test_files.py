"""One resolver, a checkout and a wheel."""

from pathlib import Path

import pytest

from minidiff.data import files


def test_a_checkout_keeps_them_in_data():
    assert files.bundled("digits.npz").is_file()


def test_a_wheel_carries_them_inside_the_package(monkeypatch, tmp_path: Path):
    """Beside an installed package `data` may be anybody's, so the package's own folder goes first."""
    inside, beside = tmp_path / "minidiff" / "bundled", tmp_path / "data"
    for folder in (inside, beside):
        folder.mkdir(parents=True)
        (folder / "digits.npz").touch()
    monkeypatch.setattr(files, "_INSTALLED", inside)
    monkeypatch.setattr(files, "_CHECKOUT", beside)
    assert files.bundled("digits.npz") == inside / "digits.npz"


@pytest.mark.parametrize("name", ["digit.npz", "", "no/such/folder"])
def test_a_missing_one_says_what_where_and_what_there_is(name):
    with pytest.raises(FileNotFoundError) as error:
        files.bundled(name)
    for part in (repr(name), str(files.bundled("digits.npz").parent), "digits.npz"):
        assert part in str(error.value)


def test_a_missing_folder_says_so_too(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(files, "_INSTALLED", tmp_path / "gone")
    monkeypatch.setattr(files, "_CHECKOUT", tmp_path / "gone too")
    with pytest.raises(FileNotFoundError, match="there is: nothing"):
        files.bundled("digits.npz")
