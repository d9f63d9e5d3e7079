"""Editing: what the denoiser is given, what is kept, and what comes out, with untrained networks and with networks that are exact;
on a schedule that keeps the variance and on the schedule of flow matching."""

import pytest
import torch
from torch.testing import assert_close

from minidiff import samplers
from minidiff.diffusion import oracles, prediction
from minidiff.diffusion.prediction import Denoiser
from minidiff.nets import VAE, UNet, UNetConfig, VAEConfig
from minidiff.noise import seeded
from minidiff.pipelines import TextToImage

PROMPTS = ["a red seven", "a blue two on navy"]
SIDE = 4  # of a latent of the small model: 16 pixels, 4 to 1
NUMBERS = 4 * SIDE * SIDE  # of one latent


class ExactUNet(UNet):
    """A network whose prediction is exact, whatever the prompt. It records (t, z_t) of each call."""

    def __init__(self, config: UNetConfig, denoise: Denoiser, prediction_type: str) -> None:
        super().__init__(config)
        self.denoise, self.prediction_type, self.calls = denoise, prediction_type, []

    def forward(self, z_t, t, condition):
        self.calls.append((t[0].item(), z_t))
        z_0, eps = self.denoise(z_t, t)
        return prediction.target(self.prediction_type, self.denoise.schedule, z_0, eps, t)


class RecordingVAE(VAE):
    """A VAE that records the latents it decodes. With `latents`, it encodes every image to that number."""

    def __init__(self, config: VAEConfig, latents: float | None = None) -> None:
        super().__init__(config)
        self.latents, self.decoded = latents, []

    def to_latents(self, x, generator=None):
        z = super().to_latents(x, generator)
        return z if self.latents is None else torch.full_like(z, self.latents)

    def from_latents(self, z):
        self.decoded.append(z)
        return super().from_latents(z)


def with_exact_unet(model: TextToImage, covariance: torch.Tensor, vae: VAE | None = None) -> TextToImage:
    """The model without guidance, with the exact network of Gaussian latents of mean 0."""
    denoise = oracles.gaussian(model.schedule, torch.zeros(NUMBERS), covariance)
    unet = ExactUNet(model.unet.config, denoise, model.prediction_type)
    config, kind = model.schedule_config, model.prediction_type
    return TextToImage(vae or model.vae, model.conditioner, unet, config, kind, size=model.size, guidance_scale=1)


@pytest.fixture(params=["small_model", "small_flow_model"])
def model(request) -> TextToImage:
    return request.getfixturevalue(request.param)


@pytest.fixture
def exact(model) -> TextToImage:
    """The model with the exact network of standard normal latents."""
    return with_exact_unet(model, torch.ones(NUMBERS))


@pytest.fixture
def recording(model) -> TextToImage:
    """The model with a VAE that records the latents it decodes."""
    vae, config, kind = RecordingVAE(model.vae.config), model.schedule_config, model.prediction_type
    return TextToImage(vae, model.conditioner, model.unet, config, kind, size=model.size, guidance_scale=3)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def left_half() -> torch.Tensor:
    mask = torch.zeros(16, 16)
    mask[:, :8] = 1
    return mask


@pytest.mark.parametrize(("strength", "taken"), [(1e-6, 1), (0.1, 1), (0.5, 5), (0.95, 10), (1, 10)])
def test_image_to_image_begins_with_the_noise_of_the_first_level_visited(exact, pictures, strength, taken):
    exact.image_to_image(pictures, PROMPTS, strength=strength, steps=10, seed=4)
    times = samplers.times(50, 10)[-taken - 1 :]
    assert [t for t, _ in exact.unet.calls] == times[:-1]
    eps = torch.stack([torch.randn(4, SIDE, SIDE, generator=one) for one in seeded(4, 2)])
    signal, noise = (array[times[0]].float() for array in (exact.schedule.signal, exact.schedule.noise))
    assert_close(exact.unet.calls[0][1], signal * exact.encode(pictures) + noise * eps)


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


def test_without_paste_back_the_kept_part_is_what_the_autoencoder_makes_of_its_latents(recording, pictures, left_half):
    painted = recording.inpaint(pictures, left_half, PROMPTS, steps=4, paste=False)
    (z_0,) = recording.vae.decoded
    nearest = torch.where(left_half > 0, pictures[..., 8:9], pictures)  # all that the encoder may see
    assert torch.equal(z_0[..., 2:], recording.encode(nearest)[..., 2:])
    assert torch.equal(painted, recording.decode(z_0))


def test_what_is_known_has_the_noise_of_the_level_just_reached(exact, left_half):
    images = torch.full((100, 3, 16, 16), 0.25)
    exact.inpaint(images, left_half, ["seven"] * 100, steps=5)
    z_0 = exact.encode(images)
    assert [t for t, _ in exact.unet.calls] == [50, 40, 30, 20, 10]
    for t, z_t in exact.unet.calls:
        signal, noise = exact.schedule.signal[t].float(), exact.schedule.noise[t].float()
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


def test_a_latent_is_kept_where_all_of_its_pixels_are(recording):
    flat = torch.full((2, 3, 16, 16), 0.25)  # so that the hidden pixel is replaced by an equal pixel
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., 3, 8] = True
    recording.inpaint(flat, mask, PROMPTS, steps=3)
    changed = (recording.vae.decoded[0] != recording.encode(flat)).any(dim=1)
    assert changed.nonzero().tolist() == [[0, 0, 2], [1, 0, 2]]


def test_resampling_goes_each_step_again_and_again(exact, pictures, left_half):
    exact.inpaint(pictures, left_half, PROMPTS, steps=3, resampling=4)
    assert [t for t, _ in exact.unet.calls] == [50] * 4 + [33] * 4 + [17] * 4


def test_resampling_goes_back_up_by_the_forward_process(exact, left_half):
    """If data has variance 1, x_t has variance signal² + noise². Five DDPM steps lose a part of it; going up without noise loses most."""
    images = torch.rand(100, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    exact.inpaint(images, left_half, ["seven"] * 100, steps=5, resampling=4, sampler="ddpm")
    for t, z_t in exact.unet.calls:
        variance = exact.schedule.signal[t] ** 2 + exact.schedule.noise[t] ** 2
        assert 0.4 < z_t[..., :2].var() / variance < 1.1


def test_resampling_brings_both_halves_into_agreement(model):
    """The numbers of each latent are nearly equal, and the network knows it: the repainted part must become like the known part."""
    vae = RecordingVAE(model.vae.config, latents=1.5)
    exact = with_exact_unet(model, torch.ones(NUMBERS, NUMBERS) + 1e-3 * torch.eye(NUMBERS), vae)
    mask = torch.ones(16, 16)
    mask[:4, :4] = 0  # a sixteenth is known
    for resampling in (1, 10):
        exact.inpaint(torch.rand(20, 3, 16, 16), mask, ["seven"] * 20, steps=10, resampling=resampling)
    once, often = ((z[..., 2:, 2:] - 1.5).square().mean().sqrt() for z in vae.decoded)
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


def test_between_seeds_noise_stays_standard_normal(exact):
    exact.between_seeds("a red seven", 3, 9, 101, steps=1)
    _, x_T = exact.unet.calls[0]
    size = x_T.square().mean(dim=(1, 2, 3))  # over 64 numbers; on a straight line it would halve
    assert (size - 1).abs().max() < 5 * (2 / 64) ** 0.5
    one, other = x_T[[0, -1]]
    assert_close(x_T[50], (one + other) / 2**0.5)


def test_between_prompts_it_begins_and_ends_at_their_pictures(model):
    path = model.between_prompts(*PROMPTS, 3, seed=6, steps=3)
    for i, prompt in ((0, PROMPTS[0]), (2, PROMPTS[1])):
        assert_close(path[i : i + 1], model.generate([prompt], steps=3, seed=6), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("sampler", "first"), [("ddim", 50), ("heun", 49)])
def test_where_no_picture_is_known_it_begins_with_noise_of_the_size_of_the_first_level(exact, sampler, first):
    """Heun begins at the last level where noise / signal is at most 80. The noise of a schedule that keeps the variance has variance 1."""
    assert exact.schedule.karras_sigmas[49] <= 80 < exact.schedule.karras_sigmas[50]
    size = {"cosine": 1.0, "flow": exact.schedule.noise[first].item()}[exact.schedule_config["name"]]
    eps = torch.stack([torch.randn(4, SIDE, SIDE, generator=one) for one in seeded(4, 2)])
    settings = {"steps": 3, "sampler": sampler}
    for draw in (
        lambda: exact.generate(["seven"] * 2, seed=4, **settings),
        lambda: exact.between_seeds("seven", 4, 5, 2, **settings),
        lambda: exact.inpaint(torch.rand(2, 3, 16, 16), torch.ones(16, 16), ["seven"] * 2, seed=4, **settings),
    ):
        exact.unet.calls.clear()
        draw()
        t, z_t = exact.unet.calls[0]
        assert t == first
        assert_close(z_t, size * eps)
    exact.unet.calls.clear()
    exact.between_prompts("seven", "two", 2, seed=4, **settings)
    assert_close(exact.unet.calls[0][1], size * eps[:1].expand(2, -1, -1, -1))


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


def test_inversion_tells_how_near_the_way_back_comes(exact, pictures):
    x_T, error = exact.invert(pictures, PROMPTS, steps=50)
    assert min(t for t, _ in exact.unet.calls) > 0
    back = samplers.final(exact.sample(PROMPTS, x_T=x_T, steps=50, guidance_scale=1))
    assert_close(error, (back - exact.encode(pictures)).square().mean(dim=(1, 2, 3)).sqrt())
    assert error.max() < 0.2
    assert (exact.invert(pictures, PROMPTS, steps=5).error > error).all()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m, x: m.image_to_image(x, PROMPTS, strength=0), r"strength must lie in \(0, 1\]"),
        (lambda m, x: m.image_to_image(x, PROMPTS, strength=1.01), "strength"),
        (lambda m, x: m.image_to_image(x, PROMPTS[:1]), "expected 1 images, one per prompt"),
        (lambda m, x: m.image_to_image(x[..., :15], PROMPTS), "multiples of 8, got 16×15"),
        (lambda m, x: m.image_to_image(2 * x - 1, PROMPTS), r"lie in \[0, 1\]"),
        (lambda m, x: m.image_to_image(x, PROMPTS, sampler="eular"), "unknown sampler"),
        (lambda m, x: m.image_to_image(x, []), "draws from prompts"),
        (lambda m, x: m.image_to_image(x, PROMPTS, negative_prompts=["seven"]), "one negative prompt per prompt"),
        (lambda m, x: m.inpaint(x, torch.ones(15, 16), PROMPTS), "as large as the images"),
        (lambda m, x: m.inpaint(x, torch.ones(3, 1, 16, 16), PROMPTS), "as large as the images"),
        (lambda m, x: m.inpaint(x, torch.zeros(16, 16), PROMPTS), "nothing to repaint"),
        (lambda m, x: m.inpaint(x, torch.full((16, 16), 0.5), PROMPTS), "no values between"),
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
