"""The contrastive objective, against sums written out in loops; and, slowly, a pair of encoders that learns to match."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from minidiff.text import CLIP, ImageEncoder, TextEncoder, TextEncoderConfig, Tokenizer, info_nce


def points(count, dim=5):
    return F.normalize(torch.randn(count, dim, dtype=torch.float64), dim=-1)


def by_hand(images, texts, scale, meaning):
    """The mean, over all rows and both directions, of the mean, over the row's positives, of -log of its softmax."""
    total = 0.0
    for own, others in ((images, texts), (texts, images)):
        for i, point in enumerate(own):
            fits = [math.exp(scale * float(point @ other)) for other in others]
            positives = [j for j, m in enumerate(meaning) if m == meaning[i]]
            total -= sum(math.log(fits[j] / sum(fits)) for j in positives) / len(positives)
    return torch.tensor(total / (2 * len(meaning)), dtype=torch.float64)


def test_where_all_meanings_differ_it_is_cross_entropy_against_the_diagonal():
    images, texts = points(6), points(6)
    logits, diagonal = 3.0 * images @ texts.T, torch.arange(6)
    expected = (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2
    torch.testing.assert_close(info_nce(images, texts, 3.0, 7 - 2 * diagonal), expected)


@pytest.mark.parametrize("meaning", [[0, 0, 1, 2, 2, 2], [4, 9, 4, 9, 4, 9], [1, 1, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5]])
def test_equal_meanings_share_the_target_evenly(meaning):
    images, texts = points(6), points(6)
    loss = info_nce(images, texts, 3.0, torch.tensor(meaning))
    torch.testing.assert_close(loss, by_hand(images, texts, 3.0, meaning))


def test_the_order_of_the_batch_changes_nothing():
    images, texts, meaning, order = points(8), points(8), torch.randint(4, (8,)), torch.randperm(8)
    expected = info_nce(images, texts, 5.0, meaning)
    torch.testing.assert_close(info_nce(images[order], texts[order], 5.0, meaning[order]), expected)
    torch.testing.assert_close(info_nce(images, texts, 5.0, 100 - 7 * meaning), expected)
    torch.testing.assert_close(info_nce(texts, images, 5.0, meaning), expected)


def test_perfect_features_reach_the_entropy_of_the_targets_and_no_others_go_below():
    meaning = torch.tensor([0, 0, 0, 1, 2, 2])
    least = torch.tensor([3, 3, 3, 1, 2, 2], dtype=torch.float64).log().mean()
    perfect = torch.eye(3, dtype=torch.float64)[meaning]
    torch.testing.assert_close(info_nce(perfect, perfect, 100.0, meaning), least)
    for scale in (1.0, 10.0, 100.0):
        assert info_nce(points(6), points(6), scale, meaning) > least
    assert info_nce(perfect, perfect.roll(3, 0), 100.0, meaning) > 50


def test_at_the_best_no_caption_is_pushed_away_from_a_picture_of_its_meaning():
    meaning = torch.tensor([0, 0, 1])
    images = torch.eye(2, dtype=torch.float64)[meaning]
    texts = images.clone().requires_grad_()
    info_nce(images, texts, 100.0, meaning).backward()
    assert texts.grad.abs().max() < 1e-12


def test_pairs_must_match():
    with pytest.raises((ValueError, TypeError)):
        info_nce(points(3), points(4), 1.0, torch.arange(3))
    with pytest.raises((ValueError, TypeError)):
        info_nce(points(3), points(3), 1.0, torch.arange(2))
    with pytest.raises(ValueError, match="at least 1"):
        info_nce(points(0), points(0), 1.0, torch.arange(0))


def small_clip(vocab_size=40, context_length=8):
    text = TextEncoder(TextEncoderConfig.tiny(vocab_size, context_length, dim=32, heads=2))
    return CLIP(ImageEncoder((16, 32, 32), norm_groups=4), text, dim=24)


def test_features_are_points_of_length_one():
    clip, tokens = small_clip(), torch.randint(39, (3, 8))
    tokens[:, -1] = 39
    for features in (clip.image_features(torch.rand(3, 3, 32, 32) * 2 - 1), clip.text_features(tokens)):
        assert features.shape == (3, 24)
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))


def test_a_gradient_reaches_both_encoders_and_the_scale():
    clip = small_clip()
    tokens = torch.arange(40).reshape(5, 8)
    tokens[:, -1] = 39
    loss = info_nce(
        clip.image_features(torch.randn(5, 3, 32, 32)), clip.text_features(tokens), clip.logit_scale, torch.arange(5)
    )
    loss.backward()
    for name, parameter in clip.named_parameters():
        if not name.endswith("key.bias"):  # which a softmax does not feel
            assert parameter.grad.abs().max() > 0, name


def test_features_fit_a_text_encoder_with_a_projection():
    text = TextEncoder(TextEncoderConfig.tiny(40, 8, dim=32, heads=2, projection_dim=12))
    clip = CLIP(ImageEncoder((16, 32), norm_groups=4), text, dim=24)
    assert clip.text_features(torch.full((3, 8), 39)).shape == (3, 24)


def test_the_image_encoder_halves_the_picture_at_each_stage():
    encoder, sizes = ImageEncoder((16, 32, 32), norm_groups=4), []
    for stage in encoder.stages:
        stage.register_forward_hook(lambda module, given, output: sizes.append(tuple(output.shape[1:])))
    assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, encoder.dim)
    assert sizes == [(16, 16, 16), (32, 8, 8), (32, 4, 4)]


def test_the_scale_begins_at_clip_s_and_rests_at_100_until_it_is_pulled_back():
    clip = small_clip()
    assert clip.logit_scale.item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        clip.log_scale.fill_(10.0)
    assert clip.logit_scale.item() == pytest.approx(100)
    clip.logit_scale.backward()
    with torch.no_grad():
        clip.log_scale -= 1e-3 * clip.log_scale.grad
    assert 80 < clip.logit_scale.item() < 95


COLOURS = {
    "red": (1.0, -1.0, -1.0), "green": (-1.0, 0.5, -1.0), "blue": (-1.0, -1.0, 1.0),
    "yellow": (1.0, 1.0, -1.0), "white": (1.0, 1.0, 1.0), "pink": (1.0, 0.3, 0.6),
}  # fmt: skip
WIDTHS = {"small": 8, "large": 16}
SQUARES = list(itertools.product(WIDTHS, COLOURS))
PHRASES = ("a {} {} square", "{} {} square on black", "this is a {} {} thing")


def drawn(kinds, generator):
    """Squares of these kinds, anywhere on black."""
    pictures = -torch.ones(len(kinds), 3, 32, 32)
    for picture, kind in zip(pictures, kinds, strict=True):
        size, colour = SQUARES[kind]
        top, left = torch.randint(0, 33 - WIDTHS[size], (2,), generator=generator).tolist()
        ink = torch.tensor(COLOURS[colour])[:, None, None]
        picture[:, top : top + WIDTHS[size], left : left + WIDTHS[size]] = ink
    return pictures


@pytest.mark.slow
def test_trained_for_seconds_it_finds_the_caption_of_pictures_it_never_saw(generator):
    captions = [phrase.format(*square) for phrase in PHRASES for square in SQUARES]
    tokenizer = Tokenizer.train(captions, vocab_size=600, context_length=10)
    tokens = tokenizer(captions).reshape(len(PHRASES), len(SQUARES), -1)
    clip = small_clip(tokenizer.vocab_size, context_length=10)
    optimizer = torch.optim.AdamW(clip.parameters(), lr=1e-3, betas=(0.9, 0.95))
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=20)
    for _ in range(120):
        kinds = torch.randint(len(SQUARES), (36,), generator=generator)
        phrases = torch.randint(len(PHRASES), (36,), generator=generator)
        image_features = clip.image_features(drawn(kinds, generator))
        text_features = clip.text_features(tokens[phrases, kinds])
        loss = info_nce(image_features, text_features, clip.logit_scale, kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        warm_up.step()
    kinds = torch.arange(len(SQUARES)).repeat(10)
    with torch.no_grad():
        image_features = clip.image_features(drawn(kinds, generator))
        for phrase in tokens:
            found = (image_features @ clip.text_features(phrase).T).argmax(dim=1)
            assert (found == kinds).double().mean() >= 0.95
