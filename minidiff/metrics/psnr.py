"""How near a reconstruction is to its picture."""

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(images: Float[Tensor, "n c h w"], references: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    r"""Each picture's peak signal-to-noise ratio in decibels, both in [0, 1]: $-10 \log_{10} \operatorname{mean}\,(x - y)^2$.

    Infinite where they are equal. Raises ValueError where the shapes differ or there are no pictures.
    """
    if images.shape != references.shape or len(images) == 0:
        raise ValueError(f"expected two batches of one shape, got {tuple(images.shape)} and {tuple(references.shape)}")
    return -10 * torch.log10((images - references).square().flatten(1).mean(dim=1))
