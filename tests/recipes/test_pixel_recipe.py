import json
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from minidiff.nets import UNetConfig
from minidiff.pipelines import PixelDiffusion
from minidiff.recipes.pixel import PixelRecipe
from minidiff.storage import read_tensors
from minidiff.training import TrainConfig

SMALL = PixelRecipe(
    unet=UNetConfig.tiny(channels=(8, 8), attention=(False, True), heads=2),
    training=TrainConfig(steps=4, batch_size=4, checkpoint_every=2, preview_every=2, precision="float32"),
    size=16,
    schedule={"name": "cosine", "T": 50},
    prediction_type="v",
    guidance_scale=2.0,
    younger_step=2,
)
DATA = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.slow
def test_training_writes_a_model_its_younger_network_and_samples(tmp_path):
    model = SMALL.train(DATA, tmp_path, device="cpu")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"samples-000002.png", "samples-000004.png", "loss.png", "younger.safetensors"} <= names
    assert (model.size, model.prediction_type, model.schedule.T, model.guidance_scale) == (16, "v", 50, 2.0)
    weights = read_tensors(tmp_path / "model.safetensors")[0]
    assert_close(weights, dict(model.unet.state_dict()))
    assert (model.younger.conv_in.weight - model.unet.conv_in.weight).abs().max() > 0
    assert_close(PixelDiffusion.load(tmp_path, "cpu").generate(2, steps=2), model.generate(2, steps=2))
    recorded = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert TrainConfig(**recorded["training"]) == SMALL.training


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    """The run stops at the younger step, because a folder is in the way of a file that it writes."""
    whole = SMALL.train(DATA, tmp_path / "whole", device="cpu")
    obstacle = tmp_path / "stopped" / "samples-000002.png"
    obstacle.mkdir(parents=True)
    with pytest.raises(OSError, match=r"samples-000002\.png"):
        SMALL.train(DATA, tmp_path / "stopped", device="cpu")
    early = PixelDiffusion.load(tmp_path / "stopped", "cpu")
    assert early.generate(1, steps=2).shape == (1, 1, 16, 16)
    assert_close(dict(early.unet.state_dict()), dict(whole.younger.state_dict()), rtol=0, atol=0)
    obstacle.rmdir()
    resumed = SMALL.train(DATA, tmp_path / "stopped", device="cpu", resume=True)
    for name, part in resumed.parts().items():
        assert_close(dict(part.state_dict()), dict(whole.parts()[name].state_dict()), rtol=0, atol=0)


@pytest.mark.slow
def test_a_run_that_ends_before_the_younger_step_has_no_guidance(tmp_path):
    """A younger network of an earlier run in the same folder is removed."""
    (tmp_path / "younger.safetensors").touch()
    model = SMALL.changed(steps=1).train(DATA, tmp_path, device="cpu")
    assert model.younger is None
    assert model.guidance_scale == 1
    assert not (tmp_path / "younger.safetensors").exists()


def test_changes_replace_numbers_of_the_training_alone():
    changed = SMALL.changed(steps=7, seed=3)
    assert changed == replace(SMALL, training=replace(SMALL.training, steps=7, seed=3))
    assert SMALL.training.steps == 4
