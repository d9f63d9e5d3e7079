r"""CLIP and its contrastive loss: matching images and captions get similar features.

An image encoder and a text encoder map to unit vectors of the same dimension. Within a batch, each image must identify its caption, and
each caption its image. The text encoder so learns what words look like; Stable Diffusion's text encoder was trained this way. The trained
pair also measures how well an image fits a prompt.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.3.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minidiff.nets.blocks import Downsample, ResidualBlock
from minidiff.text.encoder import TextEncoder

LARGEST_SCALE = 100.0  # as in CLIP; with a larger scale a single wrong pair dominates the loss of the batch
FIRST_SCALE = 1 / 0.07


def info_nce(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    logit_scale: Float[Tensor, ""] | float | int,
    meaning: Int[Tensor, "b"],
) -> Float[Tensor, ""]:
    r"""The contrastive loss in nats: the mean of the cross-entropies from images to captions and from captions to images.

    $-\frac{1}{2B} \sum_{i,j} p_{ij} \Big(\log\operatorname{softmax}_j(s\, u_i \cdot w_j) + \log\operatorname{softmax}_j(s\, w_i \cdot u_j)\Big),\quad p_{ij} = \frac{[m_i = m_j]}{|\{k : m_k = m_i\}|}$   (`contrastive.info_nce`)

    u are the features of images, w of captions, both of unit length. Pairs with the same meaning m_i have interchangeable captions, so the
    target of row i is uniform over them. If all meanings differ, this is CLIP's loss. The minimum is the mean of log |{k : m_k = m_i}|.

    `logit_scale` is s itself, not its logarithm. Raises ValueError if there is no pair, or if the shapes differ.
    Source: van den Oord et al. 2018, equation 4; Radford et al. 2021, figure 3; several positives: Khosla et al.,
    Supervised Contrastive Learning, 2020, equation 2.
    """
    if image_features.shape != text_features.shape or len(meaning) != len(image_features) or not len(meaning):
        shapes = ", ".join(str(tuple(x.shape)) for x in (image_features, text_features, meaning))
        raise ValueError(f"expected features (b, d), (b, d) and meanings (b,) with b at least 1, got {shapes}")
    logits = logit_scale * image_features @ text_features.T  # (b pictures, b captions)
    same = (meaning[:, None] == meaning[None, :]).to(logits)
    target = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class ImageEncoder(nn.Module):
    """Images (b, in_channels, h, w) in [-1, 1] -> one vector each, (b, dim), where dim is the last entry of `channels`.

    For each entry of `channels` a residual block, then a halving of height and width; at the end the mean over all pixels.
    Raises ValueError if norm_groups does not divide every entry of channels.
    """

    def __init__(
        self, channels: tuple[int, ...] = (32, 64, 128), *, in_channels: int = 3, norm_groups: int = 8
    ) -> None:
        super().__init__()
        self.dim = channels[-1]
        self.conv_in = nn.Conv2d(in_channels, channels[0], kernel_size=3, padding=1)
        self.stages = nn.ModuleList()
        for width, out_width in zip((channels[0], *channels[:-1]), channels, strict=True):
            block = ResidualBlock(width, out_width, norm_groups=norm_groups)
            self.stages.append(nn.Sequential(block, Downsample(out_width)))
        self.norm_out = nn.GroupNorm(norm_groups, self.dim)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b dim"]:
        x = self.conv_in(x)
        for stage in self.stages:
            x = stage(x)
        return F.silu(self.norm_out(x)).mean(dim=(2, 3))


class CLIP(nn.Module):
    """An image encoder and a text encoder whose features are unit vectors of `dim` numbers."""

    def __init__(self, image_encoder: ImageEncoder, text_encoder: TextEncoder, dim: int) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.image_projection = nn.Linear(image_encoder.dim, dim, bias=False)
        text_dim = text_encoder.config.projection_dim or text_encoder.config.dim
        self.text_projection = nn.Linear(text_dim, dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))

    def image_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """A unit vector for each image in [-1, 1]."""
        return F.normalize(self.image_projection(self.image_encoder(x)), dim=-1)

    def text_features(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """A unit vector for each prompt. Raises ValueError as `TextEncoder.pooled` does."""
        return F.normalize(self.text_projection(self.text_encoder.pooled(tokens)), dim=-1)

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """The factor of the cosines before the softmax: learned as a logarithm, at most 100.

        The parameter itself is clamped to log 100. If only the value were clamped, the parameter would get no gradient any more.
        """
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
        return self.log_scale.exp()
