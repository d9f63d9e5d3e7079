import json

import pytest
import torch
from torch.testing import assert_close

from minidiff.nets import VAE, VAEConfig
from minidiff.pipelines import TextToImage, load

PROMPTS = ["a red seven", "a blue two on navy", "seven"]


@pytest.fixture
def model(small_model) -> TextToImage:
    return small_model


def test_pictures_lie_in_0_to_1_and_depend_on_prompt_and_seed_alone(model):
    pictures = model.generate(PROMPTS, steps=3, seed=7, batch_size=2)
    assert pictures.shape == (3, 3, 16, 16)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert_close(model.generate(PROMPTS, steps=3, seed=7), pictures, atol=1e-4, rtol=0)
    assert_close(model.generate(PROMPTS[1:], steps=3, seed=8), pictures[1:], atol=1e-4, rtol=0)
    for other in ({"seed": 8}, {"sampler": "ddpm"}, {"guidance_scale": 1}, {"negative_prompts": ["seven"] * 3}):
        assert (model.generate(PROMPTS, **({"steps": 3, "seed": 7} | other)) - pictures).abs().max() > 1e-3


def test_the_null_prompt_is_what_an_empty_negative_prompt_says(model):
    assert_close(model.generate(PROMPTS, steps=2, negative_prompts=["", "", ""]), model.generate(PROMPTS, steps=2))


def test_it_can_begin_at_given_noise(model):
    x_T = torch.randn(3, *model.latent_shape)
    pictures = model.generate(PROMPTS, steps=2, x_T=x_T, batch_size=2)
    assert_close(model.generate(PROMPTS[2:], steps=2, x_T=x_T[2:]), pictures[2:], atol=1e-4, rtol=0)


def test_encode_and_decode_use_the_scale_on_both_sides(model):
    pictures = torch.rand(2, 3, 16, 16)
    mean, _ = model.vae.encode(2 * pictures - 1)
    assert_close(model.encode(pictures), 0.7 * mean)
    straight = (model.vae.decode(mean) + 1).clamp(0, 2) / 2
    assert_close(model.decode(model.encode(pictures)), straight.detach())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0.0), (torch.float16, 1e-2)])
def test_a_saved_model_draws_the_same(model, dtype, tolerance, tmp_path):
    model.save(tmp_path, dtype=dtype)
    loaded = load(tmp_path, "cpu")
    assert isinstance(loaded, TextToImage)
    assert loaded.description() == model.description()
    assert not loaded.unet.training
    assert_close(loaded.generate(PROMPTS, steps=3), model.generate(PROMPTS, steps=3), atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompts": []}, "at least one prompt"),
        ({"sampler": "eular"}, "unknown sampler 'eular'"),
        ({"steps": 0}, "steps"),
        ({"steps": 51}, "steps"),
        ({"negative_prompts": ["a"]}, "got 1 for 3"),
        ({"x_T": torch.zeros(3, 4, 8, 8)}, "x_T must have the shape"),
        ({"batch_size": 0}, "batch_size"),
        ({"guidance_scale": float("nan")}, "scale"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(model, wrong, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**({"prompts": PROMPTS} | wrong))


def test_one_string_is_not_a_list_of_prompts(model):
    with pytest.raises(TypeError, match="list of strings"):
        model.generate("a red seven")


def test_a_prompt_that_is_too_long_is_cut_with_a_warning(model):
    with pytest.warns(UserWarning, match="its end is lost"):
        model.generate(["one two three four five six seven eight nine"], steps=1)


def test_parts_that_do_not_fit_are_refused(model):
    for change, message in (
        (VAEConfig.tiny(latent_channels=3), "channels"),
        (VAEConfig.tiny(channels=(8,) * 5), "multiple"),
    ):
        with pytest.raises(ValueError, match=message):
            TextToImage(
                VAE(change), model.conditioner, model.unet, model.schedule_config, "v", size=16, guidance_scale=3
            )


def test_a_folder_of_another_kind_is_an_error(model, tmp_path):
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"kind": "magic"}))
    with pytest.raises(ValueError, match="kind 'magic'"):
        load(tmp_path)
