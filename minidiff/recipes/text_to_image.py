"""How a text-to-image model is trained: an autoencoder, then text and images together, then the U-Net on latents.

Each stage is a training run in a folder of its own and starts from the result of the stage before. The text encoder is trained
twice: contrastively in the second stage, and together with the U-Net in the third.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor, nn
from tqdm import tqdm

from minidiff import conditioner, devices
from minidiff.conditioner import Conditioner
from minidiff.data import pictures
from minidiff.nets import VAE, Condition, UNet, UNetConfig, VAEConfig, vae
from minidiff.pipelines import TextToImage
from minidiff.recipes.captioned_images import CaptionedImages
from minidiff.samplers import final
from minidiff.text import CLIP, ImageEncoder, TextEncoder, TextEncoderConfig, Tokenizer, info_nce
from minidiff.training import (
    Batches,
    TrainConfig,
    diffusion_loss,
    initialised,
    measure_latent_scale,
    set_posterior_std,
    train,
    vae_loss,
)
from minidiff.training.timesteps import Timesteps


@dataclass(frozen=True)
class TextToImageRecipe:
    """Every number of a text-to-image model and of its three training runs.

    `subject` is what the model draws, for example "digits"; `minidiff evaluate` chooses the judge by it. `initial_posterior_std` is the
    standard deviation of the untrained autoencoder's latents, None for the usual initialisation. `timesteps` draws the t that the
    U-Net is trained at. Every `snapshots` steps the whole model is saved as it is then, None for never.
    """

    subject: str
    vae: VAEConfig
    vae_training: TrainConfig
    kl_weight: float
    initial_posterior_std: float | None
    vocab_size: int
    context_length: int
    text_dim: int
    text_training: TrainConfig
    unet: UNetConfig
    unet_training: TrainConfig
    schedule: dict
    prediction_type: str
    timesteps: Timesteps
    prompt_dropout: float
    guidance_scale: float
    preview_prompts: tuple[str, ...]
    snapshots: int | None

    def changed(self, **changes) -> "TextToImageRecipe":
        """The same recipe with other numbers in the training of the U-Net."""
        return replace(self, unet_training=replace(self.unet_training, **changes))

    def train(
        self, data: CaptionedImages, folder: str | Path, *, device: str = "auto", resume: bool = False
    ) -> TextToImage:
        """Run all three stages, in the folders 1-vae, 2-text and 3-unet; then write the model into `folder`.

        Reconstructions and samples are written at intervals. With `resume` a stopped run continues in the stage where it was stopped.
        Raises as `training.train` does.
        """
        folder, options = Path(folder), {"device": device, "resume": resume}
        captions = [caption for captions in data.captions for caption in captions]
        tokenizer = Tokenizer.train(captions, self.vocab_size, self.context_length)
        autoencoder = train_vae(self, data, folder / "1-vae", **options)
        clip = train_text(self, data, tokenizer, folder / "2-text", **options)
        conditioning = Conditioner(tokenizer, clip.text_encoder)
        model = train_unet(self, data, autoencoder, conditioning, folder / "3-unet", **options)
        model.save(folder, notes={"subject": self.subject})
        return model


def train_vae(
    recipe: TextToImageRecipe, data: CaptionedImages, folder: Path, *, device: str = "auto", resume: bool = False
) -> VAE:
    """Train the autoencoder and measure its latent_scale, which gives the latents of all images unit variance."""
    config, where = recipe.vae_training, devices.resolve(device)
    shown = data.images[:: max(1, len(data) // 16)][:16]

    def loss(network: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
        return vae_loss(network, images.float(), generator, kl_weight=recipe.kl_weight)

    @torch.no_grad()
    def preview(averaged: nn.Module, step: int) -> None:
        x_0 = shown.to(where).float()
        pairs = torch.stack([x_0, averaged.decode(averaged.encode(x_0)[0])], dim=1).flatten(0, 1)
        pictures.save_png(pictures.grid(pairs, columns=8, scale=2), folder / f"reconstructions-{step:06d}.png")

    network = initialised(lambda: VAE(recipe.vae), config.seed)
    if recipe.initial_posterior_std is not None:
        set_posterior_std(network, recipe.initial_posterior_std)
    batches = Batches(data.images, batch_size=config.batch_size, seed=config.seed, device=where)
    trained = train(network, loss, batches, config, folder, device=device, resume=resume, preview=preview)
    scale = measure_latent_scale(trained, data.images.float().to(where), torch.Generator().manual_seed(config.seed))
    trained.config = replace(trained.config, latent_scale=scale)
    return trained


def train_text(
    recipe: TextToImageRecipe,
    data: CaptionedImages,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
) -> CLIP:
    """Train a small CLIP on the images and their complete captions."""
    config, where = recipe.text_training, devices.resolve(device)
    tokens = data.tokens(tokenizer)[:, : data.complete]
    sizes = TextEncoderConfig.tiny(tokenizer.vocab_size, context_length=recipe.context_length, dim=recipe.text_dim)

    def loss(clip: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        images, tokens, concepts = batch
        texts = clip.text_features(one_of(tokens, generator))
        return info_nce(clip.image_features(images.float()), texts, clip.logit_scale, concepts)

    clip = initialised(lambda: CLIP(ImageEncoder(), TextEncoder(sizes), recipe.text_dim), config.seed)
    batches = Batches(data.images, tokens, data.concepts, batch_size=config.batch_size, seed=config.seed, device=where)
    return train(clip, loss, batches, config, folder, device=device, resume=resume)


class Prompted(nn.Module):
    """A U-Net and the text encoder that is trained with it: `(z_t, t, tokens)` gives the U-Net's output."""

    def __init__(self, unet: UNet, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, z_t: Float[Tensor, "b c h w"], t: Tensor, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b c h w"]:
        return self.unet(z_t, t, Condition(context=self.text_encoder(tokens)))


def train_unet(
    recipe: TextToImageRecipe,
    data: CaptionedImages,
    autoencoder: VAE,
    conditioning: Conditioner,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
) -> TextToImage:
    """Train the U-Net and the text encoder on latents. Images are encoded once; each step samples z anew from mean and variance."""
    config, where, tokenizer = recipe.unet_training, devices.resolve(device), conditioning.tokenizer
    mean, log_variance = encode_all(autoencoder, data.images)
    latent_scale = autoencoder.config.latent_scale
    null_tokens = tokenizer([""]).to(where)

    def assembled(network: Prompted) -> TextToImage:
        return TextToImage(
            autoencoder,
            Conditioner(tokenizer, network.text_encoder),
            network.unet,
            recipe.schedule,
            recipe.prediction_type,
            size=data.images.shape[-1],
            guidance_scale=recipe.guidance_scale,
        )

    network = Prompted(initialised(lambda: UNet(recipe.unet), config.seed), conditioning.text_encoder)
    schedule = assembled(network).schedule

    def loss(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        mean, log_variance, tokens = batch
        z_0 = latent_scale * vae.sample(mean, log_variance, generator)
        tokens = conditioner.drop(one_of(tokens, generator), null_tokens, recipe.prompt_dropout, generator)
        return diffusion_loss(
            lambda z_t, t: network(z_t, t, tokens),
            schedule,
            z_0,
            generator,
            prediction_type=recipe.prediction_type,
            timesteps=recipe.timesteps,
        )

    def preview(averaged: nn.Module, step: int) -> None:
        model = assembled(averaged)
        if recipe.snapshots is not None and step % recipe.snapshots == 0:
            model.save(folder / f"model-{step:06d}", dtype=torch.float16, notes={"subject": recipe.subject})
        if recipe.preview_prompts:
            samples = model.decode(final(model.sample(recipe.preview_prompts)))
            pictures.save_png(pictures.grid(2 * samples - 1, columns=4, scale=2), folder / f"samples-{step:06d}.png")

    batches = Batches(
        mean, log_variance, data.tokens(tokenizer), batch_size=config.batch_size, seed=config.seed, device=where
    )
    trained = train(network, loss, batches, config, folder, device=device, resume=resume, preview=preview)
    return assembled(trained)


def one_of(tokens: Int[Tensor, "n k l"], generator: torch.Generator) -> Int[Tensor, "n l"]:
    """For each image, one of its k captions, all with the same probability."""
    which = torch.randint(tokens.shape[1], (len(tokens),), generator=generator).to(tokens.device)
    return tokens[torch.arange(len(tokens), device=tokens.device), which]


@torch.no_grad()
def encode_all(
    autoencoder: VAE, images: Float16[Tensor, "n c h w"], batch_size: int = 250
) -> tuple[Float[Tensor, "n z a b"], Float[Tensor, "n z a b"]]:
    """Means and log-variances of the latents of all images, on the CPU."""
    where = next(autoencoder.parameters()).device
    parts = [autoencoder.encode(part.to(where).float()) for part in tqdm(images.split(batch_size), "encoding")]
    return torch.cat([mean.cpu() for mean, _ in parts]), torch.cat([variance.cpu() for _, variance in parts])
