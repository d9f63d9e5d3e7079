"""Prompts to pictures: text encoder, U-Net on latents, sampler, decoder. All of Stable Diffusion in one object.

    prompts ─ tokens ─ context ────────────┐
    x_T, noise of a latent's shape ─ U-Net, again and again ─ z ─ decoder ─ pictures

Source: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, figure 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from minidiff import devices, guidance, samplers
from minidiff.conditioner import Conditioner
from minidiff.diffusion import prediction, schedules
from minidiff.diffusion.prediction import Denoiser
from minidiff.nets import VAE, Condition, UNet, UNetConfig, VAEConfig
from minidiff.noise import randn_like
from minidiff.pipelines import folders
from minidiff.pipelines.editing import Editing
from minidiff.pipelines.plan import Plan, plan
from minidiff.text import TextEncoder, TextEncoderConfig, Tokenizer
from minidiff.training import checkpoint


class TextToImage(Editing):
    """An autoencoder, a conditioner, a U-Net, and what one must know to use them.

    `schedule` is how configuration files say it: {"name": "cosine", "T": 1000}. Pictures are `size` pixels square;
    `guidance_scale` is the one to draw with unless another is asked for. The U-Net is given t + time_offset.
    Raises ValueError for an unknown schedule or prediction type, and for parts that do not fit one another.
    """

    KIND = "text to image"

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
        prediction.check_type(prediction_type)
        _check_fit(vae.config, conditioner.text_encoder.config, unet.config, size)
        self.vae, self.conditioner, self.unet = vae.eval(), conditioner.eval(), unet.eval()
        self.schedule_config, self.schedule = schedule, schedules.by_name(**schedule)
        self.prediction_type, self.time_offset = prediction_type, time_offset
        self.size, self.guidance_scale = size, guidance_scale

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.unet.parameters()).device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture's latent."""
        side = self.size // self.vae.config.factor
        return self.vae.config.latent_channels, side, side

    @property
    def stride(self) -> int:
        """Height and width of pictures must be multiples of this."""
        return self.vae.config.factor * self.unet.config.stride

    def denoiser(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str] | None = None,
        guidance_scale: Real | None = None,
        *,
        condition: Condition | None = None,
    ) -> Denoiser:
        """A denoiser of latents, guided towards the prompts and away from the negative ones (without: the empty prompt).

        A `condition` takes the place of the prompts' own. Raises TypeError for a single string, ValueError for no prompts, or as
        many negative ones as there are not prompts.
        """
        prompts = _listed(prompts, "prompts")
        away = [""] * len(prompts) if negative_prompts is None else _listed(negative_prompts, "negative_prompts")
        if len(away) != len(prompts):
            raise ValueError(f"one negative prompt for each prompt: got {len(away)} for {len(prompts)}")
        with torch.no_grad():
            towards = self.conditioner(prompts) if condition is None else condition
            null_condition = self.conditioner(away)
        denoise = prediction.as_denoiser(self.unet, self.schedule, self.prediction_type, self.time_offset)
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        return guidance.classifier_free(denoise, towards, null_condition, scale)

    def plan(
        self,
        prompts: Sequence[str],
        *,
        negative_prompts: Sequence[str] | None = None,
        steps: int = 25,
        guidance_scale: Real | None = None,
        sampler: str = "ddim",
        sampler_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        condition: Condition | None = None,
    ) -> Plan:
        """All that a walk needs but its beginning. Raises as `generate` does."""
        denoise = self.denoiser(prompts, negative_prompts, guidance_scale, condition=condition)
        return plan(denoise, sampler, steps, seed, len(prompts), sampler_options)

    def noise(self, generators: Sequence[torch.Generator]) -> Float[Tensor, "b c h w"]:
        """Standard normal noise, one latent a generator."""
        like = next(self.unet.parameters())
        return randn_like(like.new_zeros(len(generators), *self.latent_shape), generators)

    def sample(
        self, prompts: Sequence[str], *, x_T: Float[Tensor, "b c h w"] | None = None, **settings
    ) -> Iterator[samplers.SamplerStep]:
        """The sampler's steps, on latents; picture i is drawn from seed + i, or begins at x_T[i]. Settings and errors are `generate`'s."""
        walk = self.plan(prompts, **settings)
        shape = (len(prompts), *self.latent_shape)
        if x_T is None:
            x_T = walk.scaled(self.noise(walk.generators))
        elif x_T.shape != shape:
            raise ValueError(
                f"x_T must have the shape {shape}, noise for {len(prompts)} latents; got {tuple(x_T.shape)}"
            )
        return walk.walk(x_T.to(self.device))

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels height width"]:
        """Latents, scaled as the U-Net sees them, to pictures in [0, 1] on the CPU."""
        return (self.vae.from_latents(z).cpu() + 1).clamp(0, 2) / 2

    @torch.no_grad()
    def encode(
        self, pictures: Float[Tensor, "b channels height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Pictures in [0, 1] to latents, scaled as the U-Net sees them: a draw, or their means without a generator."""
        return self.vae.to_latents(2 * pictures.to(self.device) - 1, generator)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        negative_prompts: Sequence[str] | None = None,
        steps: int = 25,
        guidance_scale: Real | None = None,
        sampler: str = "ddim",
        sampler_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        x_T: Float[Tensor, "b c h w"] | None = None,
        batch_size: int = 64,
    ) -> Float[Tensor, "b channels height width"]:
        """A picture for each prompt, in [0, 1], on the CPU, `batch_size` at a time; picture i is drawn from seed + i.

        sampler_options are the sampler's own: {"eta": 0.5} for "ddim". x_T is x at the first level, in place of noise.
        Raises TypeError for a single string in place of a list; ValueError for no prompts, an unknown sampler or option, steps that the
        schedule has no room for, or negative prompts and x_T that do not fit. A prompt longer than the context is cut, with
        a warning.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        settings = {
            "steps": steps,
            "guidance_scale": guidance_scale,
            "sampler": sampler,
            "sampler_options": sampler_options,
        }
        drawn = []
        for i in range(0, max(len(prompts), 1), batch_size):
            part = slice(i, i + batch_size)
            path = self.sample(
                prompts[part],
                negative_prompts=None if negative_prompts is None else negative_prompts[part],
                seed=seed + i,
                x_T=None if x_T is None else x_T[part],
                **settings,
            )
            drawn.append(self.decode(samplers.final(path)))
        return torch.cat(drawn)

    def summary(self) -> str:
        """One paragraph for people."""
        parts = {"VAE": self.vae, "text encoder": self.conditioner.text_encoder, "U-Net": self.unet}
        counts = ", ".join(f"{name} {sum(p.numel() for p in part.parameters()):,}" for name, part in parts.items())
        return (
            f"parameters: {counts}; predicts {self.prediction_type}, schedule {self.schedule_config}, {self.size}×{self.size} pixels\n"
            f"{self.vae.config}\n{self.conditioner.text_encoder.config}\n{self.unet.config}"
        )

    def description(self) -> dict:
        """All of the model but its weights and its vocabulary, as plain values."""
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
        """Write config.json, the vocabulary, and the weights of each part; dtype float16 halves them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.conditioner.tokenizer.save(folder)
        folders.write_weights(self.vae, folder / "vae.safetensors", dtype)
        folders.write_weights(self.conditioner.text_encoder, folder / "text.safetensors", dtype)
        folders.write_weights(self.unet, folder / "unet.safetensors", dtype)
        checkpoint.write_json(folder / folders.CONFIG, self.description() | (notes or {}))

    @classmethod
    def load(cls, model: str | Path, device: str = "auto") -> "TextToImage":
        """The model in a folder that `save` or training wrote, or the bundled one of that name.

        Raises ValueError for a folder that is not such a model, or whose weights do not fit its configuration.
        """
        folder, where = folders.find(model), devices.resolve(device)
        config = folders.read_config(folder, cls.KIND)
        vae_config, unet_config = VAEConfig.from_dict(config["vae"]), UNetConfig.from_dict(config["unet"])
        text_config = TextEncoderConfig.from_dict(config["text"])
        text_encoder = folders.read_weights(lambda: TextEncoder(text_config), folder / "text.safetensors")
        return cls(
            folders.read_weights(lambda: VAE(vae_config), folder / "vae.safetensors").to(where),
            Conditioner(Tokenizer.load(folder), text_encoder).to(where),
            folders.read_weights(lambda: UNet(unet_config), folder / "unet.safetensors").to(where),
            config["schedule"],
            config["prediction_type"],
            size=config["size"],
            guidance_scale=config["guidance_scale"],
            time_offset=config["time_offset"],
        )


def _listed(prompts: Sequence[str], name: str) -> list[str]:
    if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
        raise TypeError(f"{name} must be a list of strings, one a picture; got {prompts!r}")
    if len(prompts) == 0:
        raise ValueError(f"{name} must hold at least one prompt, got none")
    return list(prompts)


def _check_fit(vae: VAEConfig, text: TextEncoderConfig, unet: UNetConfig, size: int) -> None:
    if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
        raise ValueError(
            f"the U-Net takes {unet.in_channels} and gives {unet.out_channels} channels, the latents have {vae.latent_channels}"
        )
    if unet.context_dim != text.dim:
        raise ValueError(f"the U-Net was built with context_dim={unet.context_dim}, the text encoder gives {text.dim}")
    if size % (vae.factor * unet.stride):
        raise ValueError(f"size must be a multiple of {vae.factor * unet.stride}, got {size}")
