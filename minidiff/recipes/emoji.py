"""The recipe of `emoji`: emoji from their names, also in colours that they do not have."""

import torch

from minidiff.data import emoji
from minidiff.metrics.hue import foreground_colour
from minidiff.nets import UNetConfig, VAEConfig
from minidiff.recipes.captioned_images import CaptionedImages, numbered
from minidiff.recipes.text_to_image import TextToImageRecipe
from minidiff.training import TrainConfig, uniform

EMOJI = TextToImageRecipe(  # about 50 minutes on two cores
    subject="emoji",
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
    preview_prompts=(
        "red heart",
        "grinning face",
        "sailboat",
        "hot beverage",
        "red cat",
        "purple elephant",
        "yellow pig",
        "green whale",
    ),
    snapshots=500,
)


def emoji_with_names(copies: int = 6) -> CaptionedImages:
    """Each emoji `copies` times with its name, and once in each other colour with the colour and its name.

    The pairs of colour and object in `emoji.HELD_OUT` are left out, and so are recoloured images whose measured colour is not the
    colour that was asked for. Near-duplicates, for example a man and a woman who do the same, share a concept; other colours do not.
    """
    images, captions = emoji.load()
    kinds = [emoji.concept(caption) for caption in captions]
    parts, names, concepts = [images] * copies, captions * copies, kinds * copies
    for colour in emoji.COLOURS:
        changed, new_names, sources = emoji.recoloured(images, captions, colour)
        seen = foreground_colour((changed + 1) / 2)
        right = [i for i, name in enumerate(seen) if name == colour]
        parts.append(changed[right])
        names += [new_names[i] for i in right]
        concepts += [f"{colour}: {kinds[sources[i]]}" for i in right]
    return CaptionedImages(torch.cat(parts).half(), [(name,) for name in names], numbered(concepts))
