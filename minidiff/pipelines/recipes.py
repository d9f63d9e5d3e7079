"""How the models that come with minidiff are trained."""

from pathlib import Path

import torch
from torch import Tensor, nn

from minidiff import devices
from minidiff.data import digits, pictures
from minidiff.nets import UNet, UNetConfig
from minidiff.pipelines.pixel import PixelDiffusion
from minidiff.samplers import final
from minidiff.training import TrainConfig, checkpoint, diffusion_loss, initialised, train

DIGITS_PIXEL = TrainConfig(
    steps=3200,
    batch_size=32,
    learning_rate=1.5e-3,
    warmup=200,
    ema_decay=0.998,
    checkpoint_every=400,
    preview_every=900,
)
DIGITS_PIXEL_UNET = UNetConfig.tiny(channels=(64, 64), attention=(False, True))


def train_digits_pixel(
    folder: str | Path, config: TrainConfig = DIGITS_PIXEL, *, device: str = "auto", resume: bool = False
) -> PixelDiffusion:
    """Train the pixel-space model of handwritten digits; the folder is a model that can be loaded from the first checkpoint on.

    Every `preview_every` steps it leaves samples there, always of the same noise, so that one can watch it learn.
    Raises as `training.train` does.
    """
    folder, where = Path(folder), devices.resolve(device)
    unet = initialised(lambda: UNet(DIGITS_PIXEL_UNET), config.seed)
    model = PixelDiffusion(unet, DIGITS_PIXEL_UNET, {"name": "cosine", "T": 1000}, "v", size=32)
    data = digits.load("train")[0].to(where)

    def loss(network: nn.Module, x_0: Tensor, generator: torch.Generator) -> Tensor:
        return diffusion_loss(network, model.schedule, x_0, generator, prediction_type=model.prediction_type)

    def preview(averaged: nn.Module, step: int) -> None:
        shown = PixelDiffusion(averaged, DIGITS_PIXEL_UNET, model.schedule_config, model.prediction_type, model.size)
        samples = final(shown.sample(36, steps=50))
        pictures.save_png(pictures.grid(samples, columns=9, scale=2), folder / f"samples-{step:06d}.png")

    if resume or not checkpoint.has_checkpoint(folder):
        checkpoint.write_json(folder / "config.json", model.description() | {"training": config.to_dict()})
    model.unet = train(unet, loss, data, config, folder, device=device, resume=resume, preview=preview)
    return model
