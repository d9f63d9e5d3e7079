"""What can be done with a picture that is already there: repaint all of it a little, or a part of it wholly; go on beyond its edges;
walk from one picture to another; find the noise that it might have come from.

Nothing here is trained for it. A sampler may begin at any level, and what it holds may be changed between two of its steps.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import pi
from numbers import Real
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from minidiff import samplers
from minidiff.diffusion.forward import q_sample, q_transition
from minidiff.nets import Condition
from minidiff.noise import randn_like, seeded
from minidiff.pipelines.plan import Plan


class Inversion(NamedTuple):
    """Noise that leads back to a picture, and how far from it the way back ends: root mean square over its latents, of variance 1."""

    x_T: Float[Tensor, "b c h w"]
    error: Float[Tensor, "b"]


class Editing:
    """The half of `TextToImage` that edits, with the parts of the other half.

    `settings` are those of its `generate`: negative_prompts, steps, guidance_scale, sampler, sampler_options, seed.
    Pictures are (b, 3, h, w) in [0, 1], one for each prompt, height and width multiples of `stride`; results are like them, on the CPU.
    Every method raises as `generate` does, and ValueError for pictures of another shape or outside of that range.
    """

    def image_to_image(
        self, images: Float[Tensor, "b c h w"], prompts: Sequence[str], *, strength: Real = 0.6, **settings
    ) -> Float[Tensor, "b c h w"]:
        """The pictures, noised part of the way and drawn from there as the prompts say.

        strength: which part of the steps is taken, in (0, 1]; at least one is. 1 begins at the noisiest level and keeps next to nothing.
        The noise is that of the first level visited. Raises ValueError for a strength outside of (0, 1].
        Source: Meng et al., SDEdit, 2022, algorithm 1.
        """
        if not 0 < strength <= 1:
            raise ValueError(f"strength must lie in (0, 1], from nearly nothing to all of the steps; got {strength}")
        plan = self.plan(prompts, **settings)
        z_0 = self._encoded(images, plan)
        taken = max(1, round(strength * (len(plan.times) - 1)))
        plan = plan._replace(times=plan.times[-taken - 1 :])
        z_t = q_sample(self.schedule, z_0, plan.times[0], randn_like(z_0, plan.generators))
        return self.decode(samplers.final(plan.walk(z_t)))

    def inpaint(
        self,
        images: Float[Tensor, "b c h w"],
        mask: Shaped[Tensor, "..."],
        prompts: Sequence[str],
        *,
        resampling: int = 1,
        paste: bool = True,
        **settings,
    ) -> Float[Tensor, "b c h w"]:
        """The pictures, drawn anew where the mask, (h, w) or (b or 1, 1, h, w), is 1 (or True), and kept where it is 0.

        After each step the kept latents are replaced by the picture's own, noised to the level *just reached*; after the last one they are
        clean. A latent is kept where all of its pixels are; what the mask hides is covered before encoding, by the nearest
        kept pixels, for the encoder looks at everything at once. resampling: go each step so many times, back up in between, which brings
        both parts into agreement; a multistep sampler then has no past to use. paste: put the kept pixels themselves
        into the result, in place of what the autoencoder makes of them.

        Raises ValueError for a mask of another size, with nothing to repaint or with values between 0 and 1, and a resampling below 1.
        Source: Lugmayr et al., RePaint, 2022, equation 8 and algorithm 1.
        """
        if resampling < 1:
            raise ValueError(f"resampling must be at least 1, which is once, got {resampling}")
        plan = self.plan(prompts, **settings)
        repaint = _checked_mask(mask, images)
        z_0 = self._encoded(_covered(images.cpu(), repaint), plan)
        free = F.max_pool2d(repaint, self.vae.config.factor).to(z_0)

        def constrain(z_s: Tensor, s: Real) -> Tensor:
            known = q_sample(self.schedule, z_0, s, randn_like(z_0, plan.generators)) if s > 0 else z_0
            return free * z_s + (1 - free) * known

        z_t = constrain(plan.noise(z_0), plan.times[0])
        if resampling == 1:
            drawn = self.decode(samplers.final(plan.walk(z_t, constrain)))
        else:
            drawn = self.decode(self._resampled(plan, z_t, constrain, resampling))
        return torch.where(repaint > 0, drawn, images.cpu()) if paste else drawn

    def outpaint(
        self,
        images: Float[Tensor, "b c h w"],
        prompts: Sequence[str],
        *,
        padding: int | tuple[int, int, int, int],
        **settings,
    ) -> Float[Tensor, "b c new_h new_w"]:
        """The pictures, with as much drawn around them: `padding` pixels on all sides, or (left, top, right, bottom).

        Takes what `inpaint` takes. Raises ValueError for a negative padding, or none, and where the larger height or width is no
        multiple of `stride`.
        """
        left, top, right, bottom = (padding,) * 4 if isinstance(padding, int) else padding
        if min(left, top, right, bottom) < 0 or left + top + right + bottom == 0:
            raise ValueError(f"padding must add pixels on at least one side and take none away, got {padding}")
        around = (left, right, top, bottom)
        wider = F.pad(images, around)
        mask = F.pad(torch.zeros(1, 1, *images.shape[2:]), around, value=1.0)
        return self.inpaint(wider, mask, prompts, **settings)

    def between_seeds(self, prompt: str, first: int, last: int, count: int, **settings) -> Float[Tensor, "count c h w"]:
        r"""`count` pictures of one prompt, from that of seed `first` to that of seed `last`.

        $x_T = \cos(\tfrac\pi2 u)\,x_T^{first} + \sin(\tfrac\pi2 u)\,x_T^{last}$: standard normal for every u in [0, 1], where a straight line
        would pass through noise of half the variance. Raises ValueError for a count below 2.
        """
        plan = self.plan([prompt] * _at_least_two(count), **settings)
        one, other = (self.noise(seeded(seed, 1)) for seed in (first, last))
        angle = (torch.linspace(0, 1, count) * pi / 2).to(one).reshape(-1, 1, 1, 1)
        return self.decode(samplers.final(plan.walk(plan.scaled(angle.cos() * one + angle.sin() * other))))

    def between_prompts(
        self, first: str, last: str, count: int, *, seed: int = 0, **settings
    ) -> Float[Tensor, "count c h w"]:
        """`count` pictures from one noise, with contexts on a straight line from one prompt's to the other's.

        Raises ValueError for a count below 2.
        """
        with torch.no_grad():
            one, other = self.conditioner([first, last]).context.split(1)
        u = torch.linspace(0, 1, _at_least_two(count)).to(one).reshape(-1, 1, 1)
        between = Condition(context=(1 - u) * one + u * other)
        plan = self.plan([first] * count, condition=between, seed=seed, **settings)
        x_T = self.noise(seeded(seed, 1)).expand(count, -1, -1, -1)
        return self.decode(samplers.final(plan.walk(plan.scaled(x_T))))

    def invert(
        self,
        images: Float[Tensor, "b c h w"],
        prompts: Sequence[str],
        *,
        steps: int = 100,
        guidance_scale: Real = 1.0,
    ) -> Inversion:
        """The noise from which DDIM, with the same prompts, steps and scale, comes back to the pictures: nearly, and `error` says how nearly.

        `generate(prompts, x_T=…)` goes the way back; other prompts there edit the picture. Guidance above 1 makes the way up unstable.
        It begins at the means of the pictures' latents, which lack the noise of a draw: the x_T found has less variance than noise has.
        Source: Song et al., 2021, section 4.3; Mokady et al., Null-text Inversion, 2023, section 3.2.
        """
        plan = self.plan(prompts, steps=steps, guidance_scale=guidance_scale)
        z_0 = self._encoded(images, plan)
        x_T = samplers.final(samplers.ddim_inversion(plan.denoise, z_0, plan.times))
        back = samplers.final(plan.walk(x_T))
        return Inversion(x_T, (back - z_0).square().mean(dim=(1, 2, 3)).sqrt().cpu())

    def _resampled(
        self, plan: Plan, z_t: Tensor, constrain: Callable[[Tensor, Real], Tensor], resampling: int
    ) -> Tensor:
        for t, s in pairwise(plan.times):
            for again in reversed(range(resampling)):
                z_s = samplers.final(plan._replace(times=[t, s]).walk(z_t, constrain))
                if again:
                    mean, variance = q_transition(self.schedule, z_s, s, t)
                    z_t = mean + variance.sqrt() * randn_like(mean, plan.generators)
            z_t = z_s
        return z_t

    def _encoded(self, images: Tensor, plan: Plan) -> Tensor:
        """The means of the pictures' latents. Raises ValueError for pictures that cannot be."""
        channels, count = self.vae.config.in_channels, len(plan.generators)
        if images.ndim != 4 or images.shape[:2] != (count, channels):
            raise ValueError(
                f"expected {count} pictures, one a prompt: ({count}, {channels}, h, w); got {tuple(images.shape)}"
            )
        if images.shape[2] % self.stride or images.shape[3] % self.stride:
            raise ValueError(
                f"height and width must be multiples of {self.stride}, got {images.shape[2]}×{images.shape[3]}: pad or resize"
            )
        if not ((images >= 0) & (images <= 1)).all():
            raise ValueError(
                f"pictures must lie in [0, 1], these reach from {images.min().item():.3g} to {images.max().item():.3g}"
            )
        return self.encode(images)


def _checked_mask(mask: Tensor, images: Tensor) -> Tensor:
    """As float (b or 1, 1, h, w), 1 where to repaint."""
    size = images.shape[2:]
    mask = mask.float().cpu()
    mask = mask[None, None] if mask.ndim == 2 else mask
    if mask.shape[1:] != (1, *size) or len(mask) not in (1, len(images)):
        expected = f"({size[0]}, {size[1]}) or ({len(images)}, 1, {size[0]}, {size[1]})"
        raise ValueError(f"the mask must be as large as the pictures, {expected}; got {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(
            "a mask holds 1, where to repaint, and 0, what to keep, and nothing between: mask > 0.5, perhaps"
        )
    if not mask.flatten(1).any(dim=1).all():
        raise ValueError("there is nothing to repaint: the mask is 0 everywhere, and 1 is what will be drawn anew")
    return mask


def _covered(images: Tensor, repaint: Tensor) -> Tensor:
    """The pictures with the nearest kept pixel in place of each that is not kept; grey where none is kept."""
    covered = []
    for image, hidden in zip(images, repaint.expand(len(images), -1, -1, -1)[:, 0], strict=True):
        if hidden.all():
            covered.append(torch.full_like(image, 0.5))
            continue
        rows, columns = distance_transform_edt(hidden.numpy(), return_distances=False, return_indices=True)
        covered.append(image[:, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()])
    return torch.stack(covered)


def _at_least_two(count: int) -> int:
    if count < 2:
        raise ValueError(f"from one to another there are at least 2 pictures, got count {count}")
    return count
