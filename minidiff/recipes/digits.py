"""The recipes of `digits` and `digits-long`: coloured digits from prompts. The bundled weights were made by `digits-long`."""

from minidiff.data import digits
from minidiff.nets import UNetConfig, VAEConfig
from minidiff.recipes.captioned_images import CaptionedImages, numbered
from minidiff.recipes.text_to_image import TextToImageRecipe
from minidiff.training import TrainConfig, logit_normal, uniform

PREVIEW_PROMPTS = (
    "a small red seven on a navy background",
    "a large yellow 3 on black",
    "a medium green zero on a white background",
    "blue 5, large, white background",
    "a pink eight",
    "the digit 4",
    "a small orange two on a teal background",
    "cyan 9, maroon background",
)

DIGITS = TextToImageRecipe(  # about 30 minutes on two cores
    subject="digits",
    vae=VAEConfig(in_channels=3, latent_channels=4, channels=(24, 48, 96), blocks_per_level=1, norm_groups=8),
    vae_training=TrainConfig(
        steps=5000,
        batch_size=16,
        learning_rate=3e-3,
        warmup=100,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
        checkpoint_every=1000,
        preview_every=1000,
    ),
    kl_weight=1e-4,
    initial_posterior_std=0.1,
    vocab_size=700,
    context_length=16,
    text_dim=128,
    text_training=TrainConfig(
        steps=600,
        batch_size=128,
        learning_rate=1e-3,
        warmup=100,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
        checkpoint_every=200,
        preview_every=200,
    ),
    unet=UNetConfig(
        in_channels=4,
        out_channels=4,
        channels=(96, 160),
        attention=(False, True),
        blocks_per_level=1,
        heads=4,
        norm_groups=8,
        context_dim=128,
    ),
    unet_training=TrainConfig(
        steps=4200,
        batch_size=128,
        learning_rate=2e-3,
        warmup=200,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
        checkpoint_every=1000,
        preview_every=1000,
        shares={"text_encoder": 0.1},
    ),
    schedule={"name": "cosine", "T": 1000},
    prediction_type="v",
    timesteps=logit_normal,
    prompt_dropout=0.1,
    guidance_scale=5.0,
    preview_prompts=PREVIEW_PROMPTS,
    snapshots=None,
)

DIGITS_LONG = TextToImageRecipe(  # about an hour on two cores, for better images
    subject="digits",
    vae=VAEConfig(in_channels=3, latent_channels=4, channels=(24, 48, 96), blocks_per_level=1, norm_groups=8),
    vae_training=TrainConfig(
        steps=6000,
        batch_size=16,
        learning_rate=3e-3,
        warmup=100,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
        checkpoint_every=1000,
        preview_every=1000,
    ),
    kl_weight=3e-5,
    initial_posterior_std=None,
    vocab_size=700,
    context_length=16,
    text_dim=128,
    text_training=TrainConfig(
        steps=600,
        batch_size=128,
        learning_rate=1e-3,
        warmup=100,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
        checkpoint_every=200,
        preview_every=200,
    ),
    unet=UNetConfig(
        in_channels=4,
        out_channels=4,
        channels=(96, 160),
        attention=(False, True),
        blocks_per_level=1,
        heads=4,
        norm_groups=8,
        context_dim=128,
    ),
    unet_training=TrainConfig(
        steps=10_500,
        batch_size=64,
        learning_rate=1e-3,
        warmup=200,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
        checkpoint_every=1000,
        preview_every=1000,
    ),
    schedule={"name": "cosine", "T": 1000},
    prediction_type="v",
    timesteps=uniform,
    prompt_dropout=0.1,
    guidance_scale=5.0,
    preview_prompts=PREVIEW_PROMPTS,
    snapshots=None,
)


def digits_with_captions(count_per_digit_image: int = 8) -> CaptionedImages:
    """The training digits, each in `count_per_digit_image` scenes, with all captions of each scene."""
    images, scenes = digits.captioned("train", count_per_digit_image=count_per_digit_image)
    return CaptionedImages(images, [digits.captions(scene) for scene in scenes], numbered(scenes), complete=6)
