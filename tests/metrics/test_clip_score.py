"""Which caption comes first, by features that are known."""

import pytest
import torch

from minidiff.metrics import clip_score
from minidiff.metrics.clip_score import best_caption, caption_rank


class Known:
    """Features are the picture's pixels and the caption's tokens themselves, put on the unit circle."""

    def image_features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x.flatten(1), dim=1)

    def text_features(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(tokens.float(), dim=1)


TOKENS = torch.tensor([[10, 0], [0, 10], [7, 7]])
CONCEPTS = ["east", "north", "north-east"]


def pictures(*points: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(points)[:, None, None, :]  # (n, 1, 1, 2)


def test_the_nearest_direction_is_the_best_caption():
    images = pictures((5.0, 1.0), (-0.1, 0.2), (0.3, 0.3), (0.9, 0.0))
    assert best_caption(Known(), images, TOKENS).tolist() == [0, 1, 2, 0]


def test_the_share_counts_pictures_whose_own_caption_is_first():
    images = pictures((1.0, 0.1), (1.0, 0.0), (0.5, 0.5))
    assert caption_rank(Known(), images, TOKENS, CONCEPTS) == pytest.approx(2 / 3)


def test_captions_of_one_concept_count_as_one():
    images = pictures((1.0, 0.1), (1.0, 0.0), (0.5, 0.5))
    assert caption_rank(Known(), images, TOKENS, ["a", "a", "b"]) == 1


def test_pictures_can_belong_to_any_caption():
    images = pictures((0.0, 1.0), (0.1, 1.0), (1.0, 0.9))
    assert caption_rank(Known(), images, TOKENS, CONCEPTS, truth=torch.tensor([1, 1, 2])) == 1
    assert caption_rank(Known(), images, TOKENS, CONCEPTS, truth=torch.tensor([1, 0, 0])) == pytest.approx(1 / 3)


def test_many_are_compared_as_one_by_one(monkeypatch, generator):
    images, tokens = torch.randn(50, 1, 1, 2, generator=generator), torch.randint(1, 90, (30, 2), generator=generator)
    expected = best_caption(Known(), images, tokens)
    monkeypatch.setattr(clip_score, "BATCH", 7)
    assert torch.equal(best_caption(Known(), images, tokens), expected)


def test_numbers_that_do_not_fit_are_refused():
    images = pictures((1.0, 0.0), (0.0, 1.0))
    with pytest.raises(ValueError, match="one concept a caption: got 2"):
        caption_rank(Known(), images, TOKENS, ["a", "b"])
    with pytest.raises((ValueError, TypeError), match="truth"):
        caption_rank(Known(), images, TOKENS, CONCEPTS, truth=torch.tensor([0]))
    with pytest.raises(ValueError, match="2 pictures needs a caption among 0…2"):
        caption_rank(Known(), images, TOKENS, CONCEPTS, truth=torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="expected pictures and captions, got 0 and 3"):
        caption_rank(Known(), images[:0], TOKENS, CONCEPTS)
