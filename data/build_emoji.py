"""Build emoji.npz from two npm packages: Noto Emoji, scaled to 32×32 on white, and their English names.

    npm pack emoji-datasource-google@16.0.0 unicode-emoji-json@0.9.0
    python data/build_emoji.py emoji-datasource-google-16.0.0.tgz unicode-emoji-json-0.9.0.tgz

Each source may also be the unpacked folder of an archive. Flags, components, skin tones and repeated pictures or names
are left out. Another version of pillow may scale a pixel differently.
"""

import argparse
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from build_digits import write_npz
from PIL import Image

SIZE = 32
PICTURES = "img/google/64/"
LEFT_OUT = ("Flags", "Component")
PLAIN_QUOTES = str.maketrans({"’": "'", "“": '"', "”": '"'})
VARIATION_SELECTOR = "\ufe0f"  # asks for display in colour; the two packages use it differently


def read_package(source: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The wanted files of an npm package (an archive or a folder), by their path in the package."""
    if source.is_dir():
        paths = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in sorted(paths.items()) if wanted(name)}
    with tarfile.open(source) as archive:
        members = {member.name.removeprefix("package/"): member for member in archive if member.isfile()}
        return {name: archive.extractfile(member).read() for name, member in members.items() if wanted(name)}


def to_picture(png: bytes) -> np.ndarray:
    """A PNG on a white background, scaled to (32, 32, 3), uint8."""
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGBA")
    opaque = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return np.asarray(opaque.resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def to_arrays(listing: list[dict], names: dict[str, dict], pngs: dict[str, bytes]) -> dict[str, np.ndarray]:
    """Pictures (N, 32, 32, 3) and their captions (N,), UTF-8, in Unicode's order."""
    captions = {sign.replace(VARIATION_SELECTOR, ""): entry["name"] for sign, entry in names.items()}
    found: dict[str, np.ndarray] = {}
    seen: set[bytes] = set()
    for emoji in sorted(listing, key=lambda emoji: emoji["sort_order"]):
        if emoji["category"] in LEFT_OUT:
            continue
        sign = "".join(chr(int(code, 16)) for code in emoji["unified"].split("-")).replace(VARIATION_SELECTOR, "")
        if sign not in captions:
            raise ValueError(f"no name for {emoji['unified']}: use a package of names that is as new as the pictures")
        caption, picture = captions[sign].translate(PLAIN_QUOTES), to_picture(pngs[PICTURES + emoji["image"]])
        if caption not in found and picture.tobytes() not in seen:
            found[caption] = picture
            seen.add(picture.tobytes())
    return {"images": np.stack(list(found.values())), "captions": np.array([name.encode() for name in found])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="emoji-datasource-google: the .tgz or its folder")
    parser.add_argument("names", type=Path, help="unicode-emoji-json: the .tgz or its folder")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("emoji.npz"))
    arguments = parser.parse_args()
    files = read_package(arguments.pictures, lambda name: name == "emoji.json" or name.startswith(PICTURES))
    names = read_package(arguments.names, lambda name: name == "data-by-emoji.json")["data-by-emoji.json"]
    digest = write_npz(to_arrays(json.loads(files["emoji.json"]), json.loads(names), files), arguments.output)
    print(f"{digest}  {arguments.output.name}")


if __name__ == "__main__":
    main()
