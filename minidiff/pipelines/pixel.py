"""Diffusion on pixels, without a prompt: the whole of DDPM in one object."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minidiff import devices, samplers
from minidiff.data import files
from minidiff.diffusion import prediction, schedules
from minidiff.diffusion.noise import randn_like, seeded
from minidiff.diffusion.prediction import Denoiser
from minidiff.nets import UNet, UNetConfig
from minidiff.training import checkpoint

KIND = "pixel diffusion"
SAMPLERS = {"ddim": samplers.ddim, "ddpm": samplers.ddpm}


class PixelDiffusion:
    """A U-Net, the schedule that it was trained with, and what it predicts.

    `schedule` is how configuration files say it: {"name": "cosine", "T": 1000}. Pictures are `size` pixels square.
    Raises ValueError for an unknown schedule or prediction type.
    """

    def __init__(self, unet: nn.Module, config: UNetConfig, schedule: dict, prediction_type: str, size: int) -> None:
        prediction.check_type(prediction_type)
        self.unet, self.config, self.size = unet, config, size
        self.schedule_config, self.schedule = schedule, schedules.by_name(**schedule)
        self.prediction_type = prediction_type

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.unet.parameters()).device

    @property
    def denoiser(self) -> Denoiser:
        """The network as a denoiser, its x̂_0 held within the range of pictures."""
        denoise = prediction.as_denoiser(self.unet, self.schedule, self.prediction_type)
        return prediction.clip_x_0(denoise, self.schedule)

    def sample(
        self, count: int, *, steps: int = 100, sampler: str = "ddpm", seed: int = 0
    ) -> Iterator[samplers.SamplerStep]:
        """The sampler's steps on the way to `count` pictures, in [-1, 1]; picture i is drawn from seed + i.

        Raises ValueError for an unknown sampler, fewer than 1 picture, or steps that the schedule has no room for.
        """
        if sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}: choose one of {', '.join(SAMPLERS)}")
        if count < 1:
            raise ValueError(f"there must be at least 1 picture to draw, got {count}")
        times = samplers.times(self.schedule.T, steps)
        generators = seeded(seed, count)
        weight = next(self.unet.parameters())  # whose dtype and device the pictures share
        x_T = randn_like(weight.new_zeros(count, self.config.in_channels, self.size, self.size), generators)
        return SAMPLERS[sampler](self.denoiser, self.schedule, x_T, times, generator=generators)

    def generate(
        self, count: int, *, steps: int = 100, sampler: str = "ddpm", seed: int = 0, batch_size: int = 64
    ) -> Float[Tensor, "n c h w"]:
        """`count` pictures in [0, 1], on the CPU, drawn `batch_size` at a time. Raises ValueError as `sample` does."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        batches = [
            samplers.final(self.sample(min(batch_size, count - i), steps=steps, sampler=sampler, seed=seed + i)).cpu()
            for i in range(0, max(count, 1), batch_size)
        ]
        return (torch.cat(batches) + 1).clamp(0, 2) / 2

    def description(self) -> dict:
        """All of the model but its weights, as plain values."""
        return {
            "kind": KIND,
            "unet": self.config.to_dict(),
            "schedule": self.schedule_config,
            "prediction_type": self.prediction_type,
            "size": self.size,
        }

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float32, notes: dict | None = None) -> None:
        """Write config.json and model.safetensors; dtype float16 halves the file."""
        folder = Path(folder)
        weights = {name: tensor.to(dtype) for name, tensor in self.unet.state_dict().items()}
        checkpoint.write_tensors(folder / "model.safetensors", weights)
        checkpoint.write_json(folder / "config.json", self.description() | (notes or {}))

    @classmethod
    def load(cls, model: str | Path, device: str = "auto") -> "PixelDiffusion":
        """The model in a folder that `save` or a training run wrote, or the bundled one of that name.

        Raises ValueError for a folder that is not such a model, or whose weights do not fit its configuration.
        """
        folder = Path(model)
        if not folder.is_dir() and str(model) in BUNDLED:
            folder = files.bundled(str(model))
        config_path = folder / "config.json"
        if not config_path.is_file():
            raise ValueError(
                f"{model} is no model: expected a folder with config.json and model.safetensors, or one of {', '.join(BUNDLED)}"
            )
        try:
            config = json.loads(config_path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{config_path} is not valid JSON: {error}") from error
        if config.get("kind") != KIND:
            raise ValueError(f"{model} holds a model of kind {config.get('kind')!r}, expected {KIND!r}")
        unet_config = UNetConfig.from_dict(config["unet"])
        with torch.device("meta"):
            unet = UNet(unet_config)
        tensors, _ = checkpoint.read_tensors(folder / "model.safetensors")
        try:
            unet.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
        except RuntimeError as error:
            raise ValueError(f"the weights in {folder} do not fit its config.json: {error}") from error
        unet = unet.to(devices.resolve(device)).eval()
        return cls(unet, unet_config, config["schedule"], config["prediction_type"], config["size"])


BUNDLED = ("digits-pixel",)
