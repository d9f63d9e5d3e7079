"""How the models that come with minidiff are trained."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff import devices
from minidiff.data import digits, emoji, pictures
from minidiff.data import images as data_images
from minidiff.metrics.hue import foreground_colour
from minidiff.nets import UNet, UNetConfig, VAEConfig
from minidiff.pipelines import folders
from minidiff.pipelines.ingredients import CaptionedPictures, Recipe
from minidiff.pipelines.pixel import YOUNGER, PixelDiffusion
from minidiff.pipelines.stages import train_text_to_image
from minidiff.samplers import final
from minidiff.training import TrainConfig, checkpoint, diffusion_loss, initialised, logit_normal, train, uniform

DIGITS_PIXEL = TrainConfig(
    steps=2600,
    batch_size=32,
    learning_rate=1.5e-3,
    warmup=200,
    ema_decay=0.998,
    checkpoint_every=400,
    preview_every=200,
)
DIGITS_PIXEL_UNET = UNetConfig.tiny(channels=(48, 64, 128), attention=(False, False, True))
DIGITS_PIXEL_GUIDANCE = 2.5
YOUNGER_STEP = 400  # of 2,600: it knows what strokes look like, and hardly what digits do

DIGITS = Recipe(
    subject="digits",
    vae=VAEConfig.tiny(),
    unet=UNetConfig.tiny(4, channels=(96, 160), attention=(False, True), patch_size=1, context_dim=128),
    vae_training=TrainConfig(steps=5000, batch_size=16, learning_rate=3e-3, checkpoint_every=1000, preview_every=1000),
    text_training=TrainConfig(steps=600, batch_size=128, learning_rate=1e-3, checkpoint_every=200, preview_every=200),
    unet_training=TrainConfig(
        steps=4200,
        batch_size=128,
        learning_rate=2e-3,
        warmup=200,
        checkpoint_every=1000,
        preview_every=1000,
        shares={"text_encoder": 0.1},
    ),
    levels=logit_normal,
    kl_weight=1e-4,
    initial_noise=0.1,
    guidance_scale=5.0,
    vocab_size=700,
    context_length=16,
    text_dim=128,
    preview_prompts=(
        "a small red seven on a navy background",
        "a large yellow 3 on black",
        "a medium green zero on a white background",
        "blue 5, large, white background",
        "a pink eight",
        "the digit 4",
        "a small orange two on a teal background",
        "cyan 9, maroon background",
    ),
)

# how the bundled weights were made: better pictures, for more time
DIGITS_LONG = replace(
    DIGITS,
    vae_training=replace(DIGITS.vae_training, steps=6000),
    unet_training=TrainConfig(
        steps=10_500, batch_size=64, learning_rate=1e-3, warmup=200, checkpoint_every=1000, preview_every=1000
    ),
    kl_weight=3e-5,
    initial_noise=None,
    levels=uniform,
)

EMOJI = replace(
    DIGITS_LONG,
    subject="emoji",
    vae_training=replace(DIGITS_LONG.vae_training, steps=4500),
    text_training=replace(DIGITS_LONG.text_training, steps=1000),
    unet_training=TrainConfig(
        steps=3000, batch_size=128, learning_rate=1e-3, warmup=200, checkpoint_every=500, preview_every=500
    ),
    vocab_size=2000,
    guidance_scale=3.0,
    snapshots=500,
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
)
EMOJI_COPIES = 6  # of each emoji as it is, beside up to eight in other colours


def train_digits_pixel(
    folder: str | Path, config: TrainConfig = DIGITS_PIXEL, *, device: str = "auto", resume: bool = False
) -> PixelDiffusion:
    """Train the pixel-space model of handwritten digits; the folder is a model that can be loaded from the first checkpoint on.

    Every `preview_every` steps it leaves samples there, always of the same noise, so that one can watch it learn. What it knew after
    YOUNGER_STEP steps is kept, to guide the finished model: a shorter run stays unguided. Raises as `training.train` does.
    """
    folder, where = Path(folder), devices.resolve(device)
    unet = initialised(lambda: UNet(DIGITS_PIXEL_UNET), config.seed)
    model = PixelDiffusion(unet, DIGITS_PIXEL_UNET, {"name": "cosine", "T": 1000}, "v", size=32)
    data = digits.load("train")[0].to(where)

    def loss(network: nn.Module, x_0: Tensor, generator: torch.Generator) -> Tensor:
        return diffusion_loss(network, model.schedule, x_0, generator, prediction_type=model.prediction_type)

    def preview(averaged: nn.Module, step: int) -> None:
        if step == YOUNGER_STEP:
            folders.write_weights(averaged, folder / YOUNGER)
        shown = PixelDiffusion(averaged, DIGITS_PIXEL_UNET, model.schedule_config, model.prediction_type, model.size)
        samples = final(shown.sample(18, steps=25))
        pictures.save_png(pictures.grid(samples, columns=9, scale=2), folder / f"samples-{step:06d}.png")

    if not checkpoint.has_checkpoint(folder):
        (folder / YOUNGER).unlink(missing_ok=True)
        description = model.description() | {"guidance_scale": DIGITS_PIXEL_GUIDANCE}
        checkpoint.write_json(folder / folders.CONFIG, description | {"training": config.to_dict()})
    train(unet, loss, data, config, folder, device=device, resume=resume, preview=preview)
    return PixelDiffusion.load(folder, device)


def digits_with_captions(count_per_digit_image: int = 8) -> CaptionedPictures:
    """The training digits, each in `count_per_digit_image` scenes of its own, with all their captions."""
    images, scenes = digits.captioned("train", count_per_digit_image=count_per_digit_image)
    known = {scene: i for i, scene in enumerate(dict.fromkeys(scenes))}
    meanings = torch.tensor([known[scene] for scene in scenes])
    return CaptionedPictures(images, [digits.captions(scene) for scene in scenes], meanings, full=6)


def emoji_with_names(copies: int = EMOJI_COPIES) -> CaptionedPictures:
    """All emoji, each with its name, `copies` times; and once in each other colour, named too, but never as in `emoji.HELD_OUT`.

    Near-duplicates, such as a man and a woman who do the same, mean the same; in another colour, something else. Recoloured pictures
    that do not come out in the colour that was wanted are left out.
    """
    images, captions = emoji.load()
    concepts = [emoji.concept(caption) for caption in captions]
    pictures_of, names, meanings = [images] * copies, captions * copies, concepts * copies
    for colour in emoji.COLOURS:
        changed, new_names, sources = emoji.recoloured(images, captions, colour)
        seen = foreground_colour((changed + 1) / 2)
        right = [i for i, name in enumerate(seen) if name == colour]
        pictures_of.append(changed[right])
        names += [new_names[i] for i in right]
        meanings += [f"{colour}: {concepts[sources[i]]}" for i in right]
    return _named(torch.cat(pictures_of), names, meanings)


def folder_with_captions(folder: str | Path, size: int = 32) -> CaptionedPictures:
    """The pictures of a folder with the captions of its metadata.jsonl. Raises ValueError as `data.images` does."""
    pairs = list(data_images.images(folder, size))
    captions = [caption for _, caption in pairs]
    return _named(torch.stack([picture for picture, _ in pairs]), captions, captions)


def _named(images: Tensor, captions: list[str], concepts: list[str]) -> CaptionedPictures:
    known = {concept: i for i, concept in enumerate(dict.fromkeys(concepts))}
    meanings = torch.tensor([known[concept] for concept in concepts])
    return CaptionedPictures(images.half(), [(caption,) for caption in captions], meanings)


RECIPES = ("digits-pixel", "digits", "digits-long", "emoji", "or a folder of pictures with captions")


def train_recipe(name: str, folder: str | Path, changes: dict, *, device: str = "auto", resume: bool = False) -> None:
    """Train the model of this name, or one of the captioned pictures in the folder `name`; `changes` replace numbers of its last run.

    Raises ValueError where it is neither, and as `training.train` does.
    """
    if name == "digits-pixel":
        train_digits_pixel(folder, replace(DIGITS_PIXEL, **changes), device=device, resume=resume)
        return
    if name == "digits":
        recipe, data = DIGITS, digits_with_captions()
    elif name == "digits-long":
        recipe, data = DIGITS_LONG, digits_with_captions()
    elif name == "emoji":
        recipe, data = EMOJI, emoji_with_names()
    elif Path(name).is_dir():
        recipe, data = (
            replace(EMOJI, subject="pictures", preview_prompts=(), snapshots=None),
            folder_with_captions(name),
        )
    else:
        raise ValueError(f"unknown recipe {name!r}: choose {', '.join(RECIPES)}")
    recipe = replace(recipe, unet_training=replace(recipe.unet_training, **changes))
    train_text_to_image(recipe, data, folder, device=device, resume=resume)
