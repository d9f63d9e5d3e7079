"""Files: whole or not written at all, bundled files in a checkout and in a wheel, models on disk, and files of version 0.1.0."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from minidiff import storage
from minidiff.nets import VAE, UNet, UNetConfig, VAEConfig
from minidiff.text import CLIP, ImageEncoder, TextEncoder, TextEncoderConfig

SIZES = UNetConfig.tiny(channels=(8, 16), attention=(True, True), heads=2, norm_groups=4, context_dim=6)
NETWORKS = {
    "U-Net": lambda: UNet(SIZES),
    "VAE": lambda: VAE(VAEConfig.tiny(channels=(4, 8), norm_groups=2)),
    "text": lambda: TextEncoder(TextEncoderConfig.tiny(40, 8, dim=16, heads=2)),
}


# Writing and reading one file.


def test_tensors_metadata_and_json_are_read_as_they_were_written(tmp_path):
    weights = tmp_path / "deep" / "weights.safetensors"
    storage.write_tensors(weights, {"w": torch.arange(3.0)}, {"step": 5, "sizes": [1, 2]})
    tensors, metadata = storage.read_tensors(weights)
    assert tensors["w"].tolist() == [0, 1, 2]
    assert metadata == {"step": 5, "sizes": [1, 2]}
    storage.write_json(tmp_path / "config.json", {"prompt": "a 7 in Zürich", "sizes": [1, 2]})
    assert storage.read_json(tmp_path / "config.json") == {"prompt": "a 7 in Zürich", "sizes": [1, 2]}
    assert "Zürich" in (tmp_path / "config.json").read_text(encoding="utf-8")


@contextmanager
def nearly_full_disk(size: int):
    """Within this block a write of more than `size` bytes into one file fails. Outside it pytest itself must be able to write."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITES = {
    "tensors": lambda path, size: storage.write_tensors(path, {"w": torch.zeros(size)}),
    "json": lambda path, size: storage.write_json(path, {"w": [0] * size}),
    "weights": lambda path, size: storage.write_weights(torch.nn.Linear(size, 1), path),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_an_interrupted_write_leaves_the_old_file_and_no_partial_one(write, tmp_path):
    write(tmp_path / "file", 3)
    old = (tmp_path / "file").read_bytes()
    with pytest.raises(OSError, match="too large"), nearly_full_disk(10_000):
        write(tmp_path / "file", 100_000)
    assert (tmp_path / "file").read_bytes() == old
    with pytest.raises(OSError, match="too large"), nearly_full_disk(10_000):
        write(tmp_path / "new", 100_000)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    write(tmp_path / "file", 30)
    assert (tmp_path / "file").read_bytes() != old


def test_a_file_never_replaces_a_folder(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "kept").touch()
    with pytest.raises(OSError, match="there"):
        storage.write(tmp_path / "there", b"content")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["there", "there/kept"]


def test_weights_can_be_read_by_whoever_may_read_other_new_files(tmp_path):
    storage.write_tensors(tmp_path / "w.safetensors", {"w": torch.zeros(1)})
    (tmp_path / "other").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_missing_or_broken_tensors_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no x\.safetensors"):
        storage.read_tensors(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ValueError, match=r"x\.safetensors cannot be read"):
        storage.read_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no x\.json in "),
        (b"{", r"x\.json is not valid JSON"),
        (b'"\xff"', r"x\.json is not valid JSON"),
        (b"[1]", r"x\.json must hold a JSON object, found a list"),
    ],
)
def test_missing_or_broken_json_is_named(content, message, tmp_path):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        storage.read_json(tmp_path / "x.json")


# Bundled files.


def test_a_checkout_keeps_the_bundled_files_in_data():
    assert storage.bundled("digits.npz").is_file()


def test_a_wheel_carries_the_bundled_files_inside_the_package(tmp_path):
    """A folder `data` beside an installed package may be anybody's, so the package's own folder comes first."""
    inside, beside = tmp_path / "minidiff" / "bundled", tmp_path / "data"
    for folder in (inside, beside):
        folder.mkdir(parents=True)
        (folder / "digits.npz").touch()
    assert storage.bundled("digits.npz", installed=inside, checkout=beside) == inside / "digits.npz"
    assert storage.bundled("digits.npz", installed=tmp_path / "gone", checkout=beside) == beside / "digits.npz"


@pytest.mark.parametrize("name", ["digit.npz", "", "no/such/folder"])
def test_a_missing_bundled_file_says_what_where_and_what_there_is(name):
    with pytest.raises(FileNotFoundError) as error:
        storage.bundled(name)
    for part in (repr(name), str(storage.bundled("digits.npz").parent), "digits.npz"):
        assert part in str(error.value)


def test_a_missing_folder_of_bundled_files_says_so_too(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is: nothing"):
        storage.bundled("digits.npz", installed=tmp_path / "gone", checkout=tmp_path / "gone too")


# Models on disk.


def write_config(folder: Path, **more) -> Path:
    storage.write_json(folder / "config.json", {"kind": "pixel diffusion", "unet": SIZES.to_dict() | more, "size": 8})
    return folder


def test_a_model_is_a_folder_or_the_name_of_a_bundled_one(tmp_path, monkeypatch):
    assert storage.find_model(write_config(tmp_path / "own")) == tmp_path / "own"
    assert storage.find_model("digits") == storage.bundled("digits")
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "digits")
    assert storage.find_model("digits").resolve() == tmp_path / "digits"


@pytest.mark.parametrize("name", ["digit", "empty"])
def test_what_is_not_a_model_is_an_error_that_lists_the_bundled_models(name, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=rf"{name} is not a model: .*digits, emoji, digits-pixel"):
        storage.find_model(tmp_path / name)


def test_a_configuration_of_another_kind_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="kind 'pixel diffusion', expected 'text to image'"):
        storage.read_config(write_config(tmp_path), "text to image")


def test_weights_of_another_network_are_refused(tmp_path):
    storage.write_tensors(tmp_path / "w.safetensors", NETWORKS["VAE"]().state_dict())
    with pytest.raises(ValueError, match=r"w\.safetensors do not fit its config\.json"):
        storage.read_weights(NETWORKS["U-Net"], tmp_path / "w.safetensors")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_are_read_as_float32_for_evaluation_and_whole_numbers_stay_whole(dtype, tmp_path):
    def build():
        return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))

    module = build()
    module[1].num_batches_tracked.fill_(3000)  # which float16 would round
    storage.write_weights(module, tmp_path / "w.safetensors", dtype)
    assert storage.read_tensors(tmp_path / "w.safetensors")[0]["0.weight"].dtype == dtype
    read = storage.read_weights(build, tmp_path / "w.safetensors")
    assert not read.training
    assert torch.equal(read[0].weight, module[0].weight.to(dtype).float())
    assert read[1].num_batches_tracked.tolist() == 3000
    assert read[1].num_batches_tracked.dtype == torch.int64


def test_equal_weights_have_equal_digests_and_a_checkpoint_does_not_count(tmp_path):
    for folder, value in (("a", 1.0), ("b", 1.0), ("other", 2.0)):
        storage.write_tensors(tmp_path / folder / "model.safetensors", {"w": torch.full((3,), value)})
    digest = storage.digest(tmp_path / "a")
    storage.write_tensors(tmp_path / "a" / "checkpoint.safetensors", {"w": torch.zeros(3)})
    assert storage.digest(tmp_path / "a") == storage.digest(tmp_path / "b") == digest
    assert storage.digest(tmp_path / "other") != digest


# Files that version 0.1.0 wrote: the names of their weights, and the fields of their configuration.

# A name of today, and the name in version 0.1.0.
FORMERLY = {
    "down.0.0.transformer.blocks.0.self_attention.query.weight": "down.0.0.transformer.block.self_attention.query.weight",
    "up.1.0.transformer.blocks.0.norm_cross.bias": "up.1.0.transformer.block.norm_cross.bias",
    "middle.0.transformer.blocks.0.feed_forward.linear.bias": "middle.0.transformer.block.feed_forward.geglu.linear.bias",
    "middle.0.transformer.blocks.0.feed_forward.out.bias": "middle.0.transformer.block.feed_forward.out.bias",
    "middle.1.block.conv_1.weight": "middle.1.block.conv_1.weight",
    "encoder.middle.1.attention.query.weight": "encoder.middle.1.query.weight",
    "decoder.middle.1.attention.out.bias": "decoder.middle.1.out.bias",
    "decoder.middle.1.norm.weight": "decoder.middle.1.norm.weight",
    "blocks.0.feed_forward.linear.weight": "blocks.0.feed_forward.linear.weight",
    "blocks.1.self_attention.out.weight": "blocks.1.self_attention.out.weight",
}


def former(name: str) -> str:
    """The name that a weight of a U-Net, a VAE or a text encoder had in version 0.1.0."""
    if ".transformer." in name:
        return name.replace(".blocks.0.", ".block.").replace(".feed_forward.linear.", ".feed_forward.geglu.linear.")
    return name.replace(".middle.1.attention.", ".middle.1.")


def test_the_former_names_are_those_that_0_1_0_wrote():
    assert {name: former(name) for name in FORMERLY} == FORMERLY
    known = {name for build in NETWORKS.values() for name in build().state_dict()}
    assert set(FORMERLY) <= known


CLIP_NAMES = CLIP(ImageEncoder(), TextEncoder(TextEncoderConfig.tiny(40, 8)), 16).state_dict()


def test_the_stages_of_an_image_encoder_had_another_name():
    """Version 0.1.0 called them levels; the second stage of a run keeps them in its checkpoint."""
    now = {f"{prefix}.{name}" for prefix in ("model", "ema.module") for name in CLIP_NAMES}
    old = {name.replace("image_encoder.stages.", "image_encoder.levels."): torch.zeros(1) for name in now}
    assert storage.with_current_names(old).keys() == now != old.keys()


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
def test_weights_with_former_names_are_read_to_the_same_tensors(build, tmp_path):
    weights = build().state_dict()
    storage.write_tensors(tmp_path / "old.safetensors", {former(name): w for name, w in weights.items()})
    storage.write_tensors(tmp_path / "new.safetensors", weights)
    for file in ("old.safetensors", "new.safetensors"):
        read = storage.read_weights(build, tmp_path / file).state_dict()
        assert list(read) == list(weights)
        assert all(torch.equal(read[name], weights[name]) for name in weights)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("prefix", ["model", "ema.module"])
def test_in_a_checkpoint_the_weights_and_the_order_of_the_data_are_renamed_and_nothing_else(build, prefix):
    weights = build().state_dict()
    others = {
        "optimizer.3.exp_avg": torch.ones(2),
        "generator": torch.zeros(4, dtype=torch.uint8),
        "losses": torch.ones(1),
    }
    old = {f"{prefix}.{former(name)}": weight for name, weight in weights.items()}
    read = storage.with_current_names(old | {"order.permutation": torch.arange(5)} | others)
    expected = {f"{prefix}.{name}": weight for name, weight in weights.items()} | {"data.permutation": torch.arange(5)}
    assert read.keys() == (expected | others).keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in (expected | others).items())


def test_a_configuration_of_0_1_0_is_read_as_the_same_network(tmp_path):
    config = storage.read_config(write_config(tmp_path, block="resnet", attention_kind="full"), "pixel diffusion")
    assert UNetConfig.from_dict(config["unet"]) == SIZES
    assert config == storage.read_config(write_config(tmp_path), "pixel diffusion")


def test_a_configuration_of_0_1_0_lacks_the_fields_that_were_added_since(tmp_path):
    added = ("vector_dim", "classes", "depth", "middle")
    sizes = {name: size for name, size in SIZES.to_dict().items() if name not in added}
    storage.write_json(tmp_path / "config.json", {"unet": sizes | {"block": "resnet", "attention_kind": "full"}})
    assert UNetConfig.from_dict(storage.read_config(tmp_path)["unet"]) == SIZES


@pytest.mark.parametrize(("field", "value"), [("block", "convnext"), ("attention_kind", "linear")])
def test_a_network_that_is_no_longer_built_is_refused_with_the_version_that_reads_it(field, value, tmp_path):
    write_config(tmp_path, **({"block": "resnet", "attention_kind": "full"} | {field: value}))
    with pytest.raises(
        ValueError, match=rf"{field}='{value}', which can no longer be loaded.* 0\.1\.0 is the last version"
    ):
        storage.read_config(tmp_path)


def test_an_unknown_field_is_still_an_error(tmp_path):
    with pytest.raises(ValueError, match="widht"):
        UNetConfig.from_dict(storage.read_config(write_config(tmp_path, widht=3))["unet"])


@pytest.mark.parametrize("model", storage.BUNDLED)
def test_bundled_models_are_written_as_this_version_writes_them(model):
    config = json.loads((storage.find_model(model) / "config.json").read_text(encoding="utf-8"))
    assert UNetConfig.from_dict(config["unet"]).to_dict() == {
        name: tuple(size) if isinstance(size, list) else size for name, size in config["unet"].items()
    }
    for path in storage.find_model(model).glob("*.safetensors"):
        tensors, _ = storage.read_tensors(path)
        assert list(storage.with_current_names(tensors)) == list(tensors)
