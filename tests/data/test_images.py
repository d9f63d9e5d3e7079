"""Folders of pictures that the tests create, so that every pixel is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from minidiff.data.images import images, read, read_mask

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def save(path: Path, colour=RED, size=(8, 8), mode="RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def colour_of(picture: torch.Tensor) -> list[float]:
    return [round(value, 2) for value in picture.mean((1, 2)).tolist()]


def metadata(folder: Path, *lines: object) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")


def test_finds_every_kind_in_every_folder_sorted_by_path(tmp_path):
    for name in ["b/1.png", "a/2.JPG", "a/1.jpeg", "c.webp", "d.bmp", "e.gif", ".hidden.png", ".cache/x.png"]:
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    dataset = images(tmp_path, 4)
    found = [file.relative_to(tmp_path).as_posix() for file in dataset.files]
    assert found == ["a/1.jpeg", "a/2.JPG", "b/1.png", "c.webp", "d.bmp", "e.gif"]
    assert [colour_of(picture)[0] > 0.9 for picture, _ in dataset] == [True] * len(dataset)


def test_an_item_is_a_picture_in_minus_one_to_one_and_its_caption(tmp_path):
    save(tmp_path / "red.png", RED)
    picture, caption = images(tmp_path, 4)[0]
    assert (picture.shape, picture.dtype, caption) == ((3, 4, 4), torch.float32, "")
    assert colour_of(picture) == [1, -1, -1]
    grey, _ = images(tmp_path, 4, channels=1)[0]
    assert grey.shape == (1, 4, 4)
    assert colour_of(grey) == [round(76 / 127.5 - 1, 2)]  # red's luma is 0.299


def test_captions_come_from_the_metadata(tmp_path):
    save(tmp_path / "cats/1.png")
    save(tmp_path / "2.png")
    save(tmp_path / "unmentioned.png")
    metadata(
        tmp_path,
        {"file_name": "cats/1.png", "text": "une tête\u2028de chat"},
        "",
        {"file_name": "2.png", "text": "a dog"},
    )
    assert images(tmp_path, 4).captions == ("a dog", "une tête\u2028de chat", "")
    batch, captions = next(iter(DataLoader(images(tmp_path, 4), batch_size=3)))
    assert batch.shape == (3, 3, 4, 4)
    assert list(captions) == ["a dog", "une tête\u2028de chat", ""]


@pytest.mark.parametrize(
    "line",
    [
        "{not json",
        '["a.png"]',
        '{"file_name": "a.png"}',
        '{"text": "x"}',
        '{"file_name": "a.png", "text": 3}',
        '{"file_name": "missing.png", "text": "x"}',
        '{"file_name": "first.png", "text": "again"}',
    ],
)
def test_a_wrong_metadata_line_is_named_with_its_number(tmp_path, line):
    save(tmp_path / "first.png")
    save(tmp_path / "a.png")
    metadata(tmp_path, {"file_name": "first.png", "text": "x"}, line)
    with pytest.raises(ValueError, match=r"metadata\.jsonl, line 2: "):
        images(tmp_path, 4)


def test_a_wide_picture_loses_its_sides_and_a_tall_one_its_ends(tmp_path):
    wide = np.zeros((6, 18, 3), dtype=np.uint8)
    wide[:, 6:12] = WHITE
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2).copy()).save(tmp_path / "tall.png")
    for picture, _ in images(tmp_path, 6):
        assert torch.equal(picture, torch.ones(3, 6, 6))


def test_halving_is_lanczos_of_the_square(tmp_path):
    """By hand, in float64: each output pixel weights the inputs within 6 pixels by sinc(x) sinc(x/3), x in output pixels."""
    square = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(square).save(tmp_path / "noise.png")
    distance = (np.arange(16)[None] + 0.5) / 2 - (np.arange(8)[:, None] + 0.5)
    weights = np.where(abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    by_hand = (weights @ square @ weights.T).clip(0, 255) / 127.5 - 1
    picture = read(tmp_path / "noise.png", 8, channels=1)[0]
    np.testing.assert_allclose(picture, by_hand, atol=2.5 / 127.5)  # pillow rounds twice, once per direction


def test_a_small_picture_is_enlarged(tmp_path):
    assert torch.equal(read(save(tmp_path / "dot.png", WHITE, (1, 1)), 8), torch.ones(3, 8, 8))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    clear = {"RGBA": (255, 0, 0, 0), "LA": (0, 0), "P": 0}[mode]
    options = {"transparency": 0} if mode == "P" else {}
    assert torch.equal(read(save(tmp_path / "clear.png", clear, mode=mode, **options), 4), torch.ones(3, 4, 4))


def test_half_transparent_red_is_pink(tmp_path):
    pink = read(save(tmp_path / "pink.png", (255, 0, 0, 128), mode="RGBA"), 4)
    assert colour_of(pink) == [1, round(127 / 127.5 - 1, 2), round(127 / 127.5 - 1, 2)]


def test_sixteen_bit_grey_keeps_its_shades(tmp_path):
    Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16)).save(tmp_path / "grey.png")
    assert colour_of(read(tmp_path / "grey.png", 4)) == pytest.approx([0, 0, 0], abs=0.01)


def test_the_camera_was_held_sideways(tmp_path):
    """EXIF orientation 6: the stored left side is the top of the picture."""
    stored = np.zeros((8, 8, 3), dtype=np.uint8)
    stored[:, :4] = WHITE
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    upright = read(tmp_path / "photo.png", 8)
    assert torch.equal(upright[:, :4], torch.ones(3, 4, 8))
    assert torch.equal(upright[:, 4:], -torch.ones(3, 4, 8))


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert colour_of(read(tmp_path / "two.gif", 4)) == [1, -1, -1]


def broken_folder(folder: Path) -> Path:
    save(folder / "good.png", RED)
    whole = save(folder / "cut.png", BLUE, (64, 64)).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    return folder


def test_an_unreadable_picture_raises_with_its_name(tmp_path):
    dataset = images(broken_folder(tmp_path), 4)
    with pytest.raises(ValueError, match=r"cut\.png"):
        dataset[0]
    with pytest.raises(ValueError, match=r"empty\.jpg"):
        dataset[1]
    assert colour_of(dataset[2][0]) == [1, -1, -1]


def test_an_unreadable_picture_can_be_skipped_with_a_warning_that_names_it(tmp_path):
    with pytest.warns(UserWarning, match="left out") as warned:
        dataset = images(broken_folder(tmp_path), 4, unreadable="skip")
    assert [file.name for file in dataset.files] == ["good.png"]
    said = " ".join(str(warning.message) for warning in warned)
    assert "cut.png" in said
    assert "empty.jpg" in said


def test_nothing_left_after_skipping_is_an_error(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.warns(UserWarning, match=r"empty\.png"), pytest.raises(ValueError, match="none of the pictures"):
        images(tmp_path, 4, unreadable="skip")


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        images(tmp_path / "nowhere", 4)
    with pytest.raises(ValueError, match=r"no picture in .*\.png"):
        images(tmp_path, 4)
    with pytest.raises(NotADirectoryError, match=r"one\.png"):
        images(save(tmp_path / "one.png"), 4)


@pytest.mark.parametrize("option", [{"size": 0}, {"channels": 4}, {"unreadable": "ignore"}])
def test_unknown_options_are_named(tmp_path, option):
    save(tmp_path / "a.png")
    with pytest.raises((ValueError, TypeError), match=next(iter(option))):
        images(tmp_path, **{"size": 4, **option})


def test_a_mask_is_cut_and_scaled_as_its_picture_is(tmp_path):
    Image.new("RGB", (80, 64), "red").save(tmp_path / "wide.png")  # 8 pixels are cut off on each side
    mask = Image.new("L", (80, 64), 0)
    mask.paste(255, (8, 0, 40, 64))
    mask.save(tmp_path / "mask.png")
    left = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    left[..., :8] = True
    assert torch.equal(read_mask(tmp_path / "mask.png", tmp_path / "wide.png", 16), left)
    assert torch.equal(read_mask((8, 0, 40, 64), tmp_path / "wide.png", 16), left)


@pytest.mark.parametrize("box", [(0, 0, 81, 64), (-1, 0, 8, 8), (8, 8, 8, 16), (16, 8, 8, 16)])
def test_a_box_must_lie_within_the_picture(box, tmp_path):
    Image.new("RGB", (80, 64), "red").save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="80×64"):
        read_mask(box, tmp_path / "wide.png", 16)


def test_a_mask_must_be_readable_and_as_large_as_its_picture(tmp_path):
    Image.new("RGB", (80, 64), "red").save(tmp_path / "wide.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "mask.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="80×64; got 64×64"):
        read_mask(tmp_path / "mask.png", tmp_path / "wide.png", 16)
    with pytest.raises(ValueError, match="cannot read"):
        read_mask(tmp_path / "broken.png", tmp_path / "wide.png", 16)
