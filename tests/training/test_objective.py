from functools import partial

import pytest
import torch
from scipy.stats import norm
from torch.testing import assert_close

from minidiff.diffusion import oracles, prediction, schedules
from minidiff.training import diffusion_loss, logit_normal

SCHEDULE = schedules.cosine(20)


def seen_levels(generator, draws=4000, **options):
    seen = []

    def model(x_t, t):
        seen.append(t)
        return x_t

    diffusion_loss(model, SCHEDULE, torch.zeros(draws, 1), generator, **options)
    return torch.cat(seen)


def test_levels_are_uniform_from_1_to_T(generator):
    counts = torch.bincount(seen_levels(generator), minlength=21)
    assert len(counts) == 21
    assert counts[0] == 0
    expected = 4000 / 20
    assert ((counts[1:] - expected) ** 2 / expected).sum() < 19 + 5 * (2 * 19) ** 0.5  # χ² with 19 degrees of freedom


def test_levels_are_drawn_as_was_asked(generator):
    counts = torch.bincount(seen_levels(generator, levels=partial(logit_normal, mean=1.0)), minlength=21)
    share = norm.cdf(1)  # of levels above T / 2: what a standard normal has above -1
    assert abs(counts[11:].sum() / 4000 - share) < 5 * (share * (1 - share) / 4000) ** 0.5


@pytest.mark.parametrize("prediction_type", ["eps", "x_0", "v"])
def test_a_model_that_knows_the_picture_has_no_loss(prediction_type, generator):
    point = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    exact = oracles.dataset(SCHEDULE, point)

    def model(x_t, t):
        x_0, eps = exact(x_t, t)
        return prediction.target(prediction_type, SCHEDULE, x_0, eps, t)

    loss = diffusion_loss(model, SCHEDULE, point.expand(64, 2), generator, prediction_type=prediction_type)
    assert_close(loss.item(), 0.0, atol=1e-15, rtol=0)


def test_a_model_that_says_nothing_pays_for_the_noise(generator):
    loss = diffusion_loss(
        lambda x_t, t: torch.zeros_like(x_t), SCHEDULE, torch.zeros(50_000, 1, dtype=torch.float64), generator
    )
    assert abs(loss.item() - 1) < 5 * (2 / 50_000) ** 0.5


def test_min_snr_weights_are_used(generator):
    x_0 = torch.zeros(64, 1)
    plain, weighted = (
        diffusion_loss(
            lambda x_t, t: torch.zeros_like(x_t), SCHEDULE, x_0, torch.Generator().manual_seed(1), gamma=gamma
        )
        for gamma in (None, 0.5)
    )
    assert weighted < plain


def test_unknown_choices_are_errors(generator):
    with pytest.raises(ValueError, match="unknown prediction type"):
        diffusion_loss(lambda x_t, t: x_t, SCHEDULE, torch.zeros(2, 1), generator, prediction_type="noise")
    with pytest.raises(ValueError, match="unknown kind"):
        diffusion_loss(lambda x_t, t: x_t, SCHEDULE, torch.zeros(2, 1), generator, kind="l3")
