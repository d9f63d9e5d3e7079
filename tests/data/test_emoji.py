"""The bundled emoji, their concepts, and the script that builds the file."""

import io
import json
import runpy
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minidiff.data import emoji
from minidiff.metrics.hue import foreground_colour
from minidiff.storage import bundled


@pytest.fixture(scope="module")
def loaded():
    return emoji.load()


@pytest.fixture
def build(monkeypatch):
    monkeypatch.syspath_prepend(bundled("build_emoji.py").parent)  # build_emoji imports build_digits
    return runpy.run_path(str(bundled("build_emoji.py")))


def test_shapes_and_range(loaded):
    images, captions = loaded
    assert images.shape == (1631, 3, 32, 32)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (-1, 1)
    assert len(captions) == 1631


def test_no_picture_and_no_caption_is_there_twice(loaded):
    images, captions = loaded
    assert len(np.unique(images.flatten(1).numpy(), axis=0)) == len(set(captions)) == 1631


def test_pictures_stand_on_white(loaded):
    rim = torch.cat([loaded[0][:, :, [0, -1]].flatten(1), loaded[0][:, :, :, [0, -1]].flatten(1)], dim=1)
    assert (rim.median(dim=1).values == 1).double().mean() > 0.8  # buttons and squares reach the edge


@pytest.mark.parametrize(
    ("caption", "channels"), [("red circle", (1, -1, -1)), ("blue square", (-1, 0, 1)), ("black circle", (-1, -1, -1))]
)
def test_captions_are_those_of_the_pictures(loaded, caption, channels):
    images, captions = loaded
    middle = images[captions.index(caption), :, 14:18, 14:18].mean((1, 2))
    torch.testing.assert_close(middle, torch.tensor(channels).float(), atol=0.6, rtol=0)


def test_flags_and_skin_tones_are_left_out(loaded):
    assert not [caption for caption in loaded[1] if "flag:" in caption or "skin tone" in caption]


@pytest.mark.parametrize(
    "same",
    [
        ("man running", "woman running", "person running", "person running facing right"),
        ("one o'clock", "twelve-thirty"),
        ("family man, woman, boy", "family woman, girl"),
        ("farmer", "man farmer", "woman farmer"),
        ("people holding hands", "woman and man holding hands"),
        ("person", "man", "woman"),
        ("old man", "older person"),
    ],
)
def test_near_duplicates_are_one_concept(loaded, same):
    assert set(same) <= set(loaded[1])
    assert len({emoji.concept(caption) for caption in same}) == 1


@pytest.mark.parametrize(
    "pair",
    [
        ("woman's hat", "woman"),
        ("red circle", "blue circle"),
        ("keycap 1", "keycap 2"),
        ("alarm clock", "one o'clock"),
        ("snowman", "person"),
        ("white square button", "white small square"),
    ],
)
def test_different_things_stay_apart(loaded, pair):
    assert set(pair) <= set(loaded[1])
    assert emoji.concept(pair[0]) != emoji.concept(pair[1])


def test_pictures_that_hardly_differ_are_one_concept(loaded):
    """Any two pictures with an RMS difference below 0.043 (range 1) have one concept."""
    images, captions = loaded
    distance = torch.cdist(images.flatten(1), images.flatten(1)) / 2 / (3 * 32 * 32) ** 0.5
    pairs = (distance.triu(1) + torch.ones_like(distance).tril() < 0.043).nonzero().tolist()
    assert len(pairs) >= 7
    assert not [pair for pair in pairs if len({emoji.concept(captions[i]) for i in pair}) > 1]


def test_concepts_are_hardly_fewer_than_captions(loaded):
    assert len({emoji.concept(caption) for caption in loaded[1]}) == 1383


def png(colour: tuple[int, ...], mode: str = "RGBA") -> bytes:
    content = io.BytesIO()
    Image.new(mode, (64, 64), colour).save(content, "PNG")
    return content.getvalue()


LISTING = [
    {"unified": "2B50-FE0F", "image": "star.png", "category": "Travel & Places", "sort_order": 2},
    {"unified": "1F600", "image": "face.png", "category": "Smileys & Emotion", "sort_order": 1},
    {"unified": "1F1E6-1F1E8", "image": "flag.png", "category": "Flags", "sort_order": 3},
    {"unified": "1F3FB", "image": "tone.png", "category": "Component", "sort_order": 4},
    {"unified": "1F601", "image": "twin.png", "category": "Smileys & Emotion", "sort_order": 5},
]
NAMES = {"⭐": {"name": "star"}, "😀": {"name": "child’s “face”"}, "😁": {"name": "twin"}}
FILES = {
    "emoji.json": json.dumps(LISTING).encode(),
    "img/google/64/star.png": png((255, 0, 0, 0)),
    "img/google/64/face.png": png((0, 0, 255, 255)),
    "img/google/64/flag.png": png((0, 9, 0, 255)),
    "img/google/64/tone.png": png((9, 9, 9, 255)),
    "img/google/64/twin.png": png((0, 0, 255), "RGB"),
}


def test_building_keeps_the_order_and_leaves_out_what_it_says(build):
    arrays = build["to_arrays"](LISTING, NAMES, FILES)
    assert arrays["captions"].tolist() == [b'child\'s "face"', b"star"]
    assert arrays["images"].dtype == np.uint8
    assert (arrays["images"][0] == (0, 0, 255)).all()
    assert (arrays["images"][1] == 255).all()  # transparent pixels become white, whatever their colour


def test_a_sign_without_a_name_is_reported(build):
    with pytest.raises(ValueError, match="1F600"):
        build["to_arrays"](LISTING, {"⭐": {"name": "star"}}, FILES)


def test_a_folder_and_an_archive_are_read_alike(build, tmp_path: Path):
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as archive:
        for name, content in FILES.items():
            (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / name).write_bytes(content)
            archive.add(tmp_path / "folder" / name, f"package/{name}")
    wanted = lambda name: name.endswith(".png")  # noqa: E731
    read = [build["read_package"](tmp_path / source, wanted) for source in ("folder", "package.tgz")]
    assert read[0] == read[1] == {name: content for name, content in FILES.items() if name != "emoji.json"}


def test_writing_the_bundled_arrays_gives_the_bundled_file(build, tmp_path: Path):
    with np.load(bundled("emoji.npz")) as arrays:
        build["write_npz"](dict(arrays), tmp_path / "emoji.npz")
    assert (tmp_path / "emoji.npz").read_bytes() == bundled("emoji.npz").read_bytes()


def test_a_hundred_pairs_are_held_out_and_are_no_emoji(loaded):
    assert len(emoji.HELD_OUT) == 100
    assert len(emoji.OBJECTS) == 50
    captions = {caption.lower() for caption in loaded[1]}
    assert set(emoji.OBJECTS) <= captions
    assert not {f"{colour} {thing}" for colour, thing in emoji.HELD_OUT} & captions
    for i, colour in enumerate(emoji.COLOURS):
        assert 12 <= sum(pair[0] == colour for pair in emoji.HELD_OUT) <= 13, (i, colour)


def test_no_object_is_held_out_in_the_colour_that_it_has(loaded):
    images, captions = loaded
    seen = foreground_colour((images[[captions.index(thing) for thing in emoji.OBJECTS]] + 1) / 2)
    assert not {(colour, thing) for colour, thing in zip(seen, emoji.OBJECTS, strict=True)} & emoji.HELD_OUT


@pytest.mark.parametrize("colour", ["red", "blue"])
def test_recoloured_emoji_never_show_what_is_held_out(loaded, colour):
    images, captions = loaded
    changed, names, sources = emoji.recoloured(images, captions, colour)
    assert len(changed) == len(names) == len(sources) > 1500
    held_out = {f"{colour} {thing}" for held, thing in emoji.HELD_OUT if held == colour}
    assert held_out
    assert not held_out & set(names)
    assert not set(names) & set(captions)
    assert all(colour in name.split() for name in names)


def test_a_colour_in_the_name_gives_way():
    captions = ["red apple", "green apple", "cat face", "black cat", "hollow red circle"]
    _, names, sources = emoji.recoloured(torch.zeros(5, 3, 32, 32), captions, "blue")
    assert names == ["blue apple", "blue apple", "blue cat face", "hollow blue circle"]
    assert sources == [0, 1, 2, 4]
    assert "green apple" not in emoji.recoloured(torch.zeros(5, 3, 32, 32), captions, "green")[1]
