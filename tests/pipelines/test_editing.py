"""Editing: what the denoiser is shown, what is kept, and what comes out, with untrained models and with an exact denoiser of latents;
on a schedule that keeps the variance and on flow matching's."""

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import oracles
from minidiff.diffusion.prediction import Denoiser
from minidiff.noise import seeded
from minidiff.pipelines import TextToImage

PROMPTS = ["a red seven", "a blue two on navy"]
SIDE = 4  # of a latent of the small model: 16 pixels, four to one


@pytest.fixture(params=["small_model", "small_flow_model"])
def model(request) -> TextToImage:
    return request.getfixturevalue(request.param)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def left_half() -> torch.Tensor:
    mask = torch.zeros(16, 16)
    mask[:, :8] = 1
    return mask


@pytest.fixture
def shown(model, monkeypatch) -> list:
    """(t, z_t) of every call of the denoiser, one denoiser for all prompts: that of standard normal latents."""
    calls = []
    numbers = 4 * SIDE * SIDE

    def denoiser(prompts, *settings, **more):
        exact = oracles.gaussian(model.schedule, torch.zeros(numbers), torch.ones(numbers))

        def denoise(z_t, t):
            calls.append((t, z_t))
            return exact(z_t, t)

        return Denoiser(model.schedule, denoise)

    monkeypatch.setattr(model, "denoiser", denoiser)
    return calls


@pytest.mark.parametrize(("strength", "taken"), [(1e-6, 1), (0.1, 1), (0.5, 5), (0.95, 10), (1, 10)])
def test_image_to_image_begins_with_the_noise_of_the_first_level_visited(model, pictures, shown, strength, taken):
    model.image_to_image(pictures, PROMPTS, strength=strength, steps=10, seed=4)
    times = samplers.times(50, 10)[-taken - 1 :]
    assert [t for t, _ in shown] == times[:-1]
    eps = torch.stack([torch.randn(4, SIDE, SIDE, generator=one) for one in seeded(4, 2)])
    signal, noise = (array[times[0]].float() for array in (model.schedule.signal, model.schedule.noise))
    assert_close(shown[0][1], signal * model.encode(pictures) + noise * eps)


def test_a_picture_does_not_depend_on_its_batch(model, pictures, left_half):
    for edit in (
        lambda images, prompts, seed: model.image_to_image(images, prompts, strength=0.5, steps=4, seed=seed),
        lambda images, prompts, seed: model.inpaint(images, left_half, prompts, steps=4, seed=seed, sampler="ddpm"),
    ):
        both = edit(pictures, PROMPTS, 4)
        assert_close(edit(pictures[1:], PROMPTS[1:], 5), both[1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampler", samplers.BY_NAME)
def test_inpainting_changes_what_is_marked_and_not_a_pixel_more(model, pictures, left_half, sampler):
    painted = model.inpaint(pictures, left_half, PROMPTS, steps=4, sampler=sampler)
    assert torch.equal(painted[..., 8:], pictures[..., 8:])
    assert (painted[..., :8] - pictures[..., :8]).abs().mean() > 0.05


def test_without_paste_back_the_kept_part_is_what_the_autoencoder_makes_of_its_latents(
    model, pictures, left_half, monkeypatch
):
    ended = []
    monkeypatch.setattr(model, "decode", lambda z: ended.append(z) or torch.zeros(2, 3, 16, 16))
    model.inpaint(pictures, left_half, PROMPTS, steps=4, paste=False)
    nearest = torch.where(left_half > 0, pictures[..., 8:9], pictures)  # all that the encoder may see
    assert torch.equal(ended[0][..., 2:], model.encode(nearest)[..., 2:])


def test_what_is_known_has_the_noise_of_the_level_just_reached(model, left_half, shown):
    images = torch.full((100, 3, 16, 16), 0.25)
    model.inpaint(images, left_half, ["seven"] * 100, steps=5)
    z_0 = model.encode(images)
    assert [t for t, _ in shown] == [50, 40, 30, 20, 10]
    for t, z_t in shown:
        signal, noise = model.schedule.signal[t].float(), model.schedule.noise[t].float()
        eps = ((z_t - signal * z_0) / noise)[..., 2:]  # (100, 4, 4, 2)
        assert abs(eps.mean()) < 5 / eps.numel() ** 0.5
        assert abs(eps.var() - 1) < 5 * (2 / eps.numel()) ** 0.5


def test_what_the_mask_hides_has_no_part_in_the_result(model, pictures, left_half):
    others = pictures.clone()
    others[..., :8] = 1 - others[..., :8]
    settings = {"steps": 3, "seed": 2}
    assert torch.equal(
        model.inpaint(others, left_half, PROMPTS, **settings), model.inpaint(pictures, left_half, PROMPTS, **settings)
    )


def test_a_latent_is_kept_where_all_of_its_pixels_are(model, monkeypatch):
    flat = torch.full((2, 3, 16, 16), 0.25)  # so that what covers the pixel looks like it
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., 3, 8] = True
    ended = []
    monkeypatch.setattr(model, "decode", lambda z: ended.append(z) or torch.zeros(2, 3, 16, 16))
    model.inpaint(flat, mask, PROMPTS, steps=3)
    changed = (ended[0] != model.encode(flat)).any(dim=1)
    assert changed.nonzero().tolist() == [[0, 0, 2], [1, 0, 2]]


def test_resampling_goes_each_step_again_and_again(model, pictures, left_half, shown):
    model.inpaint(pictures, left_half, PROMPTS, steps=3, resampling=4)
    assert [t for t, _ in shown] == [50] * 4 + [33] * 4 + [17] * 4


def test_resampling_goes_back_up_by_the_forward_process(model, left_half, shown):
    """Of data of variance 1 x_t has signal² + noise². Few steps of DDPM lose a part of it, and a way up without noise nearly all."""
    images = torch.rand(100, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    model.inpaint(images, left_half, ["seven"] * 100, steps=5, resampling=4, sampler="ddpm")
    for t, z_t in shown:
        variance = model.schedule.signal[t] ** 2 + model.schedule.noise[t] ** 2
        assert 0.4 < z_t[..., :2].var() / variance < 1.1


def test_resampling_brings_both_halves_into_agreement(model, monkeypatch):
    """Latents that are all equal, exactly: the other half then has to become what the known half is."""
    numbers = 4 * SIDE * SIDE
    equal = torch.ones(numbers, numbers) + 1e-3 * torch.eye(numbers)
    exact = oracles.gaussian(model.schedule, torch.zeros(numbers), equal)
    monkeypatch.setattr(model, "denoiser", lambda *_, **__: exact)
    monkeypatch.setattr(model, "encode", lambda images: torch.full((len(images), 4, SIDE, SIDE), 1.5))
    ended = []
    monkeypatch.setattr(model, "decode", lambda z: ended.append(z) or torch.zeros(20, 3, 16, 16))
    mask = torch.ones(16, 16)
    mask[:4, :4] = 0  # a sixteenth is known
    for resampling in (1, 10):
        model.inpaint(torch.rand(20, 3, 16, 16), mask, ["seven"] * 20, steps=10, resampling=resampling)
    once, often = ((z[..., 2:, 2:] - 1.5).square().mean().sqrt() for z in ended)
    assert often < once / 2


def test_outpainting_keeps_the_picture_and_draws_around_it(model, pictures):
    wider = model.outpaint(pictures, PROMPTS, padding=(8, 0, 8, 16), steps=3)
    assert wider.shape == (2, 3, 32, 32)
    assert torch.equal(wider[..., :16, 8:24], pictures)
    assert model.outpaint(pictures, PROMPTS, padding=8, steps=2).shape == (2, 3, 32, 32)


def test_between_seeds_it_begins_and_ends_at_their_pictures(model):
    path = model.between_seeds("a red seven", 3, 9, 5, steps=3)
    for i, seed in ((0, 3), (4, 9)):
        assert_close(path[i : i + 1], model.generate(["a red seven"], steps=3, seed=seed), atol=1e-4, rtol=0)
    assert (path[2] - path[0]).abs().max() > 1e-3


def test_between_seeds_noise_stays_standard_normal(model, shown):
    model.between_seeds("a red seven", 3, 9, 101, steps=1)
    size = shown[0][1].square().mean(dim=(1, 2, 3))  # over 64 numbers; on a straight line it would halve
    assert (size - 1).abs().max() < 5 * (2 / 64) ** 0.5
    one, other = shown[0][1][[0, -1]]
    assert_close(shown[0][1][50], (one + other) / 2**0.5)


def test_between_prompts_it_begins_and_ends_at_their_pictures(model):
    path = model.between_prompts(*PROMPTS, 3, seed=6, steps=3)
    for i, prompt in ((0, PROMPTS[0]), (2, PROMPTS[1])):
        assert_close(path[i : i + 1], model.generate([prompt], steps=3, seed=6), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("sampler", "first"), [("ddim", 50), ("heun", 49)])
def test_where_no_picture_is_known_it_begins_with_noise_of_the_size_of_the_first_level(model, shown, sampler, first):
    """Heun begins at the last level where noise / signal is 80 at most; a schedule that keeps the variance has noise of variance 1."""
    assert model.schedule.karras_sigmas[49] <= 80 < model.schedule.karras_sigmas[50]
    size = {"cosine": 1.0, "flow": model.schedule.noise[first].item()}[model.schedule_config["name"]]
    eps = torch.stack([torch.randn(4, SIDE, SIDE, generator=one) for one in seeded(4, 2)])
    settings = {"steps": 3, "sampler": sampler}
    for draw in (
        lambda: model.generate(["seven"] * 2, seed=4, **settings),
        lambda: model.between_seeds("seven", 4, 5, 2, **settings),
        lambda: model.inpaint(torch.rand(2, 3, 16, 16), torch.ones(16, 16), ["seven"] * 2, seed=4, **settings),
    ):
        shown.clear()
        draw()
        t, z_t = shown[0]
        assert t == first
        assert_close(z_t, size * eps)
    shown.clear()
    model.between_prompts("seven", "two", 2, seed=4, **settings)
    assert_close(shown[0][1], size * eps[:1].expand(2, -1, -1, -1))


def test_options_of_the_sampler_reach_every_edit(model, pictures, left_half):
    settings = {"steps": 3, "seed": 1, "sampler_options": {"eta": 1.0}}
    for edit in (
        lambda **more: model.image_to_image(pictures, PROMPTS, **more),
        lambda **more: model.inpaint(pictures, left_half, PROMPTS, **more),
        lambda **more: model.inpaint(pictures, left_half, PROMPTS, resampling=2, **more),
        lambda **more: model.outpaint(pictures, PROMPTS, padding=8, **more),
        lambda **more: model.between_prompts(*PROMPTS, 2, **more),
    ):
        assert (edit(**settings) - edit(**settings | {"sampler_options": {}})).abs().max() > 1e-3
        with pytest.raises(ValueError, match="the sampler ddim has no option order; it has eta"):
            edit(**settings | {"sampler_options": {"order": 2}})


def test_inversion_tells_how_near_the_way_back_comes(model, pictures, shown):
    x_T, error = model.invert(pictures, PROMPTS, steps=50)
    assert min(t for t, _ in shown) > 0
    back = samplers.final(model.sample(PROMPTS, x_T=x_T, steps=50, guidance_scale=1))
    assert_close(error, (back - model.encode(pictures)).square().mean(dim=(1, 2, 3)).sqrt())
    assert error.max() < 0.2
    assert (model.invert(pictures, PROMPTS, steps=5).error > error).all()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m, x: m.image_to_image(x, PROMPTS, strength=0), r"strength must lie in \(0, 1\]"),
        (lambda m, x: m.image_to_image(x, PROMPTS, strength=1.01), "strength"),
        (lambda m, x: m.image_to_image(x, PROMPTS[:1]), "expected 1 pictures"),
        (lambda m, x: m.image_to_image(x[..., :15], PROMPTS), "multiples of 8"),
        (lambda m, x: m.image_to_image(2 * x - 1, PROMPTS), r"lie in \[0, 1\]"),
        (lambda m, x: m.image_to_image(x, PROMPTS, sampler="eular"), "unknown sampler"),
        (lambda m, x: m.inpaint(x, torch.ones(15, 16), PROMPTS), "as large as the pictures"),
        (lambda m, x: m.inpaint(x, torch.ones(3, 1, 16, 16), PROMPTS), "as large as the pictures"),
        (lambda m, x: m.inpaint(x, torch.zeros(16, 16), PROMPTS), "nothing to repaint"),
        (lambda m, x: m.inpaint(x, torch.full((16, 16), 0.5), PROMPTS), "nothing between"),
        (lambda m, x: m.inpaint(x, torch.ones(16, 16), PROMPTS, resampling=0), "resampling"),
        (lambda m, x: m.outpaint(x, PROMPTS, padding=0), "padding"),
        (lambda m, x: m.outpaint(x, PROMPTS, padding=(8, 8, -8, 8)), "padding"),
        (lambda m, x: m.outpaint(x, PROMPTS, padding=3), "multiples of 8"),
        (lambda m, x: m.between_seeds("seven", 0, 1, 1), "at least 2"),
        (lambda m, x: m.between_prompts("seven", "two", 1), "at least 2"),
    ],
)
def test_what_cannot_be_edited_is_an_error(model, pictures, edit, message):
    with pytest.raises(ValueError, match=message):
        edit(model, pictures)
