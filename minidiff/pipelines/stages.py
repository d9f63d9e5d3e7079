"""How a text-to-image model is trained: an autoencoder; then texts and pictures brought together; then, on latents, the U-Net.

Each stage is a run of its own in a folder of its own, and begins where the one before has ended. The text encoder begins the
last stage as the second left it, and is trained on with the U-Net.
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
from minidiff.nets import VAE, Condition, UNet, vae
from minidiff.pipelines.ingredients import CaptionedPictures, Recipe
from minidiff.pipelines.text_to_image import TextToImage
from minidiff.samplers import final
from minidiff.text import CLIP, ImageEncoder, TextEncoder, TextEncoderConfig, Tokenizer, info_nce
from minidiff.training import diffusion_loss, initialised, train
from minidiff.training.autoencoding import measure_latent_scale, set_noise, vae_loss


class Prompted(nn.Module):
    """A U-Net and the text encoder that is trained with it: `(z_t, t, tokens)` gives the U-Net's answer."""

    def __init__(self, unet: UNet, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, z_t: Float[Tensor, "b c h w"], t: Tensor, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b c h w"]:
        return self.unet(z_t, t, Condition(context=self.text_encoder(tokens)))


@dataclass(frozen=True)
class Batches:
    """Tensors of one length as a data set: `batches[indices]` are the rows of each, on the device of training."""

    tensors: tuple[Tensor, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor[indices.to(tensor.device)].to(self.device) for tensor in self.tensors)


def train_text_to_image(
    recipe: Recipe, data: CaptionedPictures, folder: str | Path, *, device: str = "auto", resume: bool = False
) -> TextToImage:
    """All three stages, in the folders 1-vae, 2-text and 3-unet; the model itself is written into `folder` at the end.

    Reconstructions and samples are left in those folders at intervals. With `resume` a run goes on in whichever stage it was.
    Raises as `training.train` does.
    """
    folder = Path(folder)
    tokenizer = Tokenizer.train(
        [caption for captions in data.captions for caption in captions], recipe.vocab_size, recipe.context_length
    )
    autoencoder = train_vae(recipe, data, folder / "1-vae", device=device, resume=resume)
    clip = train_text(recipe, data, tokenizer, folder / "2-text", device=device, resume=resume)
    model = train_unet(
        recipe,
        data,
        autoencoder,
        Conditioner(tokenizer, clip.text_encoder),
        folder / "3-unet",
        device=device,
        resume=resume,
    )
    model.save(folder, notes={"subject": recipe.subject})
    return model


def train_vae(
    recipe: Recipe, data: CaptionedPictures, folder: Path, *, device: str = "auto", resume: bool = False
) -> VAE:
    """The autoencoder, with its latent_scale measured: the one which gives the latents of all pictures unit variance."""
    config, where = recipe.vae_training, devices.resolve(device)
    shown = data.images[:: max(1, len(data) // 16)][:16]

    def loss(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        return vae_loss(network, batch[0].float(), generator, kl_weight=recipe.kl_weight)

    @torch.no_grad()
    def preview(averaged: nn.Module, step: int) -> None:
        x_0 = shown.to(where).float()
        pairs = torch.stack([x_0, averaged.decode(averaged.encode(x_0)[0])], dim=1).flatten(0, 1)
        pictures.save_png(pictures.grid(pairs, columns=8, scale=2), folder / f"reconstructions-{step:06d}.png")

    network = initialised(lambda: VAE(recipe.vae), config.seed)
    if recipe.initial_noise is not None:
        set_noise(network, recipe.initial_noise)
    trained = train(
        network, loss, Batches((data.images,), where), config, folder, device=device, resume=resume, preview=preview
    )
    scale = measure_latent_scale(trained, data.images.float().to(where), torch.Generator().manual_seed(config.seed))
    trained.config = replace(trained.config, latent_scale=scale)
    return trained


def train_text(
    recipe: Recipe,
    data: CaptionedPictures,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
) -> CLIP:
    """A small CLIP of the pictures and their first captions."""
    config, where = recipe.text_training, devices.resolve(device)
    tokens = data.tokens(tokenizer)[:, : data.full]

    def build() -> CLIP:
        text_config = TextEncoderConfig.tiny(
            tokenizer.vocab_size, context_length=recipe.context_length, dim=recipe.text_dim
        )
        return CLIP(ImageEncoder(), TextEncoder(text_config), recipe.text_dim)

    def loss(clip: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        images, tokens, meanings = batch
        texts = clip.text_features(one_of(tokens, generator))
        return info_nce(clip.image_features(images.float()), texts, clip.logit_scale, meanings)

    return train(
        initialised(build, config.seed),
        loss,
        Batches((data.images, tokens, data.meanings), where),
        config,
        folder,
        device=device,
        resume=resume,
    )


def train_unet(
    recipe: Recipe,
    data: CaptionedPictures,
    autoencoder: VAE,
    conditioning: Conditioner,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
) -> TextToImage:
    """The U-Net, and the text encoder with it, on latents that are drawn anew at each step from what was encoded once."""
    config, where = recipe.unet_training, devices.resolve(device)
    tokenizer = conditioning.tokenizer
    mean, log_variance = encode_all(autoencoder, data.images)
    latents = Batches((mean, log_variance, data.tokens(tokenizer)), where)
    null_tokens = tokenizer([""]).to(where)
    unet = initialised(lambda: UNet(recipe.unet), config.seed)
    latent_scale = autoencoder.config.latent_scale

    def assembled(network: Prompted) -> TextToImage:
        return TextToImage(
            autoencoder,
            Conditioner(tokenizer, network.text_encoder),
            network.unet,
            {"name": recipe.schedule_name, "T": 1000},
            recipe.prediction_type,
            size=data.images.shape[-1],
            guidance_scale=recipe.guidance_scale,
        )

    network = Prompted(unet, conditioning.text_encoder)
    schedule = assembled(network).schedule
    network.train()

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
            levels=recipe.levels,
        )

    def preview(averaged: nn.Module, step: int) -> None:
        model = assembled(averaged)
        if recipe.snapshots is not None and step % recipe.snapshots == 0:
            model.save(folder / f"model-{step:06d}", dtype=torch.float16, notes={"subject": recipe.subject})
        if recipe.preview_prompts:
            samples = model.decode(final(model.sample(recipe.preview_prompts)))
            pictures.save_png(pictures.grid(2 * samples - 1, columns=4, scale=2), folder / f"samples-{step:06d}.png")

    trained = train(network, loss, latents, config, folder, device=device, resume=resume, preview=preview)
    return assembled(trained)


def one_of(tokens: Int[Tensor, "n k l"], generator: torch.Generator) -> Int[Tensor, "n l"]:
    """One of each picture's k captions, each as likely as the others."""
    which = torch.randint(tokens.shape[1], (len(tokens),), generator=generator).to(tokens.device)
    return tokens[torch.arange(len(tokens), device=tokens.device), which]


@torch.no_grad()
def encode_all(
    autoencoder: VAE, images: Float16[Tensor, "n c h w"], batch_size: int = 250
) -> tuple[Float[Tensor, "n z a b"], Float[Tensor, "n z a b"]]:
    """Means and log-variances of all pictures' latents, on the CPU."""
    where = next(autoencoder.parameters()).device
    parts = [autoencoder.encode(part.to(where).float()) for part in tqdm(images.split(batch_size), "encoding")]
    return torch.cat([mean.cpu() for mean, _ in parts]), torch.cat([variance.cpu() for _, variance in parts])
