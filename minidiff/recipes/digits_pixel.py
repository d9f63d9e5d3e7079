"""The recipe of `digits-pixel`: handwritten digits, drawn without prompts by diffusion on pixels."""

from jaxtyping import Float
from torch import Tensor

from minidiff.data import digits
from minidiff.nets import UNetConfig
from minidiff.recipes.pixel import PixelRecipe
from minidiff.training import TrainConfig

DIGITS_PIXEL = PixelRecipe(
    unet=UNetConfig(
        in_channels=1,
        out_channels=1,
        channels=(48, 64, 128),
        attention=(False, False, True),
        blocks_per_level=1,
        heads=4,
        norm_groups=8,
        patch_size=2,
    ),
    training=TrainConfig(
        steps=2600,
        batch_size=32,
        learning_rate=1.5e-3,
        warmup=200,
        weight_decay=0.01,
        clip=1.0,
        ema_decay=0.998,
        checkpoint_every=400,
        preview_every=200,
    ),
    size=32,
    schedule={"name": "cosine", "T": 1000},
    prediction_type="v",
    guidance_scale=2.5,
    younger_step=400,  # after 400 of 2,600 steps the network draws strokes, but few digits
)


def training_digits() -> Float[Tensor, "n 1 32 32"]:
    """The 4,500 training digits, in [-1, 1]."""
    return digits.load("train")[0]
