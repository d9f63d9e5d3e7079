import math

import pytest
import torch
from scipy.special import logit
from scipy.stats import chisquare, norm

from minidiff.diffusion import schedules
from minidiff.training import logit_normal

SCHEDULE = schedules.cosine(20)


def expected(mean, std):
    """The probability of each t: the mass of the Gaussian between the logits of (t - 1) / T and t / T."""
    edges = norm.cdf((logit(torch.arange(21) / 20) - mean) / std)
    return edges[1:] - edges[:-1]


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (0.5, 1), (-1, 0.7), (0, 2.5)])
def test_a_timestep_is_as_likely_as_the_gaussian_says(mean, std, generator):
    counts = torch.bincount(logit_normal(SCHEDULE, 20_000, generator, mean=mean, std=std), minlength=21)
    share = expected(mean, std)
    common = share > 5 / 20_000  # χ² needs at least five of each; the rare timesteps are counted together
    seen = [*counts[1:][common].tolist(), counts[1:][~common].sum().item() + 1e-9]
    wanted = [*(20_000 * share[common]), 20_000 * share[~common].sum() + 1e-9]
    assert counts[0] == 0
    assert chisquare(seen, wanted, sum_check=False).pvalue > 1e-6


@pytest.mark.parametrize("mean", [-60, 60])
def test_timesteps_stay_within_the_schedule(mean, generator):
    assert set(logit_normal(SCHEDULE, 100, generator, mean=mean).tolist()) == {1 if mean < 0 else 20}


@pytest.mark.parametrize(
    "wrong", [{"std": 0}, {"std": math.inf}, {"std": math.nan}, {"mean": math.nan}, {"mean": math.inf}]
)
def test_invalid_numbers_are_errors(wrong, generator):
    with pytest.raises(
        ValueError, match=f"mean must be finite, and std positive and finite, got .*{next(iter(wrong.values()))}"
    ):
        logit_normal(SCHEDULE, 4, generator, **wrong)
