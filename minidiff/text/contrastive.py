r"""The contrastive objective: pictures and captions are put where those that belong together lie side by side.

One network reads pictures, another captions; both answer with a point on the same sphere. In a batch, each picture is
asked which of the captions is its own, and each caption which of the pictures. What this teaches the text encoder is
what words look like: it is where Stable Diffusion's encoder comes from; afterwards the pair tells how well a picture
fits a prompt.

Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.3.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minidiff.nets.blocks import Downsample, ResidualBlock
from minidiff.text.encoder import TextEncoder

LARGEST_SCALE = 100.0  # as in CLIP: beyond, a single wrong pair would drown the rest of the batch
FIRST_SCALE = 1 / 0.07


def info_nce(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    logit_scale: Float[Tensor, ""] | float | int,
    meaning: Int[Tensor, "b"],
) -> Float[Tensor, ""]:
    r"""How badly pictures find their captions and captions their pictures, in nats: the mean of both directions.

    $-\frac{1}{2B} \sum_{i,j} p_{ij} \Big(\log\operatorname{softmax}_j(s\, u_i \cdot w_j) + \log\operatorname{softmax}_j(s\, w_i \cdot u_j)\Big),\quad p_{ij} = \frac{[m_i = m_j]}{|\{k : m_k = m_i\}|}$   (`contrastive.info_nce`)

    u are pictures, w captions, both of unit length; pair i has the meaning m_i. Captions of one meaning are right for
    each other's pictures, so the target of row i is spread evenly over them: with all meanings different this is
    CLIP's cross-entropy against the diagonal. The least that can be reached is the mean of log |{k : m_k = m_i}|.

    `logit_scale` is s itself, not its logarithm. Raises ValueError where there is no pair, or the shapes differ.
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
    """Pictures (b, in_channels, h, w) in [-1, 1] -> one vector each, (b, dim), the last of `channels` wide.

    At each level a residual block, then half the height and width; at the end the mean over what pixels are left.
    Raises ValueError where norm_groups does not divide every entry of channels.
    """

    def __init__(
        self, channels: tuple[int, ...] = (32, 64, 128), *, in_channels: int = 3, norm_groups: int = 8
    ) -> None:
        super().__init__()
        self.dim = channels[-1]
        self.conv_in = nn.Conv2d(in_channels, channels[0], kernel_size=3, padding=1)
        self.levels = nn.ModuleList()
        for width, out_width in zip((channels[0], *channels[:-1]), channels, strict=True):
            block = ResidualBlock(width, out_width, norm_groups=norm_groups)
            self.levels.append(nn.Sequential(block, Downsample(out_width)))
        self.norm_out = nn.GroupNorm(norm_groups, self.dim)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b dim"]:
        x = self.conv_in(x)
        for level in self.levels:
            x = level(x)
        return F.silu(self.norm_out(x)).mean(dim=(2, 3))


class CLIP(nn.Module):
    """An image encoder and a text encoder that answer with points on one sphere, in `dim` dimensions."""

    def __init__(self, image_encoder: ImageEncoder, text_encoder: TextEncoder, dim: int) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.image_projection = nn.Linear(image_encoder.dim, dim, bias=False)
        text_dim = text_encoder.config.projection_dim or text_encoder.config.dim
        self.text_projection = nn.Linear(text_dim, dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))

    def image_features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """One point of length 1 for each picture in [-1, 1]."""
        return F.normalize(self.image_projection(self.image_encoder(x)), dim=-1)

    def text_features(self, tokens: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """One point of length 1 for each prompt. Raises ValueError as `TextEncoder.pooled` does."""
        return F.normalize(self.text_projection(self.text_encoder.pooled(tokens)), dim=-1)

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """What cosines are multiplied with before the softmax: learned as a logarithm, at most 100.

        The parameter itself is put back to log 100: had only its value been clamped, no gradient would ever reach it again.
        """
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(LARGEST_SCALE))
        return self.log_scale.exp()
