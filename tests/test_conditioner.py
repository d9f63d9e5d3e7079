"""Prompts become contexts, each by itself; dropout replaces whole prompts, with the probability that it is given."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from minidiff.conditioner import Conditioner, drop
from minidiff.text import TextEncoder, TextEncoderConfig, Tokenizer

L = 12
NULL = torch.tensor([[1] + [2] * (L - 1)])
PROMPTS = ["a red seven", "blue 2", "", "a red seven on navy"]


@pytest.fixture
def conditioner():
    tokenizer = Tokenizer.train(PROMPTS, 530, context_length=L)
    return Conditioner(tokenizer, TextEncoder(TextEncoderConfig.tiny(tokenizer.vocab_size, L, dim=8)))


def test_each_prompt_has_the_context_of_its_own_tokens(conditioner):
    made = conditioner(PROMPTS)
    assert made.context.shape == (4, L, 8)
    for prompt, context in zip(PROMPTS, made.context, strict=True):
        assert_close(context[None], conditioner.text_encoder(conditioner.tokenizer([prompt])))


def test_a_prompt_becomes_a_context_and_nothing_else(conditioner):
    for made in (conditioner(PROMPTS), conditioner.null(4)):
        assert made.batch == 4
        assert made.vector is made.labels is made.image is made.control is None


def test_the_null_context_is_the_empty_prompts(conditioner):
    assert_close(conditioner.null(3).context, conditioner(["", "", ""]).context)


def test_a_dropped_prompt_is_the_null_prompt_of_guidance(conditioner, generator):
    """The same in training and in sampling: else the network would be asked for something that it has never seen."""
    tokens = drop(conditioner.tokenizer(PROMPTS), conditioner.tokenizer([""]), 1, generator)
    assert_close(conditioner.text_encoder(tokens), conditioner.null(4).context)


def test_the_text_encoder_learns_through_it(conditioner):
    conditioner(["red"]).context.square().sum().backward()
    assert all(parameter.grad is not None for parameter in conditioner.text_encoder.parameters())
    assert {id(p) for p in conditioner.parameters()} == {id(p) for p in conditioner.text_encoder.parameters()}


def rows(count):
    """Rows that can be told apart, and from the null prompt."""
    return 10 + torch.arange(count * L).reshape(count, L)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.85])
def test_prompts_are_dropped_with_this_probability_each_by_itself(probability, generator):
    n = 200_000
    made = drop(rows(n), NULL, probability, generator)
    dropped = (made == NULL).all(1)
    assert abs(dropped.double().mean() - probability) < 5 * math.sqrt(probability * (1 - probability) / n)
    together = (dropped[1:] & dropped[:-1]).double().mean()  # neighbours
    assert abs(together - probability**2) < 5 * math.sqrt(probability**2 * (1 + 2 * probability) / n)


@given(count=st.integers(1, 20), probability=st.floats(0, 1), seed=st.integers(0, 1000))
def test_a_row_is_dropped_whole_or_stays_where_it_is(count, probability, seed):
    tokens = rows(count)
    made = drop(tokens, NULL, probability, torch.Generator().manual_seed(seed))
    kept = (made == tokens).all(1)
    assert (kept | (made == NULL).all(1)).all()
    assert_close(tokens, rows(count))  # what was given is not changed
    assert made.dtype == tokens.dtype


def test_none_and_all_are_exact(generator):
    assert_close(drop(rows(10_000), NULL, 0, generator), rows(10_000))
    assert_close(drop(rows(10_000), NULL, 1, generator), NULL.expand(10_000, L))


def test_the_generator_alone_decides(generator):
    def made(seed):
        return drop(rows(64), NULL, 0.5, torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    assert_close(made(1), made(1))
    assert (made(1) != made(2)).any()
    assert_close(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "call",
    [
        lambda conditioner, g: conditioner("red"),
        lambda conditioner, g: conditioner([]),
        lambda conditioner, g: conditioner.null(0),
        lambda conditioner, g: drop(rows(2), NULL, -0.1, g),
        lambda conditioner, g: drop(rows(2), NULL, 1.1, g),
        lambda conditioner, g: drop(rows(2), NULL, math.nan, g),
        lambda conditioner, g: drop(rows(2), NULL[:, 1:], 0.1, g),
        lambda conditioner, g: drop(rows(2), NULL.expand(2, L), 0.1, g),
        lambda conditioner, g: drop(rows(2), NULL, 0.1, None),
    ],
)
def test_bad_arguments_are_errors(call, conditioner, generator):
    with pytest.raises((ValueError, TypeError)):
        call(conditioner, generator)
