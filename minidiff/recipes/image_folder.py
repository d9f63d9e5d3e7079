"""The recipe for a folder of images with captions."""

from pathlib import Path

import torch

from minidiff.data import images as data_images
from minidiff.nets import UNetConfig, VAEConfig
from minidiff.recipes.captioned_images import CaptionedImages, numbered
from minidiff.recipes.text_to_image import TextToImageRecipe
from minidiff.training import TrainConfig, uniform

IMAGE_FOLDER = TextToImageRecipe(  # the numbers of the emoji recipe
    subject="pictures",
    vae=VAEConfig(in_channels=3, latent_channels=4, channels=(24, 48, 96), blocks_per_level=1, norm_groups=8),
    vae_training=TrainConfig(
        steps=4500,
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
    vocab_size=2000,
    context_length=16,
    text_dim=128,
    text_training=TrainConfig(
        steps=1000,
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
        steps=3000,
        batch_size=128,
        learning_rate=1e-3,
        warmup=200,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.999,
        checkpoint_every=500,
        preview_every=500,
    ),
    schedule={"name": "cosine", "T": 1000},
    prediction_type="v",
    timesteps=uniform,
    prompt_dropout=0.1,
    guidance_scale=3.0,
    preview_prompts=(),
    snapshots=None,
)


def folder_with_captions(folder: str | Path, size: int = 32) -> CaptionedImages:
    """The images of a folder with the captions of its metadata.jsonl. Raises ValueError as `data.images` does."""
    pairs = list(data_images.images(folder, size))
    captions = [caption for _, caption in pairs]
    images = torch.stack([image for image, _ in pairs]).half()
    return CaptionedImages(images, [(caption,) for caption in captions], numbered(captions))
