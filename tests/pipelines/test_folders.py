"""Models on disk that version 0.1.0 wrote: the names of their weights, and the fields of their configuration."""

import json

import pytest
import torch

from minidiff.nets import VAE, UNet, UNetConfig, VAEConfig
from minidiff.pipelines import folders
from minidiff.text import TextEncoder, TextEncoderConfig
from minidiff.training import checkpoint

SIZES = UNetConfig.tiny(channels=(8, 16), attention=(True, True), heads=2, norm_groups=4, context_dim=6)
NETWORKS = {
    "U-Net": lambda: UNet(SIZES),
    "VAE": lambda: VAE(VAEConfig.tiny(channels=(4, 8), norm_groups=2)),
    "text": lambda: TextEncoder(TextEncoderConfig.tiny(40, 8, dim=16, heads=2)),
}
# A name of now, and what version 0.1.0 called it.
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
    """The name that version 0.1.0 had for a weight of a U-Net, a VAE or a text encoder."""
    if ".transformer." in name:
        return name.replace(".blocks.0.", ".block.").replace(".feed_forward.linear.", ".feed_forward.geglu.linear.")
    return name.replace(".middle.1.attention.", ".middle.1.")


def test_names_of_before_are_those_that_0_1_0_wrote():
    assert {name: former(name) for name in FORMERLY} == FORMERLY
    known = {name for build in NETWORKS.values() for name in build().state_dict()}
    assert set(FORMERLY) <= known


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
def test_weights_with_the_names_of_before_are_read_to_the_same_tensors(build, tmp_path):
    weights = build().state_dict()
    checkpoint.write_tensors(tmp_path / "old.safetensors", {former(name): w for name, w in weights.items()})
    checkpoint.write_tensors(tmp_path / "new.safetensors", weights)
    for file in ("old.safetensors", "new.safetensors"):
        read = folders.read_weights(build, tmp_path / file).state_dict()
        assert list(read) == list(weights)
        assert all(torch.equal(read[name], weights[name]) for name in weights)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("prefix", ["model", "ema.module"])
def test_the_weights_of_a_run_s_checkpoint_are_renamed_and_nothing_else_in_it(build, prefix, tmp_path):
    weights = build().state_dict()
    others = {
        "optimizer.3.exp_avg": torch.ones(2),
        "generator": torch.zeros(4, dtype=torch.uint8),
        "losses": torch.ones(1),
    }
    old = checkpoint.prefixed(prefix, {former(name): weight for name, weight in weights.items()})
    checkpoint.write_tensors(tmp_path / checkpoint.CHECKPOINT, old | others)
    read = checkpoint.renamed(checkpoint.read_tensors(tmp_path / checkpoint.CHECKPOINT)[0])
    expected = checkpoint.prefixed(prefix, weights) | others
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in expected)


def write_config(folder, **removed):
    sizes = SIZES.to_dict() | removed
    checkpoint.write_json(folder / "config.json", {"kind": "pixel diffusion", "unet": sizes, "size": 8})
    return folder


def test_a_configuration_of_before_is_read_as_the_same_network(tmp_path):
    config = folders.read_config(write_config(tmp_path, block="resnet", attention_kind="full"), "pixel diffusion")
    assert UNetConfig.from_dict(config["unet"]) == SIZES
    assert config == folders.read_config(write_config(tmp_path), "pixel diffusion")


def test_a_configuration_of_before_lacks_what_was_added_since(tmp_path):
    added = ("vector_dim", "classes", "depth", "middle")
    sizes = {name: size for name, size in SIZES.to_dict().items() if name not in added}
    checkpoint.write_json(tmp_path / "config.json", {"unet": sizes | {"block": "resnet", "attention_kind": "full"}})
    assert UNetConfig.from_dict(folders.read_config(tmp_path)["unet"]) == SIZES


@pytest.mark.parametrize(("field", "value"), [("block", "convnext"), ("attention_kind", "linear")])
def test_a_network_that_is_no_longer_built_is_refused_with_the_version_that_reads_it(field, value, tmp_path):
    write_config(tmp_path, **({"block": "resnet", "attention_kind": "full"} | {field: value}))
    with pytest.raises(
        ValueError, match=rf"{field}='{value}': it can no longer be loaded.* 0\.1\.0 is the last version"
    ):
        folders.read_config(tmp_path)


def test_an_unknown_field_is_still_an_error(tmp_path):
    with pytest.raises(ValueError, match="widht"):
        UNetConfig.from_dict(folders.read_config(write_config(tmp_path, widht=3))["unet"])


def test_weights_of_another_network_are_refused(tmp_path):
    checkpoint.write_tensors(tmp_path / "w.safetensors", NETWORKS["VAE"]().state_dict())
    with pytest.raises(ValueError, match=r"w\.safetensors do not fit its config\.json"):
        folders.read_weights(NETWORKS["U-Net"], tmp_path / "w.safetensors")


@pytest.mark.parametrize("model", folders.BUNDLED)
def test_bundled_models_are_written_as_this_version_writes_them(model):
    config = json.loads((folders.find(model) / "config.json").read_text(encoding="utf-8"))
    assert UNetConfig.from_dict(config["unet"]).to_dict() == {
        name: tuple(size) if isinstance(size, list) else size for name, size in config["unet"].items()
    }
    for path in folders.find(model).glob("*.safetensors"):
        tensors, _ = checkpoint.read_tensors(path)
        assert list(checkpoint.renamed(tensors)) == list(tensors)
