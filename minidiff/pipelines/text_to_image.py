"""Prompts to images as in Stable Diffusion: a text encoder, a U-Net that denoises latents, and the decoder of an autoencoder.

    prompts ─ tokens ─ context ────────────┐
    x_T, noise of a latent's shape ─ U-Net, at each step ─ z ─ decoder ─ images

Source: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, figure 3.
"""

from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minidiff import devices, guidance, storage
from minidiff.conditioner import Conditioner
from minidiff.diffusion import prediction
from minidiff.diffusion.prediction import Denoiser
from minidiff.nets import VAE, Condition, UNet, UNetConfig, VAEConfig
from minidiff.pipelines.editing import Editing
from minidiff.text import TextEncoder, TextEncoderConfig, Tokenizer


class TextToImage(Editing):
    """An autoencoder, a conditioner (tokenizer and text encoder), and a U-Net that denoises latents under a condition.

    The U-Net is given t + time_offset. Also raises ValueError for parts that do not fit each other.
    """

    KIND, STEPS, SAMPLER = "text to image", 25, "ddim"

    def __init__(
        self,
        vae: VAE,
        conditioner: Conditioner,
        unet: UNet,
        schedule: dict,
        prediction_type: str,
        *,
        size: int,
        guidance_scale: Real,
        time_offset: int = 0,
    ) -> None:
        super().__init__(schedule, prediction_type, size, guidance_scale)
        _check_fit(vae.config, conditioner.text_encoder.config, unet.config, size)
        self.vae, self.conditioner, self.unet = vae.eval(), conditioner.eval(), unet.eval()
        self.time_offset = time_offset

    def parts(self) -> dict[str, nn.Module]:
        return {"vae": self.vae, "text": self.conditioner.text_encoder, "unet": self.unet}

    @property
    def shape(self) -> tuple[int, int, int]:
        side = self.size // self.vae.config.factor
        return self.vae.config.latent_channels, side, side

    @property
    def stride(self) -> int:
        """Height and width of images must be multiples of this."""
        return self.vae.config.factor * self.unet.config.stride

    def requested(self, prompts: Sequence[str] | int) -> list[str]:
        """The prompts as a list. Raises ValueError if there are none, TypeError unless they are a list of strings."""
        if isinstance(prompts, int) or len(prompts) == 0:
            raise ValueError('this model draws from prompts: give at least one, for example "a red seven"')
        if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
            raise TypeError(f"prompts must be a list of strings, one for each image; got {prompts!r}")
        return list(prompts)

    def condition(self, prompts: Sequence[str]) -> Condition:
        return self.conditioner(prompts)

    def guided(self, condition: Condition | None, null_condition: Condition | None, scale: Real) -> Denoiser:
        denoise = prediction.as_denoiser(self.unet, self.schedule, self.prediction_type, self.time_offset)
        return guidance.classifier_free(denoise, condition, null_condition, scale)

    @torch.no_grad()
    def decode(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels height width"]:
        """Latents, scaled as the U-Net sees them → images in [0, 1], on the CPU."""
        return (self.vae.from_latents(x).cpu() + 1).clamp(0, 2) / 2

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "b channels height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Images in [0, 1] → latents, scaled as the U-Net sees them: a sample, or the means if there is no generator."""
        return self.vae.to_latents(2 * images.to(self.device) - 1, generator)

    def description(self) -> dict:
        return {
            "kind": self.KIND,
            "size": self.size,
            "vae": self.vae.config.to_dict(),
            "text": self.conditioner.text_encoder.config.to_dict(),
            "unet": self.unet.config.to_dict(),
            "schedule": self.schedule_config,
            "prediction_type": self.prediction_type,
            "time_offset": self.time_offset,
            "guidance_scale": self.guidance_scale,
        }

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float32, notes: dict | None = None) -> None:
        """Write the model into a folder: the vocabulary, weights as safetensors, then config.json with `notes`."""
        self.conditioner.tokenizer.save(Path(folder))
        super().save(folder, dtype=dtype, notes=notes)

    @classmethod
    def load(cls, model: str | Path, device: str = "auto") -> "TextToImage":
        folder, where = storage.find_model(model), devices.resolve(device)
        config = storage.read_config(folder, cls.KIND)
        vae_config, unet_config = VAEConfig.from_dict(config["vae"]), UNetConfig.from_dict(config["unet"])
        text_config = TextEncoderConfig.from_dict(config["text"])
        text_encoder = storage.read_weights(lambda: TextEncoder(text_config), folder / "text.safetensors")
        return cls(
            storage.read_weights(lambda: VAE(vae_config), folder / "vae.safetensors").to(where),
            Conditioner(Tokenizer.load(folder), text_encoder).to(where),
            storage.read_weights(lambda: UNet(unet_config), folder / "unet.safetensors").to(where),
            config["schedule"],
            config["prediction_type"],
            size=config["size"],
            guidance_scale=config["guidance_scale"],
            time_offset=config["time_offset"],
        )


def _check_fit(vae: VAEConfig, text: TextEncoderConfig, unet: UNetConfig, size: int) -> None:
    if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
        raise ValueError(
            f"the U-Net takes {unet.in_channels} and returns {unet.out_channels} channels, the latents have {vae.latent_channels}"
        )
    if unet.context_dim != text.dim:
        raise ValueError(f"the U-Net has context_dim={unet.context_dim}, but the text encoder's dim is {text.dim}")
    if size % (vae.factor * unet.stride):
        raise ValueError(f"size must be a multiple of {vae.factor * unet.stride}, got {size}")
