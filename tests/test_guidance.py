"""Guidance against truth. For a mixture of Gaussians whose components carry labels, the denoiser without a label, the denoiser with one and
the classifier of noisy points are all known exactly."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from minidiff import guidance, samplers
from minidiff.diffusion import forward, gaussians, oracles, prediction, schedules

SCHEDULE = schedules.linear(50, 0.01, 0.2)
f64 = torch.float64
WEIGHTS = torch.tensor([0.2, 0.3, 0.1, 0.4], dtype=f64)
MEANS = torch.tensor([[-1.0, 0.5], [0.3, 1.2], [0.8, -0.9], [1.5, 0.2]], dtype=f64)
VARIANCES = torch.tensor([0.1, 0.3, 0.05, 0.2], dtype=f64)
LABELS = torch.tensor([0, 0, 1, 2])  # of the four components
NULL = 3


def law(components):
    weights = WEIGHTS[components]
    return oracles.mixture(SCHEDULE, weights / weights.sum(), MEANS[components], VARIANCES[components])


LAWS = [law(LABELS.eq(0)), law(LABELS.eq(1)), law(LABELS.eq(2)), law(slice(None))]

number = st.floats(-3, 3)
level = st.integers(1, 50)
scales = st.floats(-1, 8)


def context(*labels):
    """(B, 1, 1): the label itself; 3 is no label."""
    return torch.tensor(labels, dtype=f64)[:, None, None]


def exact(x_t, t, context):
    """The exact denoiser of each item's label."""
    chosen = context[:, 0, 0].long(), torch.arange(len(x_t))
    answers = [law(x_t, t) for law in LAWS]
    return prediction.Prediction(*(torch.stack(ends)[chosen] for ends in zip(*answers, strict=True)))


def log_probability_of(labels):
    """log p(y|x_t), by Bayes' rule on the mixture's own densities."""

    def log_probability(x_t, t):
        alpha_bar_t = SCHEDULE.at(t, like=x_t).alpha_bar_t[..., None]
        offset = x_t[:, None] - alpha_bar_t.sqrt() * MEANS
        variance = alpha_bar_t * VARIANCES[:, None] + 1 - alpha_bar_t
        joint = WEIGHTS.log() + gaussians.log_density(offset, 0.0, variance).sum(-1)
        among = joint.masked_fill(labels[:, None] != LABELS, -math.inf)
        return among.logsumexp(1) - joint.logsumexp(1)

    return log_probability


def points(count, generator):
    return 2 * torch.randn(count, 2, generator=generator, dtype=f64)


class Counted:
    """A denoiser that remembers what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, x_t, t, context):
        self.calls.append((x_t, t, context))
        return exact(x_t, t, context)


@given(x=st.lists(number, min_size=3, max_size=3), t=level, s=st.floats(-1, 4))
def test_auto_guidance_between_gaussians_narrows_what_the_worse_one_has_too_wide(x, t, s):
    """Scores of N(0, v) and of N(0, w) are -x/v_t and -x/w_t: guided, the precision is s/v_t + (1 - s)/w_t."""
    v, w = 0.5, 2.0
    better, worse = (
        oracles.gaussian(SCHEDULE, torch.zeros(1, dtype=f64), torch.tensor([u], dtype=f64)) for u in (v, w)
    )
    x_t, abar = torch.tensor(x, dtype=f64)[:, None], SCHEDULE.alphas_cumprod[t]
    precision = s / (abar * v + 1 - abar) + (1 - s) / (abar * w + 1 - abar)
    x_0, eps = guidance.auto(better, worse, s)(x_t, t)
    assert_close(eps, (1 - abar).sqrt() * precision * x_t, rtol=0, atol=1e-12)
    assert_close(abar.sqrt() * x_0 + (1 - abar).sqrt() * eps, x_t, rtol=0, atol=1e-12)


@given(x=st.tuples(number, number), t=level, y=st.integers(0, 2))
def test_the_exact_classifier_at_scale_1_makes_the_conditional_denoiser(x, t, y):
    x_t = torch.tensor([x], dtype=f64)
    guided = guidance.classifier(LAWS[NULL], SCHEDULE, log_probability_of(torch.tensor([y])), 1)
    assert_close(guided(x_t, t), LAWS[y](x_t, t), rtol=0, atol=1e-10)


@given(x=st.tuples(number, number), t=level, y=st.integers(0, 2), s=scales)
def test_classifier_free_at_s_is_classifier_guidance_of_the_conditional_one_at_s_minus_1(x, t, y, s):
    x_t = torch.tensor([x], dtype=f64)
    free = guidance.classifier_free(exact, context(y), context(NULL), s)
    by_classifier = guidance.classifier(LAWS[y], SCHEDULE, log_probability_of(torch.tensor([y])), s - 1)
    assert_close(free(x_t, t), by_classifier(x_t, t), rtol=1e-9, atol=1e-9)


@given(s=scales, null=number, cond=number)
def test_the_answer_is_s_steps_from_without_the_prompt_to_with_it(s, null, cond):
    def denoise(x_t, t, context):
        return prediction.Prediction(context[:, 0], -2 * context[:, 0])

    made = guidance.classifier_free(denoise, torch.tensor([[[cond]]]).double(), torch.tensor([[[null]]]).double(), s)
    expected = torch.tensor([[null + s * (cond - null)]], dtype=f64)
    assert_close(made(torch.zeros(1, 1, dtype=f64), 7), prediction.Prediction(expected, -2 * expected))


def test_ho_and_salimans_w_is_one_less(generator):
    x_t, w = points(3, generator), 0.7
    cond, null = LAWS[1](x_t, 20).eps, LAWS[NULL](x_t, 20).eps
    made = guidance.classifier_free(exact, context(1, 1, 1), context(NULL, NULL, NULL), 1 + w)(x_t, 20)
    assert_close(made.eps, (1 + w) * cond - w * null)


@pytest.mark.parametrize("s", [0.0, 0.5, 3, 7.5])
def test_x_t_stays_on_the_line_between_both_ends(s, generator):
    x_t, t = points(4, generator), torch.tensor([1, 9, 30, 50])
    labels = torch.tensor([0, 1, 2, 0])
    for denoise in (
        guidance.classifier_free(exact, context(0, 1, 2, 0), context(*[NULL] * 4), s),
        guidance.classifier(LAWS[NULL], SCHEDULE, log_probability_of(labels), s),
    ):
        x_0, eps = denoise(x_t, t)
        assert_close(forward.q_sample(SCHEDULE, x_0, t, eps), x_t)
        assert_close(prediction.from_eps(SCHEDULE, x_t, eps, t).x_0, x_0)


def test_it_is_one_call_with_both_halves_and_none_of_the_null_half_at_scale_1(generator):
    x_t, t, contexts, nulls = points(3, generator), torch.tensor([5, 6, 7]), context(0, 1, 2), context(3, 3, 3)
    for s in (0, 0.5, 2, torch.tensor([1.0, 1.0, 1.5])):
        denoise = Counted()
        guidance.classifier_free(denoise, contexts, nulls, s)(x_t, t)
        ((called_x, called_t, called_context),) = denoise.calls
        assert_close(called_x, torch.cat([x_t, x_t]))
        assert called_t.tolist() == [5, 6, 7, 5, 6, 7]
        assert sorted(called_context.flatten().tolist()) == [0, 1, 2, 3, 3, 3]
    for s in (1, 1.0, torch.ones(3)):
        denoise = Counted()
        made = guidance.classifier_free(denoise, contexts, nulls, s)(x_t, t)
        ((called_x, _, called_context),) = denoise.calls
        assert_close((called_x, called_context), (x_t, contexts))
        assert_close(made, exact(x_t, t, contexts))


def test_each_item_is_guided_by_itself(generator):
    x_t, labels, s = points(6, generator), (0, 1, 2, 0, 1, 2), torch.tensor([0.0, 1.0, 2.0, 3.0, 7.5, -1.0])
    nulls = (3, 3, 3, 1, 0, 3)  # two of them with a negative prompt
    t = torch.tensor([1, 10, 20, 30, 40, 50])
    free = guidance.classifier_free(exact, context(*labels), context(*nulls), s)(x_t, t)
    by_classifier = guidance.classifier(LAWS[NULL], SCHEDULE, log_probability_of(torch.tensor(labels)), s)(x_t, t)
    for i in range(6):
        alone = guidance.classifier_free(exact, context(labels[i]), context(nulls[i]), s[i].item())
        assert_close(alone(x_t[i : i + 1], t[i].item()), prediction.Prediction(*(end[i : i + 1] for end in free)))
        alone = guidance.classifier(
            LAWS[NULL], SCHEDULE, log_probability_of(torch.tensor(labels[i : i + 1])), s[i].item()
        )
        assert_close(alone(x_t[i : i + 1], t[i].item()), prediction.Prediction(*(end[i : i + 1] for end in by_classifier)))  # fmt: skip


@given(x=st.tuples(number, number), t=level, s=scales)
def test_a_negative_prompt_is_guidance_by_the_odds_against_it(x, t, s):
    """From the conditional denoiser, up the gradient of log p(0|x_t) - log p(2|x_t)."""
    x_t = torch.tensor([x], dtype=f64)
    wanted, unwanted = log_probability_of(torch.tensor([0])), log_probability_of(torch.tensor([2]))
    negative = guidance.classifier_free(exact, context(0), context(2), s)
    by_odds = guidance.classifier(LAWS[0], SCHEDULE, lambda x_t, t: wanted(x_t, t) - unwanted(x_t, t), s - 1)
    assert_close(negative(x_t, t), by_odds(x_t, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradients_are_on_inside_the_classifier_and_nowhere_else(mode, generator):
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    seen = []

    def denoise(x_t, t):
        seen.append(torch.is_grad_enabled())
        return LAWS[NULL](x_t, t)

    x_t = points(5, generator)
    with mode():
        guided = guidance.classifier(denoise, SCHEDULE, lambda x, t: classifier(x).log_softmax(1)[:, 1], 2.0)
        x_0, eps = guided(x_t + 0, 20)  # x_t + 0 is an inference tensor in inference mode
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    assert seen == [mode is torch.enable_grad]
    assert not x_0.requires_grad
    assert not eps.requires_grad
    assert all(parameter.grad is None for parameter in classifier.parameters())
    slope = torch.autograd.functional.jacobian(lambda x: classifier(x).log_softmax(1)[:, 1].sum(), x_t)
    expected = LAWS[NULL](x_t, 20).eps - 2 * (1 - SCHEDULE.alphas_cumprod[20]).sqrt() * slope
    assert_close(eps + 0, expected)


def test_guidance_by_the_exact_classifier_samples_the_conditional_law(generator):
    """Through a sampler, which turns gradients off: the same points as with the conditional denoiser."""
    x_T, times = torch.randn(100, 2, generator=generator, dtype=f64), samplers.times(50, 50)
    guided = guidance.classifier(LAWS[NULL], SCHEDULE, log_probability_of(torch.zeros(100).long()), 1)
    made = samplers.final(samplers.ddim(guided, SCHEDULE, x_T, times))
    assert_close(made, samplers.final(samplers.ddim(LAWS[0], SCHEDULE, x_T, times)), rtol=0, atol=1e-8)


def test_clipping_belongs_after_guidance(generator):
    """Clipped answers guided leave the range again; a guided answer clipped stays within, and x_t on its line."""
    x_t, t = points(50, generator), 30
    nulls, contexts = context(*[NULL] * 50), context(*[0] * 50)

    def clipped(x_t, t, context):
        return prediction.clip_x_0(lambda x_t, t: exact(x_t, t, context), SCHEDULE)(x_t, t)

    assert guidance.classifier_free(clipped, contexts, nulls, 5)(x_t, t).x_0.abs().max() > 1.5
    x_0, eps = prediction.clip_x_0(guidance.classifier_free(exact, contexts, nulls, 5), SCHEDULE)(x_t, t)
    assert x_0.abs().max() <= 1
    assert_close(forward.q_sample(SCHEDULE, x_0, t, eps), x_t)


def test_zero_terminal_snr_is_guided_without_a_classifier_only():
    schedule = SCHEDULE.zero_terminal_snr()
    laws = [oracles.gaussian(schedule, torch.tensor([m], dtype=f64), torch.ones(1, dtype=f64)) for m in (-1.0, 2.0)]

    def denoise(x_t, t, context):
        answers = [law(x_t, t) for law in laws]
        chosen = context[:, 0, 0].long(), torch.arange(len(x_t))
        return prediction.Prediction(*(torch.stack(ends)[chosen] for ends in zip(*answers, strict=True)))

    x_T = torch.ones(1, 1, dtype=f64)
    assert guidance.classifier_free(denoise, context(1), context(0), 2.0)(x_T, 50).x_0.item() == pytest.approx(5)
    with pytest.raises(ValueError, match="begin to guide below"):
        guidance.classifier(laws[0], schedule, lambda x, t: -(x**2).sum(1), 1.0)(x_T, 50)


X = torch.zeros(2, 2, dtype=f64)


@pytest.mark.parametrize(
    "call",
    [
        lambda: guidance.classifier_free(exact, context(0, 1), context(3), 2.0),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3).expand(2, 2, 1), 2.0),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3), math.nan),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3), math.inf),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3), "7.5"),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3), torch.ones(3))(X, 5),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3), 2 * torch.ones(3))(X, 5),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3), 2 * torch.ones(2, 1))(X, 5),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3), 2.0)(X[:1], 5),
        lambda: guidance.classifier_free(exact, context(0, 1), context(3, 3), 1.0)(X[:1], 5),
        lambda: guidance.classifier(LAWS[NULL], SCHEDULE, lambda x, t: x.sum(1), math.inf),
        lambda: guidance.classifier(LAWS[NULL], SCHEDULE, lambda x, t: x.sum(1), torch.ones(3))(X, 5),
        lambda: guidance.classifier(LAWS[NULL], SCHEDULE, lambda x, t: x, 1.0)(X, 5),
        lambda: guidance.classifier(LAWS[NULL], SCHEDULE, lambda x, t: x.sum(), 1.0)(X, 5),
        lambda: guidance.classifier(LAWS[NULL], SCHEDULE, lambda x, t: x.detach().sum(1), 1.0)(X, 5),
        lambda: guidance.classifier(LAWS[NULL], SCHEDULE, lambda x, t: x.sum(1), 1.0)(X, 0),
        lambda: guidance.classifier(LAWS[NULL], SCHEDULE, lambda x, t: x.sum(1), 1.0)(X, 51),
    ],
)
def test_bad_arguments_are_errors(call):
    with pytest.raises((ValueError, TypeError)):
        call()
