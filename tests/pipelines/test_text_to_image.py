import json

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.conditioner import Conditioner
from minidiff.nets import VAE, VAEConfig
from minidiff.noise import seeded
from minidiff.pipelines import TextToImage, load
from minidiff.text import TextEncoder, TextEncoderConfig

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


OPTIONS = [
    ("ddim", {"eta": 1.0}),
    ("ddpm", {"variance": "beta"}),
    ("plms", {"warmup": "averaged"}),
    ("dpm_solver_pp", {"order": 1}),
    ("dpm_solver_pp", {"stochastic": True}),
    ("dpm_solver_pp_sde", {"order": 1}),
    ("euler", {"churn": 1.5}),
    ("heun", {"churn": 1.5}),
]


@pytest.mark.parametrize(("sampler", "options"), OPTIONS, ids=str)
def test_options_reach_the_sampler(model, sampler, options):
    """The images are those of the sampler when it is called with the options, and not those without the options."""
    settings = {"steps": 3, "seed": 7, "sampler": sampler}
    times, generators = samplers.times(50, 3, start=49 if sampler == "heun" else 50), seeded(7, 3)
    x_T = model.noise(generators)
    own = samplers.BY_NAME[sampler](model.denoiser(PROMPTS), x_T, times, generator=generators, **options)
    made = model.generate(PROMPTS, sampler_options=options, **settings)
    assert_close(made, model.decode(samplers.final(own)))
    assert (made - model.generate(PROMPTS, **settings)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        ("ddim", {"eta": 1.0, "churn": 1}, "the sampler ddim has no option churn; it has eta"),
        ("ddpm", {"order": 2, "eta": 1}, "the sampler ddpm has no option eta, order; it has variance"),
        ("euler_ancestral", {"eta": 1}, "the sampler euler_ancestral has no option eta; it has none"),
        ("dpm_solver_pp_sde", {"stochastic": False}, "no option stochastic; it has order"),
        ("plms", {"history": ()}, "no option history; it has warmup"),
        ("ddim", {"generator": None}, "no option generator"),
        ("ddim", {"constrain": None}, "no option constrain"),
        ("ddim", {"x": 1}, "no option x"),
        ("ddim", {"eta": 1.5}, r"eta must lie in \[0, 1\]"),
    ],
    ids=str,
)
def test_options_that_a_sampler_does_not_have_are_refused_by_name(model, sampler, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(PROMPTS, steps=2, sampler=sampler, sampler_options=options)


@pytest.mark.parametrize("sampler", samplers.BY_NAME)
def test_a_flow_matching_model_draws_with_every_sampler(small_flow_model, sampler):
    made = small_flow_model.generate(PROMPTS, steps=4, sampler=sampler, seed=3)
    assert made.isfinite().all()
    assert_close(small_flow_model.generate(PROMPTS[1:], steps=4, sampler=sampler, seed=4), made[1:], atol=1e-4, rtol=0)


def test_encode_and_decode_use_the_scale_on_both_sides(model):
    pictures = torch.rand(2, 3, 16, 16)
    mean, _ = model.vae.encode(2 * pictures - 1)
    assert_close(model.encode(pictures), 0.7 * mean)
    straight = (model.vae.decode(mean) + 1).clamp(0, 2) / 2
    assert_close(model.decode(model.encode(pictures)), straight.detach())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0.0), (torch.float16, 1e-2)])
@pytest.mark.parametrize("name", ["small_model", "small_flow_model"])
def test_a_saved_model_draws_the_same(name, dtype, tolerance, tmp_path, request):
    model = request.getfixturevalue(name)
    model.save(tmp_path, dtype=dtype)
    loaded = load(tmp_path, "cpu")
    assert isinstance(loaded, TextToImage)
    assert loaded.description() == model.description()
    assert not loaded.unet.training
    assert_close(loaded.generate(PROMPTS, steps=3), model.generate(PROMPTS, steps=3), atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompts": []}, "draws from prompts: give at least one"),
        ({"prompts": 3}, "draws from prompts: give at least one"),
        ({"sampler": "eular"}, "unknown sampler 'eular'"),
        ({"steps": 0}, "steps"),
        ({"steps": 51}, "steps"),
        ({"negative_prompts": ["a"]}, "one negative prompt per prompt, got 1 for 3"),
        ({"negative_prompts": ["a"] * 4}, "one negative prompt per prompt, got 4 for 3"),
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
    with pytest.raises(TypeError, match="list of strings"):
        model.generate(["a red seven"], negative_prompts="b")


def test_a_prompt_that_is_too_long_is_cut_with_a_warning(model):
    with pytest.warns(UserWarning, match="its end is lost"):
        model.generate(["one two three four five six seven eight nine"], steps=1)


@pytest.mark.parametrize(
    ("vae", "message"),
    [
        (VAEConfig.tiny(latent_channels=3), "4 channels, the latents have 3"),
        (VAEConfig.tiny(channels=(8,) * 5), "size must be a multiple of 32, got 16"),
    ],
    ids=["channels", "size"],
)
def test_a_vae_that_does_not_fit_is_refused(model, vae, message):
    with pytest.raises(ValueError, match=message):
        TextToImage(VAE(vae), model.conditioner, model.unet, {"name": "cosine"}, "v", size=16, guidance_scale=3)


def test_a_text_encoder_that_does_not_fit_is_refused(model):
    wide = TextEncoder(TextEncoderConfig.tiny(model.conditioner.tokenizer.vocab_size, context_length=12, dim=32))
    conditioner = Conditioner(model.conditioner.tokenizer, wide)
    with pytest.raises(ValueError, match="context_dim=16, but the text encoder's dim is 32"):
        TextToImage(model.vae, conditioner, model.unet, {"name": "cosine"}, "v", size=16, guidance_scale=3)


def test_a_folder_of_another_kind_is_an_error(model, tmp_path):
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"kind": "magic"}))
    with pytest.raises(ValueError, match="kind 'magic'"):
        load(tmp_path)
