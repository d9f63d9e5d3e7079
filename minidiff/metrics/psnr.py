"""The peak signal-to-noise ratio of reconstructions."""

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(images: Float[Tensor, "n c h w"], references: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    r"""Peak signal-to-noise ratio of each picture, in decibels: $-10 \log_{10} \operatorname{mean}\,(x - y)^2$.

    Both batches are in [0, 1]. Equal pictures give infinity. Raises ValueError if the shapes differ or n = 0.
    """
    if images.shape != references.shape or len(images) == 0:
        raise ValueError(f"expected equal, non-empty shapes, got {tuple(images.shape)} and {tuple(references.shape)}")
    return -10 * torch.log10((images - references).square().flatten(1).mean(dim=1))
