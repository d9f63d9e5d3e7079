"""Guidance compared with exact results. For a mixture of Gaussians with labelled components, the denoiser without a label, the denoiser
with a label and the classifier of noisy points are known in closed form."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from minidiff import guidance, samplers
from minidiff.diffusion import forward, gaussians, oracles, prediction, schedules
from minidiff.diffusion.prediction import Denoiser, Prediction
from minidiff.nets import Condition

SCHEDULE = schedules.linear(50, 0.01, 0.2)
EVERY = [SCHEDULE, schedules.flow(50), schedules.variance_exploding(50, 0.05, 10.0)]
f64 = torch.float64
WEIGHTS = torch.tensor([0.2, 0.3, 0.1, 0.4], dtype=f64)
MEANS = torch.tensor([[-1.0, 0.5], [0.3, 1.2], [0.8, -0.9], [1.5, 0.2]], dtype=f64)
VARIANCES = torch.tensor([0.1, 0.3, 0.05, 0.2], dtype=f64)
LABELS = torch.tensor([0, 0, 1, 2])  # of the four components
NULL = 3


@cache
def laws(schedule):
    """The exact denoisers of the three labels, then the exact denoiser of all data."""

    def law(components):
        weights = WEIGHTS[components]
        return oracles.mixture(schedule, weights / weights.sum(), MEANS[components], VARIANCES[components])

    return [law(LABELS.eq(0)), law(LABELS.eq(1)), law(LABELS.eq(2)), law(slice(None))]


@cache
def exact(schedule):
    """A denoiser that applies to each item the exact denoiser of its label."""
    each = laws(schedule)

    def predict(x_t, t, condition):
        chosen = condition.context[:, 0, 0].long(), torch.arange(len(x_t))
        return Prediction(*(torch.stack(ends)[chosen] for ends in zip(*(law(x_t, t) for law in each), strict=True)))

    return Denoiser(schedule, predict)


LAWS, EXACT = laws(SCHEDULE), exact(SCHEDULE)

number = st.floats(-3, 3)
level = st.integers(1, 49)  # on a flow the signal is 0 at 50
scales = st.floats(-1, 8)
every = st.sampled_from(EVERY)
every_schedule = pytest.mark.parametrize("schedule", EVERY, ids=repr)


def context(*labels):
    """A condition whose context, of shape (B, 1, 1), holds the labels; 3 means no label."""
    return Condition(context=torch.tensor(labels, dtype=f64)[:, None, None])


def log_probability_of(schedule, labels):
    """log p(y|x_t), by Bayes' rule from the densities of the mixture."""

    def log_probability(x_t, t):
        signal, noise = (scale[..., None] for scale in schedule.at(t, like=x_t))
        offset = x_t[:, None] - signal * MEANS
        joint = WEIGHTS.log() + gaussians.log_density(offset, 0.0, signal**2 * VARIANCES[:, None] + noise**2).sum(-1)
        among = joint.masked_fill(labels[:, None] != LABELS, -math.inf)
        return among.logsumexp(1) - joint.logsumexp(1)

    return log_probability


def by_classifier_of(schedule, *labels, scale):
    """The denoiser of all data, guided by the exact classifier towards the label of each item."""
    return guidance.classifier(laws(schedule)[NULL], log_probability_of(schedule, torch.tensor(labels)), scale)


def points(count, generator):
    return 2 * torch.randn(count, 2, generator=generator, dtype=f64)


def counted(calls):
    """A denoiser that records its calls."""

    def predict(x_t, t, condition):
        calls.append((x_t, t, condition))
        return EXACT(x_t, t, condition)

    return Denoiser(SCHEDULE, predict)


@given(schedule=every, x=st.lists(number, min_size=3, max_size=3), t=level, s=st.floats(-1, 4))
def test_auto_guidance_between_gaussians_narrows_what_the_worse_one_has_too_wide(schedule, x, t, s):
    """The scores of N(0, v) and N(0, w) are -x/v_t and -x/w_t, so the guided precision is s/v_t + (1 - s)/w_t."""
    v, w = 0.5, 2.0
    better, worse = (
        oracles.gaussian(schedule, torch.zeros(1, dtype=f64), torch.tensor([u], dtype=f64)) for u in (v, w)
    )
    x_t, signal, noise = torch.tensor(x, dtype=f64)[:, None], schedule.signal[t], schedule.noise[t]
    precision = s / (signal**2 * v + noise**2) + (1 - s) / (signal**2 * w + noise**2)
    x_0, eps = guidance.auto(better, worse, s)(x_t, t)
    assert_close(eps, noise * precision * x_t, rtol=0, atol=1e-11)
    assert_close(signal * x_0 + noise * eps, x_t, rtol=0, atol=1e-11)


def test_auto_guidance_passes_the_condition_to_both():
    told = []

    def listening(name):
        return Denoiser(SCHEDULE, lambda x_t, t, *condition: told.append((name, condition)) or Prediction(x_t, x_t))

    guided, condition = guidance.auto(listening("better"), listening("worse"), 2), context(0, 1)
    guided(X, 5)
    guided(X, 5, condition)
    assert told == [("better", ()), ("worse", ()), ("better", (condition,)), ("worse", (condition,))]


@pytest.mark.parametrize(
    "other", [schedules.linear(50, 0.01, 0.19), schedules.linear(49, 0.01, 0.2), schedules.flow(50)], ids=repr
)
def test_denoisers_of_different_schedules_cannot_guide_each_other(other):
    """The same x_t has another meaning under each schedule."""
    with pytest.raises(ValueError, match="different schedules"):
        guidance.auto(LAWS[NULL], laws(other)[NULL], 2)
    guidance.auto(LAWS[NULL], laws(schedules.linear(50, 0.01, 0.2))[NULL], 2)


@every_schedule
def test_a_guided_denoiser_carries_the_schedule(schedule):
    of_all = laws(schedule)[NULL]
    for guided in (
        guidance.classifier_free(exact(schedule), context(0), context(NULL), 2),
        guidance.classifier(of_all, log_probability_of(schedule, torch.tensor([0])), 2),
        guidance.auto(of_all, of_all, 2),
    ):
        assert guided.schedule is schedule


@given(schedule=every, x=st.tuples(number, number), t=level, y=st.integers(0, 2))
def test_the_exact_classifier_at_scale_1_makes_the_conditional_denoiser(schedule, x, t, y):
    x_t = torch.tensor([x], dtype=f64)
    guided = by_classifier_of(schedule, y, scale=1)
    assert_close(guided(x_t, t), laws(schedule)[y](x_t, t), rtol=0, atol=1e-9)


@given(schedule=every, x=st.tuples(number, number), t=level, y=st.integers(0, 2), s=scales)
def test_classifier_free_at_s_is_classifier_guidance_of_the_conditional_one_at_s_minus_1(schedule, x, t, y, s):
    x_t = torch.tensor([x], dtype=f64)
    free = guidance.classifier_free(exact(schedule), context(y), context(NULL), s)
    classified = log_probability_of(schedule, torch.tensor([y]))
    by_classifier = guidance.classifier(laws(schedule)[y], classified, s - 1)
    assert_close(free(x_t, t), by_classifier(x_t, t), rtol=1e-9, atol=1e-8)


@given(s=scales, null=number, cond=number)
@pytest.mark.parametrize("field", ["context", "vector", "labels", "image", "control"])
def test_the_answer_is_s_steps_from_without_the_prompt_to_with_it(field, s, null, cond):
    """For every field of the condition, and with the two predictions in the right order."""
    shape = {"context": (1, 1, 1), "vector": (1, 1), "labels": (1,)}.get(field, (1, 1, 1, 1))

    def condition(value):
        return Condition(**{field: torch.full(shape, value, dtype=torch.int64 if field == "labels" else f64)})

    def predict(x_t, t, condition):
        said = getattr(condition, field).reshape(-1, 1).to(x_t)
        return Prediction(said, -2 * said)

    null, cond = (round(null), round(cond)) if field == "labels" else (null, cond)
    made = guidance.classifier_free(Denoiser(SCHEDULE, predict), condition(cond), condition(null), s)
    expected = torch.tensor([[null + s * (cond - null)]], dtype=f64)
    assert_close(made(torch.zeros(1, 1, dtype=f64), 7), Prediction(expected, -2 * expected))


def test_ho_and_salimans_w_is_one_less(generator):
    x_t, w = points(3, generator), 0.7
    cond, null = LAWS[1](x_t, 20).eps, LAWS[NULL](x_t, 20).eps
    made = guidance.classifier_free(EXACT, context(1, 1, 1), context(NULL, NULL, NULL), 1 + w)(x_t, 20)
    assert_close(made.eps, (1 + w) * cond - w * null)


@every_schedule
@pytest.mark.parametrize("s", [0.0, 0.5, 3, 7.5])
def test_x_t_stays_on_the_line_between_both_ends(schedule, s, generator):
    x_t, t = points(4, generator), torch.tensor([1, 9, 30, 49])
    for denoise in (
        guidance.classifier_free(exact(schedule), context(0, 1, 2, 0), context(*[NULL] * 4), s),
        by_classifier_of(schedule, 0, 1, 2, 0, scale=s),
    ):
        x_0, eps = denoise(x_t, t)
        assert_close(forward.q_sample(schedule, x_0, t, eps), x_t)
        assert_close(prediction.from_eps(schedule, x_t, eps, t).x_0, x_0)


def test_it_is_one_call_with_both_halves_and_none_of_the_null_half_at_scale_1(generator):
    x_t, t, contexts, nulls = points(3, generator), torch.tensor([5, 6, 7]), context(0, 1, 2), context(3, 3, 3)
    for s in (0, 0.5, 2, torch.tensor([1.0, 1.0, 1.5])):
        calls = []
        guidance.classifier_free(counted(calls), contexts, nulls, s)(x_t, t)
        ((called_x, called_t, condition),) = calls
        assert_close(called_x, torch.cat([x_t, x_t]))
        assert called_t.tolist() == [5, 6, 7, 5, 6, 7]
        assert condition.context.flatten().tolist() == [3, 3, 3, 0, 1, 2]  # first without the prompt, then with it
    for s in (1, 1.0, torch.ones(3)):
        calls = []
        made = guidance.classifier_free(counted(calls), contexts, nulls, s)(x_t, t)
        ((called_x, _, condition),) = calls
        assert_close((called_x, condition.context), (x_t, contexts.context))
        assert_close(made, EXACT(x_t, t, contexts))


@every_schedule
def test_each_item_is_guided_by_itself(schedule, generator):
    x_t, labels, s = points(6, generator), (0, 1, 2, 0, 1, 2), torch.tensor([0.0, 1.0, 2.0, 3.0, 7.5, -1.0])
    nulls = (3, 3, 3, 1, 0, 3)  # two items have a negative prompt
    t = torch.tensor([1, 10, 20, 30, 40, 49])
    free = guidance.classifier_free(exact(schedule), context(*labels), context(*nulls), s)(x_t, t)
    by_classifier = by_classifier_of(schedule, *labels, scale=s)(x_t, t)
    for i in range(6):
        alone = guidance.classifier_free(exact(schedule), context(labels[i]), context(nulls[i]), s[i].item())
        assert_close(alone(x_t[i : i + 1], t[i].item()), Prediction(*(end[i : i + 1] for end in free)))
        alone = by_classifier_of(schedule, labels[i], scale=s[i].item())
        assert_close(alone(x_t[i : i + 1], t[i].item()), Prediction(*(end[i : i + 1] for end in by_classifier)))


@given(schedule=every, x=st.tuples(number, number), t=level, s=scales)
def test_a_negative_prompt_is_guidance_by_the_odds_against_it(schedule, x, t, s):
    """It is the conditional denoiser, guided by the gradient of log p(0|x_t) - log p(2|x_t)."""
    x_t = torch.tensor([x], dtype=f64)
    wanted, unwanted = (log_probability_of(schedule, torch.tensor([y])) for y in (0, 2))
    negative = guidance.classifier_free(exact(schedule), context(0), context(2), s)
    by_odds = guidance.classifier(laws(schedule)[0], lambda x_t, t: wanted(x_t, t) - unwanted(x_t, t), s - 1)
    assert_close(negative(x_t, t), by_odds(x_t, t), rtol=1e-9, atol=1e-8)


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
        guided = guidance.classifier(Denoiser(SCHEDULE, denoise), lambda x, t: classifier(x).log_softmax(1)[:, 1], 2.0)
        x_0, eps = guided(x_t + 0, 20)  # x_t + 0 is an inference tensor in inference mode
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    assert seen == [mode is torch.enable_grad]
    assert not x_0.requires_grad
    assert not eps.requires_grad
    assert all(parameter.grad is None for parameter in classifier.parameters())
    slope = torch.autograd.functional.jacobian(lambda x: classifier(x).log_softmax(1)[:, 1].sum(), x_t)
    expected = LAWS[NULL](x_t, 20).eps - 2 * (1 - SCHEDULE.alphas_cumprod[20]).sqrt() * slope
    assert_close(eps + 0, expected)


@every_schedule
def test_guidance_by_the_exact_classifier_samples_the_conditional_law(schedule, generator):
    """In a sampler, which turns gradients off, the samples equal those of the conditional denoiser."""
    times = samplers.times(50, 49, start=49)
    x = schedule.prior_std(49) * points(100, generator) / 2
    made = samplers.final(samplers.ddim(by_classifier_of(schedule, *[0] * 100, scale=1), x, times))
    assert_close(made, samplers.final(samplers.ddim(laws(schedule)[0], x, times)), rtol=0, atol=1e-8)


@every_schedule
def test_guidance_between_gaussians_of_one_variance_samples_a_gaussian_whose_mean_is_moved(schedule, generator):
    """Guidance at scale s between N(m_∅, v) and N(m_c, v) samples N(m_∅ + s (m_c - m_∅), v) exactly."""
    variance, means, s = torch.tensor([0.3, 0.1], dtype=f64), (MEANS[0], MEANS[2]), 3.0

    def predict(x_t, t, condition):
        without, with_prompt = (oracles.gaussian(schedule, mean, variance)(x_t, t) for mean in means)
        which = condition.labels[:, None].bool()
        return Prediction(*(torch.where(which, *ends) for ends in zip(with_prompt, without, strict=True)))

    prompt, null = (Condition(labels=torch.full((20,), label)) for label in (1, 0))
    guided = guidance.classifier_free(Denoiser(schedule, predict), prompt, null, s)
    moved = oracles.gaussian(schedule, means[0] + s * (means[1] - means[0]), variance)
    x_T, times = schedule.prior_std(50) * points(20, generator) / 2, samplers.times(50, 10)
    made = samplers.final(samplers.ddim(guided, x_T, times))
    assert_close(made, samplers.final(samplers.ddim(moved, x_T, times)))


@every_schedule
def test_clipping_belongs_after_guidance(schedule, generator):
    """Guidance of clipped predictions leaves the range; a clipped guided prediction stays in it and still adds up to x_t."""
    x_t, t, nulls, contexts = points(50, generator), 30, context(*[NULL] * 50), context(*[0] * 50)
    before = guidance.classifier_free(prediction.clip_x_0(exact(schedule)), contexts, nulls, 5)
    after = prediction.clip_x_0(guidance.classifier_free(exact(schedule), contexts, nulls, 5))
    assert before(x_t, t).x_0.abs().max() > 1.5
    x_0, eps = after(x_t, t)
    assert x_0.abs().max() <= 1
    assert_close(forward.q_sample(schedule, x_0, t, eps), x_t)


@pytest.mark.parametrize("schedule", [SCHEDULE.zero_terminal_snr(), schedules.flow(50)], ids=repr)
def test_where_nothing_of_the_data_is_left_guidance_is_without_a_classifier_only(schedule):
    x_T = torch.ones(1, 2, dtype=f64)
    guided = guidance.classifier_free(exact(schedule), context(2), context(1), 2.0)
    assert_close(
        guided(x_T, 50), Prediction(2 * MEANS[3:] - MEANS[2:3], x_T)
    )  # at signal 0 the prediction is the mean of the label
    classifier = by_classifier_of(schedule, 2, scale=1.0)
    with pytest.raises(ValueError, match="begin to guide at a lower level"):
        classifier(x_T, 50)
    with pytest.raises(ValueError, match="begin to guide at a lower level"):
        classifier(x_T.expand(2, 2), torch.tensor([49, 50]))
    assert classifier(x_T, 49).x_0.isfinite().all()


X = torch.zeros(2, 2, dtype=f64)


@pytest.mark.parametrize(
    "call",
    [
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3), 2.0),
        lambda: guidance.classifier_free(
            EXACT, context(0, 1), context(3, 3).map(lambda label: label.expand(2, 2, 1)), 2.0
        ),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), math.nan),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), math.inf),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), "7.5"),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), torch.ones(3))(X, 5),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), 2 * torch.ones(3))(X, 5),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), 2 * torch.ones(2, 1))(X, 5),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), 2.0)(X[:1], 5),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), 1.0)(X[:1], 5),
        lambda: guidance.classifier_free(EXACT, context(0, 1), Condition(labels=torch.tensor([3, 3])), 2.0),
        lambda: guidance.classifier_free(EXACT, context(0, 1), context(3, 3), 2.0)(X, 5, context(0, 1)),
        lambda: guidance.classifier(LAWS[NULL], lambda x, t: x.sum(1), math.inf),
        lambda: guidance.classifier(LAWS[NULL], lambda x, t: x.sum(1), torch.ones(3))(X, 5),
        lambda: guidance.classifier(LAWS[NULL], lambda x, t: x, 1.0)(X, 5),
        lambda: guidance.classifier(LAWS[NULL], lambda x, t: x.sum(), 1.0)(X, 5),
        lambda: guidance.classifier(LAWS[NULL], lambda x, t: x.sum(1), 1.0)(X, 0),
        lambda: guidance.classifier(LAWS[NULL], lambda x, t: x.sum(1), 1.0)(X, 51),
    ],
)
def test_bad_arguments_are_errors(call):
    with pytest.raises((ValueError, TypeError)):
        call()


def test_a_classifier_without_gradients_is_an_error():
    with pytest.raises(RuntimeError, match="does not require grad"):
        guidance.classifier(LAWS[NULL], lambda x, t: x.detach().sum(1), 1.0)(X, 5)
