"""Tensors become pictures, and pictures become files."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data.pictures import grid, save_gif, save_png, to_uint8


def test_bytes_go_to_floats_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(every.float() / 127.5 - 1), every)


def test_rounded_to_the_nearest_and_clamped():
    values = torch.tensor([-9.0, -1.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1, 1.0, 9.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_no_picture(value):
    with pytest.raises(ValueError, match="1 of 4 values"):
        to_uint8(torch.tensor([0, 0, value, 0]))
    with pytest.raises(ValueError, match="NaN"):
        grid(torch.full((1, 1, 2, 2), value), 1)


def test_a_grid_by_hand():
    images = torch.tensor([-1.0, 1.0, 0.2]).reshape(3, 1, 1, 1).expand(3, 1, 2, 3)
    grey, expected = 128, np.full((6, 8), 128)
    expected[:2, :3], expected[:2, 5:], expected[4:, :3] = 0, 255, 153
    assert np.array_equal(np.asarray(grid(images, 2)), expected)
    assert expected[5, 7] == grey  # the empty cell


def test_a_colour_grid_keeps_its_channels():
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    picture = grid(red, 1)
    assert (picture.mode, picture.size, picture.getpixel((1, 1))) == ("RGB", (2, 2), (255, 0, 0))


def test_scale_enlarges_each_pixel_but_not_the_lines():
    images = torch.tensor([[-1.0, 1.0]]).reshape(1, 1, 1, 2).expand(2, 1, 1, 2)
    expected = np.tile([0] * 3 + [255] * 3 + [128] * 2 + [0] * 3 + [255] * 3, (3, 1))
    assert np.array_equal(np.asarray(grid(images, 2, scale=3)), expected)


def test_more_columns_than_pictures_leave_no_empty_ones():
    assert grid(torch.zeros(2, 1, 4, 4), 9).size == (10, 4)


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (0, 1, 4, 4), (1, 4, 4)])
def test_another_shape_is_an_error(shape):
    with pytest.raises((ValueError, TypeError)):
        grid(torch.zeros(shape), 1)


@pytest.mark.parametrize("options", [{"columns": 0}, {"columns": 1, "scale": 0}])
def test_no_columns_and_no_scale_are_errors(options):
    with pytest.raises(ValueError, match="at least 1"):
        grid(torch.zeros(1, 1, 4, 4), **options)


def test_a_png_comes_back_whole_in_a_folder_that_was_not_there(tmp_path):
    picture = grid(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1, 2)
    path = save_png(picture, tmp_path / "new" / "folder" / "a.png")
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(picture))
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = save_png(Image.new("L", (2, 2), 7), tmp_path / "a.png")
    old = path.read_bytes()

    def half(self, file, **options):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_png(Image.new("L", (2, 2), 9), path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_gif_has_its_frames_its_times_and_repeats(tmp_path):
    frames = [Image.new("L", (4, 4), grey) for grey in (0, 128, 255)]
    path = save_gif(frames, tmp_path / "a.gif", seconds_per_frame=0.05, hold_last=2)
    seconds, greys = [], []
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["loop"]) == (3, 0)
        for i in range(3):
            gif.seek(i)
            seconds.append(gif.info["duration"] / 1000)
            greys.append(gif.convert("L").getpixel((0, 0)))
    assert seconds == [0.05, 0.05, 2]
    assert greys == [0, 128, 255]


def test_files_of_the_wrong_kind_and_impossible_gifs(tmp_path):
    small, large = Image.new("L", (2, 2)), Image.new("L", (3, 3))
    with pytest.raises(ValueError, match=r"\.png"):
        save_png(small, tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"\.gif"):
        save_gif([small], tmp_path / "a.png")
    with pytest.raises(ValueError, match="at least one frame"):
        save_gif([], tmp_path / "a.gif")
    with pytest.raises(ValueError, match="one size"):
        save_gif([small, large], tmp_path / "a.gif")
    with pytest.raises(ValueError, match=r"0\.02"):
        save_gif([small], tmp_path / "a.gif", seconds_per_frame=0)
    assert not list(tmp_path.iterdir())
