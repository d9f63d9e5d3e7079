"""The best caption of pictures whose features are known."""

import pytest
import torch

from minidiff.metrics.clip_score import best_caption, caption_rank


class Known:
    """Features are the picture's pixels and the caption's tokens, scaled to unit length."""

    def image_features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x.flatten(1), dim=1)

    def text_features(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(tokens.float(), dim=1)


TOKENS = torch.tensor([[10, 0], [0, 10], [7, 7]])
CONCEPTS = ["east", "north", "north-east"]
OWN = torch.arange(3)  # picture i has caption i


def pictures(*points: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(points)[:, None, None, :]  # (n, 1, 1, 2)


def test_the_nearest_direction_is_the_best_caption():
    images = pictures((5.0, 1.0), (-0.1, 0.2), (0.3, 0.3), (0.9, 0.0))
    assert best_caption(Known(), images, TOKENS).tolist() == [0, 1, 2, 0]


def test_the_share_counts_pictures_whose_own_caption_is_first():
    images = pictures((1.0, 0.1), (1.0, 0.0), (0.5, 0.5))
    assert caption_rank(Known(), images, TOKENS, CONCEPTS, truth=OWN) == pytest.approx(2 / 3)


def test_captions_of_one_concept_count_as_one():
    images = pictures((1.0, 0.1), (1.0, 0.0), (0.5, 0.5))
    assert caption_rank(Known(), images, TOKENS, ["a", "a", "b"], truth=OWN) == 1


def test_pictures_can_belong_to_any_caption():
    images = pictures((0.0, 1.0), (0.1, 1.0), (1.0, 0.9))
    assert caption_rank(Known(), images, TOKENS, CONCEPTS, truth=torch.tensor([1, 1, 2])) == 1
    assert caption_rank(Known(), images, TOKENS, CONCEPTS, truth=torch.tensor([1, 0, 0])) == pytest.approx(1 / 3)


def test_many_are_compared_as_one_by_one(generator):
    """1,000 pictures and captions are more than one batch: each picture is still compared with every caption."""
    images = torch.randn(1000, 1, 1, 8, generator=generator)
    tokens = torch.randint(-999, 1000, (1000, 8), generator=generator)
    expected = torch.cosine_similarity(images.flatten(1)[:, None], tokens[None].float(), dim=2).argmax(dim=1)
    assert torch.equal(best_caption(Known(), images, tokens), expected)


def test_numbers_that_do_not_fit_are_refused():
    images = pictures((1.0, 0.0), (0.0, 1.0))
    with pytest.raises(ValueError, match="one concept per caption, got 2"):
        caption_rank(Known(), images, TOKENS, ["a", "b"], truth=OWN[:2])
    with pytest.raises((ValueError, TypeError), match="truth"):
        caption_rank(Known(), images, TOKENS, CONCEPTS, truth=torch.tensor([0]))
    with pytest.raises(ValueError, match="caption in 0…2 for each of 2 pictures"):
        caption_rank(Known(), images, TOKENS, CONCEPTS, truth=torch.tensor([0, 3]))
