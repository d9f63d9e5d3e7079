"""Editing images with a trained model: image-to-image, inpainting, outpainting, interpolation, inversion.

No training is needed. A sampler may start at any noise level, and x may be changed between two of its steps.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import pi
from numbers import Real
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from minidiff import samplers
from minidiff.data.images import cover
from minidiff.diffusion.forward import q_sample, q_transition
from minidiff.nets import Condition
from minidiff.noise import randn_like, seeded
from minidiff.pipelines.pipeline import Pipeline


class Inversion(NamedTuple):
    """Noise from which a sampler returns to an image, and the root-mean-square error of the latents that it returns to."""

    x_T: Float[Tensor, "b c h w"]
    error: Float[Tensor, "b"]


class Editing(Pipeline):
    """The editing methods of `TextToImage`.

    `settings` are arguments of `generate`: negative_prompts, guidance_scale, steps, sampler, sampler_options, seed.
    Images are (b, 3, h, w) in [0, 1], one for each prompt, height and width multiples of `stride`. Results are like them, on the CPU.
    Every method raises as `generate` does, and ValueError for images of another shape or range.
    """

    def image_to_image(
        self,
        images: Float[Tensor, "b c h w"],
        prompts: Sequence[str],
        *,
        strength: Real = 0.6,
        negative_prompts: Sequence[str] | None = None,
        guidance_scale: Real | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Float[Tensor, "b c h w"]:
        """Add noise to the images up to some level, then denoise them with the prompts.

        strength: the fraction of the steps that are done, in (0, 1]; at least one step is. At 1 almost nothing of the image is kept.
        Raises ValueError for a strength outside (0, 1]. Source: Meng et al., SDEdit, 2022, algorithm 1.
        """
        if not 0 < strength <= 1:
            raise ValueError(f"strength must lie in (0, 1], from almost no change to all steps; got {strength}")
        denoise = self.denoiser(prompts, negative_prompts, guidance_scale)
        draw = samplers.by_name(sampler or self.SAMPLER, sampler_options)
        times = self.times(steps, sampler)
        generators = seeded(seed, len(prompts))
        z_0 = self._encoded(images, len(prompts))
        done = max(1, round(strength * (len(times) - 1)))
        times = times[-done - 1 :]
        z_t = q_sample(self.schedule, z_0, times[0], randn_like(z_0, generators))
        return self.decode(samplers.final(draw(denoise, z_t, times, generator=generators)))

    def inpaint(
        self,
        images: Float[Tensor, "b c h w"],
        mask: Shaped[Tensor, "..."],
        prompts: Sequence[str],
        *,
        resampling: int = 1,
        paste: bool = True,
        negative_prompts: Sequence[str] | None = None,
        guidance_scale: Real | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Float[Tensor, "b c h w"]:
        """Repaint the images where the mask, (h, w) or (b or 1, 1, h, w), is 1 or True; keep them where it is 0.

        After each step the kept latents are replaced by the image's latents with the noise of the level *just reached*. A latent is kept
        if all of its pixels are. Hidden pixels are replaced by the nearest kept pixels before encoding, because the encoder sees all pixels.

        resampling: how often each step is done, with noise added back in between; more makes both parts agree better. A multistep sampler
        then has no past predictions to use. paste: copy the kept pixels themselves into the result.

        Raises ValueError for a mask of another size, without a 1 or with values between 0 and 1, and for resampling below 1.
        Source: Lugmayr et al., RePaint, 2022, equation 8 and algorithm 1.
        """
        if resampling < 1:
            raise ValueError(f"resampling must be at least 1, got {resampling}")
        denoise = self.denoiser(prompts, negative_prompts, guidance_scale)
        draw = samplers.by_name(sampler or self.SAMPLER, sampler_options)
        times = self.times(steps, sampler)
        generators = seeded(seed, len(prompts))
        repaint = _checked_mask(mask, images)
        hidden = repaint[:, 0].bool().expand(len(images), -1, -1)
        z_0 = self._encoded(cover(images.cpu(), hidden), len(prompts))
        free = F.max_pool2d(repaint, self.vae.config.factor).to(z_0)

        def constrain(z_s: Tensor, s: Real) -> Tensor:
            known = q_sample(self.schedule, z_0, s, randn_like(z_0, generators)) if s > 0 else z_0
            return free * z_s + (1 - free) * known

        z_t = constrain(self.schedule.prior_std(times[0]) * randn_like(z_0, generators), times[0])
        steps_from = partial(draw, denoise, generator=generators, constrain=constrain)
        if resampling == 1:
            z_0 = samplers.final(steps_from(z_t, times))
        else:
            z_0 = self._resampled(steps_from, z_t, times, generators, resampling)
        drawn = self.decode(z_0)
        return torch.where(repaint > 0, drawn, images.cpu()) if paste else drawn

    def outpaint(
        self,
        images: Float[Tensor, "b c h w"],
        prompts: Sequence[str],
        *,
        padding: int | tuple[int, int, int, int],
        **settings,
    ) -> Float[Tensor, "b c new_h new_w"]:
        """Extend the images by `padding` pixels on all sides, or by (left, top, right, bottom); other arguments are `inpaint`'s.

        Raises ValueError if the padding is negative or 0 on all sides, or if the new height or width is not a multiple of `stride`.
        """
        left, top, right, bottom = (padding,) * 4 if isinstance(padding, int) else padding
        if min(left, top, right, bottom) < 0 or left + top + right + bottom == 0:
            raise ValueError(f"padding must be positive on at least one side and negative on none, got {padding}")
        around = (left, right, top, bottom)
        wider = F.pad(images, around)
        mask = F.pad(torch.zeros(1, 1, *images.shape[2:]), around, value=1.0)
        return self.inpaint(wider, mask, prompts, **settings)

    def between_seeds(self, prompt: str, first: int, last: int, count: int, **settings) -> Float[Tensor, "count c h w"]:
        r"""`count` images of one prompt, from the image of seed `first` to the image of seed `last`.

        $x_T = \cos(\tfrac\pi2 u)\,x_T^{first} + \sin(\tfrac\pi2 u)\,x_T^{last}$ is standard normal for every u in [0, 1]; on a straight line the
        variance would fall to a half. Raises ValueError for a count below 2.
        """
        one, other = (self.noise(seeded(seed, 1)) for seed in (first, last))
        angle = (torch.linspace(0, 1, count) * pi / 2).to(one).reshape(-1, 1, 1, 1)
        return self._drawn_from(angle.cos() * one + angle.sin() * other, [prompt] * count, **settings)

    def between_prompts(
        self, first: str, last: str, count: int, *, seed: int = 0, **settings
    ) -> Float[Tensor, "count c h w"]:
        """`count` images from one noise, with contexts on a straight line between the contexts of two prompts.

        Raises ValueError for a count below 2.
        """
        with torch.no_grad():
            one, other = self.condition([first, last]).context.split(1)
        u = torch.linspace(0, 1, count).to(one).reshape(-1, 1, 1)
        between = Condition(context=(1 - u) * one + u * other)
        eps = self.noise(seeded(seed, 1)).expand(count, -1, -1, -1)
        return self._drawn_from(eps, [first] * count, condition=between, seed=seed, **settings)

    def invert(
        self,
        images: Float[Tensor, "b c h w"],
        prompts: Sequence[str],
        *,
        steps: int = 100,
        guidance_scale: Real = 1.0,
    ) -> Inversion:
        """The noise x_T from which DDIM, with the same prompts, steps and scale, returns to almost the same images.

        `generate(prompts, x_T=…)` draws from it; other prompts there edit the image. Inversion is unstable with guidance above 1.
        It starts at the means of the latents, so x_T has a smaller variance than noise.
        Source: Song et al., 2021, section 4.3; Mokady et al., Null-text Inversion, 2023, section 3.2.
        """
        denoise, times = self.denoiser(prompts, None, guidance_scale), self.times(steps, "ddim")
        z_0 = self._encoded(images, len(prompts))
        x_T = samplers.final(samplers.ddim_inversion(denoise, z_0, times))
        back = samplers.final(samplers.ddim(denoise, x_T, times))
        return Inversion(x_T, (back - z_0).square().mean(dim=(1, 2, 3)).sqrt().cpu())

    def _resampled(
        self, steps_from: Callable, z_t: Tensor, times: Sequence[Real], generators: list[torch.Generator], count: int
    ) -> Tensor:
        for t, s in pairwise(times):
            for again in reversed(range(count)):
                z_s = samplers.final(steps_from(z_t, [t, s]))
                if again:
                    mean, variance = q_transition(self.schedule, z_s, s, t)
                    z_t = mean + variance.sqrt() * randn_like(mean, generators)
            z_t = z_s
        return z_t

    def _drawn_from(self, eps: Tensor, prompts: Sequence[str], **settings) -> Tensor:
        """Images from given standard normal noise."""
        if len(prompts) < 2:
            raise ValueError(f"count must be at least 2, from the first image to the last, got {len(prompts)}")
        first = self.times(settings.get("steps"), settings.get("sampler"))[0]
        return self.decode(samplers.final(self.sample(prompts, x_T=self.schedule.prior_std(first) * eps, **settings)))

    def _encoded(self, images: Tensor, count: int) -> Tensor:
        """The means of the latents of `count` images. Raises ValueError for images of another shape or range."""
        channels = self.vae.config.in_channels
        if images.ndim != 4 or images.shape[:2] != (count, channels):
            raise ValueError(
                f"expected {count} images, one per prompt: ({count}, {channels}, h, w); got {tuple(images.shape)}"
            )
        if images.shape[2] % self.stride or images.shape[3] % self.stride:
            raise ValueError(
                f"height and width must be multiples of {self.stride}, got {images.shape[2]}×{images.shape[3]}: pad or resize"
            )
        if not ((images >= 0) & (images <= 1)).all():
            raise ValueError(
                f"images must lie in [0, 1], got values from {images.min().item():.3g} to {images.max().item():.3g}"
            )
        return self.encode(images)


def _checked_mask(mask: Tensor, images: Tensor) -> Tensor:
    """The mask as float (b or 1, 1, h, w), 1 where to repaint."""
    size = images.shape[2:]
    mask = mask.float().cpu()
    mask = mask[None, None] if mask.ndim == 2 else mask
    if mask.shape[1:] != (1, *size) or len(mask) not in (1, len(images)):
        expected = f"({size[0]}, {size[1]}) or ({len(images)}, 1, {size[0]}, {size[1]})"
        raise ValueError(f"the mask must be as large as the images, {expected}; got {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("a mask must hold only 1 (repaint) and 0 (keep), with no values between: try mask > 0.5")
    if not mask.flatten(1).any(dim=1).all():
        raise ValueError("nothing to repaint: the mask is 0 everywhere; set it to 1 where to repaint")
    return mask
