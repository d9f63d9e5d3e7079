import pytest
import torch

from minidiff.recipes.captioned_images import CaptionedImages, numbered
from minidiff.text import Tokenizer

IMAGES, CONCEPTS = torch.zeros(3, 3, 8, 8).half(), torch.arange(3)
CAPTIONS = [("a dot", "dot"), ("a line", "line", "one line"), ("a dot", "dot")]


def test_lengths_that_differ_are_errors():
    with pytest.raises(ValueError, match="got 3 images, 2 captions and 3 concepts"):
        CaptionedImages(IMAGES, CAPTIONS[:2], CONCEPTS)
    for images, concepts in (IMAGES[:2], CONCEPTS), (IMAGES, CONCEPTS[:2]):
        with pytest.raises((ValueError, TypeError)):
            CaptionedImages(images, CAPTIONS, concepts)


@pytest.mark.parametrize("complete", [0, 3])
def test_no_image_has_fewer_captions_than_are_complete(complete):
    with pytest.raises(ValueError, match=rf"complete must be in 1…2, .* got {complete}"):
        CaptionedImages(IMAGES, CAPTIONS, CONCEPTS, complete=complete)


def test_shorter_lists_of_captions_are_repeated():
    tokenizer = Tokenizer.train([caption for captions in CAPTIONS for caption in captions], 560, 8)
    tokens = CaptionedImages(IMAGES, CAPTIONS, CONCEPTS).tokens(tokenizer)
    assert tokens.shape == (3, 3, 8)
    expected = [["a dot", "dot", "a dot"], ["a line", "line", "one line"], ["a dot", "dot", "a dot"]]
    for row, captions in zip(tokens, expected, strict=True):
        assert torch.equal(row, tokenizer(captions))


def test_equal_concepts_have_the_same_number():
    assert numbered(["dot", "line", "dot", "circle"]).tolist() == [0, 1, 0, 2]
