"""How a model of pixel diffusion is trained."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minidiff import devices, storage
from minidiff.data import pictures
from minidiff.nets import UNet, UNetConfig
from minidiff.pipelines import PixelDiffusion
from minidiff.samplers import final
from minidiff.training import Batches, TrainConfig, diffusion_loss, initialised, train
from minidiff.training.run import has_run


@dataclass(frozen=True)
class PixelRecipe:
    """Every number of a pixel diffusion model and of its training.

    The averaged weights after `younger_step` steps are kept as the weaker network of auto-guidance.
    """

    unet: UNetConfig
    training: TrainConfig
    size: int
    schedule: dict
    prediction_type: str
    guidance_scale: float
    younger_step: int

    def changed(self, **changes) -> "PixelRecipe":
        """The same recipe with other numbers in the training."""
        return replace(self, training=replace(self.training, **changes))

    def train(
        self, data: Float[Tensor, "n c h w"], folder: str | Path, *, device: str = "auto", resume: bool = False
    ) -> PixelDiffusion:
        """Train the model on images in [-1, 1]. From the first checkpoint on, `folder` is a model that can be loaded.

        Every `preview_every` steps samples are drawn from the same noise. A run that ends before `younger_step` has no guidance.
        Raises as `training.train` does.
        """
        folder, where, config = Path(folder), devices.resolve(device), self.training

        def assembled(unet: nn.Module) -> PixelDiffusion:
            return PixelDiffusion(unet, self.schedule, self.prediction_type, size=self.size)

        unet = initialised(lambda: UNet(self.unet), config.seed)
        model = assembled(unet)

        def loss(network: nn.Module, x_0: Tensor, generator: torch.Generator) -> Tensor:
            return diffusion_loss(network, model.schedule, x_0, generator, prediction_type=self.prediction_type)

        def preview(averaged: nn.Module, step: int) -> None:
            if step == self.younger_step:
                storage.write_weights(averaged, folder / "younger.safetensors")
            samples = final(assembled(averaged).sample(18, steps=25))
            pictures.save_png(pictures.grid(samples, columns=9, scale=2), folder / f"samples-{step:06d}.png")

        if not has_run(folder):
            (folder / "younger.safetensors").unlink(missing_ok=True)
            description = model.description() | {"guidance_scale": self.guidance_scale}
            storage.write_json(folder / storage.CONFIG, description | {"training": config.to_dict()})
        batches = Batches(data, batch_size=config.batch_size, seed=config.seed, device=where)
        train(unet, loss, batches, config, folder, device=device, resume=resume, preview=preview)
        return PixelDiffusion.load(folder, device)
