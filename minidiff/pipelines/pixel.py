"""Diffusion on pixels, without a prompt: the whole of DDPM in one object."""

from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minidiff import devices, guidance, samplers
from minidiff.diffusion import prediction, schedules
from minidiff.diffusion.prediction import Denoiser
from minidiff.nets import UNet, UNetConfig
from minidiff.pipelines import folders
from minidiff.pipelines.plan import plan
from minidiff.training import checkpoint

YOUNGER = "younger.safetensors"


class PixelDiffusion:
    """A U-Net, the schedule that it was trained with, and what it predicts.

    `schedule` is how configuration files say it: {"name": "cosine", "T": 1000}. Pictures are `size` pixels square.
    `younger` is the same network as it was early in its training: what it would have said, `guidance.auto` leads away from,
    `guidance_scale` times as far as the two are apart. Without it, or at scale 1, the U-Net is taken at its word.
    Raises ValueError for an unknown schedule or prediction type.
    """

    KIND = "pixel diffusion"

    def __init__(
        self,
        unet: nn.Module,
        config: UNetConfig,
        schedule: dict,
        prediction_type: str,
        size: int,
        *,
        younger: nn.Module | None = None,
        guidance_scale: Real = 1,
    ) -> None:
        prediction.check_type(prediction_type)
        self.unet, self.config, self.size = unet, config, size
        self.schedule_config, self.schedule = schedule, schedules.by_name(**schedule)
        self.prediction_type = prediction_type
        self.younger, self.guidance_scale = younger, guidance_scale

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.unet.parameters()).device

    def denoiser(self, guidance_scale: Real | None = None) -> Denoiser:
        """The network as a denoiser, guided by its younger self, its x̂_0 held within the range of pictures.

        Raises ValueError where another scale than 1 is asked for and there is no younger self.
        """
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        denoise = prediction.as_denoiser(self.unet, self.schedule, self.prediction_type)
        if scale != 1:
            if self.younger is None:
                raise ValueError(
                    f"this model has no younger self to be guided by: guidance_scale must be 1, got {scale}"
                )
            worse = prediction.as_denoiser(self.younger, self.schedule, self.prediction_type)
            denoise = guidance.auto(denoise, worse, scale)
        return prediction.clip_x_0(denoise)

    def sample(
        self,
        count: int,
        *,
        steps: int = 100,
        sampler: str = "ddpm",
        sampler_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        guidance_scale: Real | None = None,
    ) -> Iterator[samplers.SamplerStep]:
        """The sampler's steps on the way to `count` pictures, in [-1, 1]; picture i is drawn from seed + i.

        `guidance_scale` is the model's unless it is given; `sampler_options` are the sampler's own. Raises ValueError for an unknown sampler or option, fewer than 1 picture, steps that the
        schedule has no room for, and as `denoiser` does.
        """
        if count < 1:
            raise ValueError(f"there must be at least 1 picture to draw, got {count}")
        walk = plan(self.denoiser(guidance_scale), sampler, steps, seed, count, sampler_options)
        weight = next(self.unet.parameters())  # whose dtype and device the pictures share
        like = weight.new_zeros(count, self.config.in_channels, self.size, self.size)
        return walk.walk(walk.noise(like))

    def generate(
        self,
        count: int,
        *,
        steps: int = 100,
        sampler: str = "ddpm",
        sampler_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        guidance_scale: Real | None = None,
        batch_size: int = 64,
    ) -> Float[Tensor, "n c h w"]:
        """`count` pictures in [0, 1], on the CPU, drawn `batch_size` at a time. Raises ValueError as `sample` does."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        settings = {
            "steps": steps,
            "sampler": sampler,
            "sampler_options": sampler_options,
            "guidance_scale": guidance_scale,
        }
        batches = [
            samplers.final(self.sample(min(batch_size, count - i), seed=seed + i, **settings)).cpu()
            for i in range(0, max(count, 1), batch_size)
        ]
        return (torch.cat(batches) + 1).clamp(0, 2) / 2

    def description(self) -> dict:
        """All of the model but its weights, as plain values."""
        return {
            "kind": self.KIND,
            "unet": self.config.to_dict(),
            "schedule": self.schedule_config,
            "prediction_type": self.prediction_type,
            "size": self.size,
            "guidance_scale": self.guidance_scale,
        }

    def summary(self) -> str:
        """One paragraph for people."""
        parameters = sum(p.numel() for p in self.unet.parameters())
        return (
            f"{parameters:,} parameters, predicts {self.prediction_type}, schedule {self.schedule_config}, {self.size}×{self.size} pixels\n"
            f"{self.config}"
        )

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float32, notes: dict | None = None) -> None:
        """Write config.json, model.safetensors and, where there is one, younger.safetensors; dtype float16 halves the files."""
        folder = Path(folder)
        folders.write_weights(self.unet, folder / "model.safetensors", dtype)
        if self.younger is not None:
            folders.write_weights(self.younger, folder / YOUNGER, dtype)
        checkpoint.write_json(folder / folders.CONFIG, self.description() | (notes or {}))

    @classmethod
    def load(cls, model: str | Path, device: str = "auto") -> "PixelDiffusion":
        """The model in a folder that `save` or a training run wrote, or the bundled one of that name.

        Raises ValueError for a folder that is not such a model, or whose weights do not fit its configuration.
        """
        folder, where = folders.find(model), devices.resolve(device)
        config = folders.read_config(folder, cls.KIND)
        unet_config = UNetConfig.from_dict(config["unet"])

        def weights(name: str) -> nn.Module:
            return folders.read_weights(lambda: UNet(unet_config), folder / name).to(where)

        younger = weights(YOUNGER) if (folder / YOUNGER).is_file() else None
        return cls(
            weights("model.safetensors"),
            unet_config,
            config["schedule"],
            config["prediction_type"],
            config["size"],
            younger=younger,
            guidance_scale=1 if younger is None else config["guidance_scale"],
        )
