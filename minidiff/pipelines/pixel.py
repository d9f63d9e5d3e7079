"""Diffusion on pixels without prompts: DDPM as a whole model."""

from collections.abc import Sequence
from numbers import Real
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from minidiff import devices, guidance, storage
from minidiff.diffusion import prediction
from minidiff.diffusion.prediction import Denoiser
from minidiff.nets import Condition, UNet, UNetConfig
from minidiff.pipelines.pipeline import Pipeline


class PixelDiffusion(Pipeline):
    """A U-Net that denoises images in [-1, 1] directly.

    `younger` is the same network at an early training step. It is the weaker network of auto-guidance, which is off without it.
    """

    KIND, STEPS, SAMPLER = "pixel diffusion", 100, "ddpm"

    def __init__(
        self,
        unet: UNet,
        schedule: dict,
        prediction_type: str,
        *,
        size: int,
        younger: UNet | None = None,
        guidance_scale: Real = 1,
    ) -> None:
        super().__init__(schedule, prediction_type, size, guidance_scale)
        self.unet, self.younger = unet.eval(), younger and younger.eval()

    def parts(self) -> dict[str, UNet]:
        return {"model": self.unet} if self.younger is None else {"model": self.unet, "younger": self.younger}

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.unet.config.in_channels, self.size, self.size

    def requested(self, prompts: Sequence[str] | int) -> list[str]:
        """Empty prompts, one for each image. Raises ValueError for a prompt that is not empty, or fewer than 1 image."""
        prompts = [""] * prompts if isinstance(prompts, int) else list(prompts)
        if any(prompts):
            raise ValueError(
                "this model draws without prompts: leave prompts and negative prompts out, or choose another"
            )
        if not prompts:
            raise ValueError("the number of images must be at least 1")
        return prompts

    def condition(self, prompts: Sequence[str]) -> None:
        return None

    def guided(self, condition: Condition | None, null_condition: Condition | None, scale: Real) -> Denoiser:
        """The network with its predicted x_0 clipped to the range of images. Raises ValueError for guidance without a younger network."""
        if condition is not None:
            raise ValueError(f"this model draws without a condition, got {condition}")
        denoise = prediction.as_denoiser(self.unet, self.schedule, self.prediction_type)
        if scale != 1:
            if self.younger is None:
                raise ValueError(
                    f"this model has no younger network to guide it: guidance_scale must be 1, got {scale}"
                )
            worse = prediction.as_denoiser(self.younger, self.schedule, self.prediction_type)
            denoise = guidance.auto(denoise, worse, scale)
        return prediction.clip_x_0(denoise)

    def decode(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return (x.cpu() + 1).clamp(0, 2) / 2

    def description(self) -> dict:
        return {
            "kind": self.KIND,
            "unet": self.unet.config.to_dict(),
            "schedule": self.schedule_config,
            "prediction_type": self.prediction_type,
            "size": self.size,
            "guidance_scale": self.guidance_scale,
        }

    @classmethod
    def load(cls, model: str | Path, device: str = "auto") -> "PixelDiffusion":
        folder, where = storage.find_model(model), devices.resolve(device)
        config = storage.read_config(folder, cls.KIND)
        sizes = UNetConfig.from_dict(config["unet"])

        def network(name: str) -> UNet:
            return storage.read_weights(lambda: UNet(sizes), folder / f"{name}.safetensors").to(where)

        younger = network("younger") if (folder / "younger.safetensors").is_file() else None
        return cls(
            network("model"),
            config["schedule"],
            config["prediction_type"],
            size=config["size"],
            younger=younger,
            guidance_scale=1 if younger is None else config["guidance_scale"],
        )
