"""From prompts to images, in one place, for every kind of diffusion model.

    prompts ─ condition ─ denoiser ─┐
                x_T, pure noise ─ sampler ─ x_0 ─ decode ─ images

A kind of model says how each arrow is made: `condition`, `guided`, `shape` and `decode`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minidiff import samplers, storage
from minidiff.diffusion import prediction, schedules
from minidiff.diffusion.prediction import Denoiser
from minidiff.nets import Condition, UNet
from minidiff.noise import randn_like, seeded

HEUN_STARTS_AT = 80  # karras_sigma, as in Karras et al. 2022, table 1


class Pipeline(ABC):
    """Networks, the schedule they were trained with, and how images are drawn with them.

    `schedule` is a dictionary as in config.json: {"name": "cosine", "T": 1000}. Images are `size` × `size` pixels. `guidance_scale` is
    used unless a call gives another. Raises ValueError for an unknown schedule or prediction type.
    """

    KIND: ClassVar[str]
    STEPS: ClassVar[int]  # of the sampler, unless a call gives another number
    SAMPLER: ClassVar[str]
    unet: UNet

    def __init__(self, schedule: dict, prediction_type: str, size: int, guidance_scale: Real) -> None:
        prediction.check_type(prediction_type)
        self.schedule_config, self.schedule = schedule, schedules.by_name(**schedule)
        self.prediction_type, self.size, self.guidance_scale = prediction_type, size, guidance_scale

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """The networks, by the names of their weight files."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the x that is denoised: of an image or of its latent."""

    @abstractmethod
    def requested(self, prompts: Sequence[str] | int) -> list[str]:
        """One prompt for each image to draw. Raises TypeError or ValueError for a request that this model cannot draw."""

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Condition | None:
        """Prompts → condition, what the network is given beside x_t and t."""

    @abstractmethod
    def guided(self, condition: Condition | None, null_condition: Condition | None, scale: Real) -> Denoiser:
        """Condition → denoiser, with guidance of this scale; 1 is no guidance."""

    @abstractmethod
    def decode(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels height width"]:
        """x_0 → images in [0, 1], on the CPU."""

    @abstractmethod
    def description(self) -> dict:
        """The configuration of the model as plain values, for config.json."""

    def denoiser(
        self,
        prompts: Sequence[str] | int = 1,
        negative_prompts: Sequence[str] | None = None,
        guidance_scale: Real | None = None,
        *,
        condition: Condition | None = None,
    ) -> Denoiser:
        """The denoiser for these prompts, guided towards them and away from the negative prompts (the empty prompt by default).

        A `condition` replaces the condition of the prompts. Raises as `generate` does.
        """
        prompts = self.requested(prompts)
        negative = [""] * len(prompts) if negative_prompts is None else self.requested(negative_prompts)
        self._check_counts(len(prompts), negative)
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        with torch.no_grad():
            towards = self.condition(prompts) if condition is None else condition
            return self.guided(towards, self.condition(negative), scale)

    def sample(
        self,
        prompts: Sequence[str] | int,
        *,
        negative_prompts: Sequence[str] | None = None,
        guidance_scale: Real | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        x_T: Float[Tensor, "b c h w"] | None = None,
        condition: Condition | None = None,
    ) -> Iterator[samplers.SamplerStep]:
        """The steps of the sampler from noise to x_0, for all prompts together. Arguments and errors are those of `generate`."""
        prompts = self.requested(prompts)
        denoise = self.denoiser(prompts, negative_prompts, guidance_scale, condition=condition)
        draw = samplers.by_name(sampler or self.SAMPLER, sampler_options)
        times = self.times(steps, sampler)
        generators = seeded(seed, len(prompts))
        self._check_counts(len(prompts), x_T=x_T)
        if x_T is None:
            x_T = self.schedule.prior_std(times[0]) * self.noise(generators)
        return draw(denoise, x_T.to(self.device), times, generator=generators)

    def generate(
        self,
        prompts: Sequence[str] | int,
        *,
        negative_prompts: Sequence[str] | None = None,
        guidance_scale: Real | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        seed: int = 0,
        x_T: Float[Tensor, "b c h w"] | None = None,
        batch_size: int = 64,
    ) -> Float[Tensor, "b channels height width"]:
        """One image for each prompt, in [0, 1], on the CPU, `batch_size` at a time. Image i is drawn from `seed + i`.

        A model without prompts takes the number of images in place of prompts. `sampler_options` are the sampler's own arguments, for
        example {"eta": 0.5} for "ddim". `x_T` replaces the noise at the first level. A prompt that is longer than the context is cut,
        with a warning. Raises TypeError for a single string in place of a list; ValueError for no prompts, an unknown sampler or option,
        more steps than the schedule has, and negative prompts or x_T that do not fit the prompts.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        prompts, images = self.requested(prompts), []
        self._check_counts(len(prompts), negative_prompts, x_T)
        settings = {"guidance_scale": guidance_scale, "steps": steps}
        settings |= {"sampler": sampler, "sampler_options": sampler_options}
        for i in range(0, len(prompts), batch_size):
            part = slice(i, i + batch_size)
            negative = None if negative_prompts is None else negative_prompts[part]
            first = None if x_T is None else x_T[part]
            path = self.sample(prompts[part], negative_prompts=negative, seed=seed + i, x_T=first, **settings)
            images.append(self.decode(samplers.final(path)))
        return torch.cat(images)

    def _check_counts(
        self, count: int, negative_prompts: Sequence[str] | None = None, x_T: Tensor | None = None
    ) -> None:
        if negative_prompts is not None and len(negative_prompts) != count:
            raise ValueError(f"expected one negative prompt per prompt, got {len(negative_prompts)} for {count}")
        if x_T is not None and x_T.shape != (shape := (count, *self.shape)):
            raise ValueError(f"x_T must have the shape {shape} for {count} prompts, got {tuple(x_T.shape)}")

    def times(self, steps: int | None = None, sampler: str | None = None) -> list[int] | list[float]:
        """The noise levels that a sampler visits, from the first to 0.

        Every sampler starts at T except Heun's. Heun's step averages two slopes, which differ hugely between T and the next level, so
        Heun starts at the last level where karras_sigma is at most 80. Raises ValueError for more steps than the schedule has.
        """
        starts_late = (sampler or self.SAMPLER) == "heun"
        start = int((self.schedule.karras_sigmas <= HEUN_STARTS_AT).sum()) - 1 if starts_late else self.schedule.T
        return samplers.times(self.schedule.T, self.STEPS if steps is None else steps, start=start)

    def noise(self, generators: Sequence[torch.Generator]) -> Float[Tensor, "b c h w"]:
        """Standard normal noise of the shape of x, one for each generator."""
        weight = next(self.unet.parameters())  # whose dtype and device x shares
        return randn_like(weight.new_zeros(len(generators), *self.shape), generators)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.unet.parameters()).device

    def summary(self) -> str:
        """The sizes and settings of the model, for people."""
        counts = ", ".join(
            f"{name} {sum(p.numel() for p in part.parameters()):,}" for name, part in self.parts().items()
        )
        return (
            f"{self.KIND}; parameters: {counts}; predicts {self.prediction_type}, schedule {self.schedule_config},"
            f" {self.size}×{self.size} pixels\n" + "\n".join(str(part.config) for part in self.parts().values())
        )

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float32, notes: dict | None = None) -> None:
        """Write the model into a folder: weights as safetensors, then config.json with `notes`. dtype float16 halves the weights."""
        for name, part in self.parts().items():
            storage.write_weights(part, Path(folder) / f"{name}.safetensors", dtype)
        storage.write_json(Path(folder) / storage.CONFIG, self.description() | (notes or {}))

    @classmethod
    @abstractmethod
    def load(cls, model: str | Path, device: str = "auto") -> "Pipeline":
        """Read the model in a folder, or the bundled model of this name.

        Raises ValueError for a folder of another kind, or weights that do not fit the configuration.
        """
