"""How the models that come with minidiff are trained."""

from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff import devices
from minidiff.data import digits, images, pictures
from minidiff.nets import UNet, UNetConfig
from minidiff.pipelines.pixel import PixelDiffusion
from minidiff.samplers import final
from minidiff.training import TrainConfig, checkpoint, diffusion_loss, initialised, train

DIGITS_PIXEL = TrainConfig(steps=2000, batch_size=64, learning_rate=1.5e-3, warmup=100, ema_decay=0.995)


def train_digits_pixel(
    folder: str | Path, config: TrainConfig = DIGITS_PIXEL, *, device: str = "auto", resume: bool = False
) -> PixelDiffusion:
    """Train the pixel-space model of handwritten digits; the folder is a model that can be loaded from the first checkpoint on.

    Every `preview_every` steps it leaves samples there, always of the same noise, so that one can watch it learn.
    Raises as `training.train` does.
    """
    folder, where = Path(folder), devices.resolve(device)
    unet_config = UNetConfig.tiny()
    unet = initialised(lambda: UNet(unet_config), config.seed)
    model = PixelDiffusion(unet, unet_config, {"name": "cosine", "T": 1000}, "v", size=32)
    data = digits.load("train")[0].to(where)

    def loss(network: nn.Module, x_0: Tensor, generator: torch.Generator) -> Tensor:
        x_0 = images.augment(x_0, generator, shift=1)
        return diffusion_loss(network, model.schedule, x_0, generator, prediction_type=model.prediction_type)

    def preview(averaged: nn.Module, step: int) -> None:
        shown = PixelDiffusion(averaged, unet_config, model.schedule_config, model.prediction_type, model.size)
        samples = final(shown.sample(36, steps=20))
        pictures.save_png(pictures.grid(samples, columns=9, scale=2), folder / f"samples-{step:06d}.png")

    if resume or not checkpoint.has_checkpoint(folder):
        checkpoint.write_json(folder / "config.json", model.description() | {"training": config.to_dict()})
    model.unet = train(unet, loss, data, config, folder, device=device, resume=resume, preview=preview)
    return model
