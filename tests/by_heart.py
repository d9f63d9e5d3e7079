"""A CLIP that knows each image by heart, so that the verdict of a judge that uses it is known in advance."""

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import one_hot


class ByHeart:
    """Image i and caption i have the same one-hot features. An image is recognised as the nearest of the known images."""

    def __init__(self, images: torch.Tensor, captions: Sequence[str], tokenizer: Callable) -> None:
        self.images, self.rows = images.flatten(1), {tuple(t): i for i, t in enumerate(tokenizer(captions).tolist())}

    def image_features(self, x: torch.Tensor) -> torch.Tensor:
        nearest = torch.cdist(x.flatten(1), self.images).argmin(dim=1)
        return one_hot(nearest, len(self.images)).float()

    def text_features(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = torch.tensor([self.rows[tuple(row)] for row in tokens.tolist()])
        return one_hot(rows, len(self.images)).float()
