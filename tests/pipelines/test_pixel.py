import json

import pytest
import torch
from torch.testing import assert_close

from minidiff.diffusion import prediction
from minidiff.nets import UNet, UNetConfig
from minidiff.pipelines import PixelDiffusion

SMALL = UNetConfig.tiny(channels=(16, 16), attention=(False, True), heads=2)


@pytest.fixture
def model() -> PixelDiffusion:
    return PixelDiffusion(UNet(SMALL).eval(), SMALL, {"name": "cosine", "T": 50}, "v", size=16)


def test_pictures_lie_in_0_to_1_and_depend_on_the_seed_alone(model):
    pictures = model.generate(5, steps=3, seed=7, batch_size=2)
    assert pictures.shape == (5, 1, 16, 16)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert_close(model.generate(5, steps=3, seed=7, batch_size=5), pictures, atol=1e-4, rtol=0)
    assert_close(model.generate(1, steps=3, seed=9), pictures[2:3], atol=1e-4, rtol=0)
    assert (model.generate(5, steps=3, seed=8) - pictures).abs().max() > 0.01
    assert (model.generate(5, steps=3, seed=7, sampler="ddim") - pictures).abs().max() > 0.01


def test_the_default_dtype_of_a_notebook_does_not_matter(model):
    pictures = model.generate(1, steps=2)
    torch.set_default_dtype(torch.float64)
    try:
        assert_close(model.generate(1, steps=2), pictures)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0.0), (torch.float16, 1e-2)])
def test_a_saved_model_draws_the_same(model, dtype, tolerance, tmp_path):
    model.save(tmp_path, dtype=dtype)
    loaded = PixelDiffusion.load(tmp_path, "cpu")
    assert loaded.description() == model.description()
    assert not loaded.unet.training
    assert_close(loaded.generate(2, steps=3), model.generate(2, steps=3), atol=tolerance, rtol=0)


def test_the_denoiser_holds_x_0_within_the_range_of_pictures(model):
    x_0, _ = model.denoiser()(3 * torch.randn(2, 1, 16, 16), 40)
    assert x_0.abs().max() <= 1


def test_a_younger_self_guides(model, tmp_path):
    torch.manual_seed(1)
    guided = PixelDiffusion(
        model.unet, SMALL, {"name": "cosine", "T": 50}, "v", 16, younger=UNet(SMALL).eval(), guidance_scale=2
    )
    x_t, alone, both = torch.randn(2, 1, 16, 16), model.denoiser(), guided.denoiser()
    younger = prediction.as_denoiser(guided.younger, guided.schedule, "v")(x_t, 40).x_0
    older = prediction.as_denoiser(model.unet, guided.schedule, "v")(x_t, 40).x_0
    assert_close(both(x_t, 40).x_0, (2 * older - younger).clamp(-1, 1))
    assert_close(guided.denoiser(guidance_scale=1)(x_t, 40).x_0, alone(x_t, 40).x_0)
    guided.save(tmp_path)
    assert_close(PixelDiffusion.load(tmp_path, "cpu").generate(2, steps=3), guided.generate(2, steps=3))
    (tmp_path / "younger.safetensors").unlink()
    assert PixelDiffusion.load(tmp_path, "cpu").guidance_scale == 1
    with pytest.raises(ValueError, match="no younger self"):
        model.generate(1, steps=2, guidance_scale=2)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 51}, {"sampler": "eular"}, {"batch_size": 0}])
def test_what_cannot_be_drawn_is_an_error(model, wrong):
    with pytest.raises(ValueError, match=r"steps|sampler|batch_size"):
        model.generate(1, **wrong)


def test_no_pictures_are_an_error(model):
    with pytest.raises(ValueError, match="at least 1 picture"):
        model.generate(0)


def test_a_folder_that_is_no_model_is_an_error(model, tmp_path):
    with pytest.raises(ValueError, match="is no model"):
        PixelDiffusion.load(tmp_path)
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"kind": "latent diffusion"}))
    with pytest.raises(ValueError, match="kind 'latent diffusion'"):
        PixelDiffusion.load(tmp_path)
    other = UNetConfig.tiny(channels=(16, 32), attention=(False, True), heads=2)
    (tmp_path / "config.json").write_text(json.dumps(config | {"unet": other.to_dict()}))
    with pytest.raises(ValueError, match="do not fit"):
        PixelDiffusion.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        PixelDiffusion.load(tmp_path)


def test_the_bundled_model_loads():
    model = PixelDiffusion.load("digits-pixel", "cpu")
    assert model.generate(1, steps=2).shape == (1, 1, 32, 32)
