"""The one protocol of all kinds of model: a denoiser of x of one shape, whose x_0 is decoded to images."""

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers, storage
from minidiff.noise import seeded
from minidiff.pipelines import KINDS, Pipeline, PixelDiffusion, TextToImage, load

REQUESTS = {"small_pixel_model": 3, "small_model": ["a red seven", "seven", ""], "small_flow_model": ["a", "b", "c"]}


@pytest.fixture(params=REQUESTS)
def model(request) -> Pipeline:
    return request.getfixturevalue(request.param)


@pytest.fixture
def three(model, request):
    """A request for three images: prompts, or for a model without prompts their number."""
    return REQUESTS[request.node.callspec.params["model"]]


def test_a_kind_is_found_by_the_name_in_its_folder(model, tmp_path):
    assert KINDS[model.KIND] is type(model)
    model.save(tmp_path / "deep" / "model")
    loaded = load(tmp_path / "deep" / "model", "cpu")
    assert type(loaded) is type(model)
    assert loaded.description() == model.description()
    assert model.description()["kind"] == model.KIND


def test_both_kinds_are_known():
    assert set(KINDS.values()) == {PixelDiffusion, TextToImage}


def test_the_denoiser_answers_in_the_model_s_shape_and_decode_makes_images(model, three):
    x = 3 * torch.randn(3, *model.shape)
    prediction = model.denoiser(three)(x, 20)
    assert prediction.x_0.shape == prediction.eps.shape == x.shape
    scales = model.schedule.at(20, like=x)
    assert_close(prediction.at(scales), x, atol=1e-4, rtol=1e-4)
    images = model.decode(x)
    assert images.shape[::2] == (3, 16)
    assert images.shape[3] == 16
    assert 0 <= images.min() < images.max() <= 1
    assert not images.requires_grad


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "heun"])
def test_an_image_is_the_decoded_end_of_a_sampler_that_starts_from_noise(model, three, sampler):
    times, generators = model.times(3, sampler), seeded(5, 3)
    x = model.noise(generators)
    assert x.shape == (3, *model.shape)
    x_T = model.schedule.prior_std(times[0]) * x
    own = samplers.BY_NAME[sampler](model.denoiser(three), x_T, times, generator=generators)
    made = model.generate(three, steps=3, sampler=sampler, seed=5)
    assert_close(made, model.decode(samplers.final(own)))


@pytest.mark.slow
def test_without_settings_a_model_draws_in_its_own_way(small_pixel_model, small_model):
    many = PixelDiffusion(small_pixel_model.unet, {"name": "cosine", "T": 200}, "v", size=16)
    for model, request, steps, sampler, scale in ((many, 1, 100, "ddpm", 1), (small_model, ["seven"], 25, "ddim", 3)):
        path = list(model.sample(request))
        own = model.sample(request, steps=steps, sampler=sampler, guidance_scale=scale, seed=0)
        assert len(path) == steps
        assert torch.equal(samplers.final(own), path[-1].x_t)


def test_it_can_start_at_given_noise(model, three):
    x_T = torch.randn(3, *model.shape)
    images = model.generate(three, steps=2, sampler="ddim", x_T=x_T, batch_size=2)
    last = three[2:] if isinstance(three, list) else 1
    assert_close(model.generate(last, steps=2, sampler="ddim", x_T=x_T[2:]), images[2:], atol=1e-4, rtol=0)
    assert (model.generate(three, steps=2, sampler="ddim", x_T=-x_T) - images).abs().max() > 1e-3


def test_noise_of_another_shape_is_an_error(model, three):
    channels, height, width = model.shape
    for shape in ((3, channels + 1, height, width), (3, channels, 2 * height, width), (2, channels, height, width)):
        with pytest.raises(ValueError, match=rf"x_T must have the shape \(3, {channels}, {height}, {width}\)"):
            model.generate(three, steps=2, x_T=torch.zeros(shape))


def test_only_heun_starts_below_the_last_level(model):
    """Heun starts at the last level where noise / signal is at most 80."""
    assert model.schedule.karras_sigmas[49] <= 80 < model.schedule.karras_sigmas[50]
    for sampler in samplers.BY_NAME:
        first = 49 if sampler == "heun" else 50
        assert model.times(4, sampler)[0] == first
        assert model.times(4, sampler)[-1] == 0


def test_a_summary_names_the_kind_and_the_number_of_parameters_of_each_part(model):
    summary = model.summary()
    assert model.KIND in summary
    for part in model.parts().values():
        assert f"{sum(p.numel() for p in part.parameters()):,}" in summary
        assert str(part.config) in summary


def test_notes_are_written_beside_the_configuration(model, tmp_path):
    model.save(tmp_path, notes={"subject": "cats"})
    config = storage.read_config(tmp_path)
    assert config["subject"] == "cats"
    assert config["kind"] == model.KIND
