import json

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import prediction
from minidiff.nets import UNet, UNetConfig
from minidiff.noise import randn_like, seeded
from minidiff.pipelines import PixelDiffusion

SMALL = UNetConfig.tiny(channels=(16, 16), attention=(False, True), heads=2)


@pytest.fixture
def model(small_pixel_model) -> PixelDiffusion:
    return small_pixel_model


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


def test_options_reach_the_sampler_and_others_are_refused_by_name(model):
    settings = {"steps": 3, "seed": 5, "sampler": "ddim"}
    generators = seeded(5, 2)
    x_T = model.noise(generators)
    own = samplers.ddim(model.denoiser(), x_T, samplers.times(50, 3), generator=generators, eta=0.7)
    made = model.generate(2, sampler_options={"eta": 0.7}, **settings)
    assert_close(made, (samplers.final(own) + 1).clamp(0, 2) / 2)
    assert (made - model.generate(2, **settings)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="the sampler ddim has no option variance; it has eta"):
        model.generate(2, sampler_options={"variance": "beta"}, **settings)


class Recording(UNet):
    """A U-Net that predicts 0 and records (t, x_t) of each call."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        self.calls = []

    def forward(self, x_t, t):
        self.calls.append((t[0].item(), x_t))
        return torch.zeros_like(x_t)


@pytest.mark.parametrize(
    ("schedule", "sampler", "t", "size"),
    [
        ({"name": "cosine", "T": 50}, "ddim", 50, 1.0),
        ({"name": "flow", "T": 50}, "ddim", 50, 1.0),
        ({"name": "flow", "T": 50}, "heun", 49, 0.98),
        ({"name": "flow", "T": 50, "shift": 3.0}, "heun", 48, 3 * 0.96 / (1 + 2 * 0.96)),
        ({"name": "variance_exploding", "T": 50, "sigma_max": 30.0}, "ddim", 50, 30.0),
    ],
)
def test_it_begins_with_noise_of_the_size_of_the_first_level(schedule, sampler, t, size):
    model = PixelDiffusion(Recording(SMALL), schedule, "v", size=16)
    model.generate(2, steps=3, sampler=sampler, seed=5)
    first, x = model.unet.calls[0]
    assert first == t
    assert_close(x, size * randn_like(x, seeded(5, 2)))


@pytest.mark.parametrize("sampler", samplers.BY_NAME)
@pytest.mark.parametrize("name", ["flow", "variance_exploding"])
def test_schedules_that_do_not_keep_the_variance_draw_with_every_sampler(model, name, sampler, tmp_path):
    other = PixelDiffusion(model.unet, {"name": name, "T": 50}, "u", size=16)
    made = other.generate(2, steps=4, sampler=sampler)
    assert made.isfinite().all()
    other.save(tmp_path)
    assert_close(PixelDiffusion.load(tmp_path, "cpu").generate(2, steps=4, sampler=sampler), made)


def test_the_denoiser_holds_x_0_within_the_range_of_pictures(model):
    x_0, _ = model.denoiser()(3 * torch.randn(2, 1, 16, 16), 40)
    assert x_0.abs().max() <= 1


def test_a_younger_network_guides(model, tmp_path):
    torch.manual_seed(1)
    guided = PixelDiffusion(
        model.unet, {"name": "cosine", "T": 50}, "v", size=16, younger=UNet(SMALL).eval(), guidance_scale=2
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
    with pytest.raises(ValueError, match="no younger network"):
        model.generate(1, steps=2, guidance_scale=2)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 51}, {"sampler": "eular"}, {"batch_size": 0}])
def test_what_cannot_be_drawn_is_an_error(model, wrong):
    with pytest.raises(ValueError, match=r"steps|sampler|batch_size"):
        model.generate(1, **wrong)


@pytest.mark.parametrize("request_for_none", [0, -1, []])
def test_no_pictures_are_an_error(model, request_for_none):
    with pytest.raises(ValueError, match="number of images must be at least 1"):
        model.generate(request_for_none)


@pytest.mark.parametrize(
    "request_with_prompts", [{"prompts": ["a red seven"]}, {"prompts": 1, "negative_prompts": ["blue"]}]
)
def test_prompts_and_negative_prompts_are_refused_not_ignored(model, request_with_prompts):
    with pytest.raises(ValueError, match="draws without prompts"):
        model.generate(**request_with_prompts, steps=2)


@pytest.mark.parametrize(
    ("schedule", "kind", "message"), [("quadratic", "v", "unknown schedule"), ("flow", "w", "prediction type")]
)
def test_an_unknown_schedule_or_prediction_type_is_an_error(model, schedule, kind, message):
    with pytest.raises(ValueError, match=message):
        PixelDiffusion(model.unet, {"name": schedule, "T": 50}, kind, size=16)


def test_a_folder_that_is_no_model_is_an_error(model, tmp_path):
    with pytest.raises(ValueError, match="is not a model"):
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
