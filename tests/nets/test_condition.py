"""Condition: what fits together, what is kept when it is mapped, and in which order conditions are concatenated."""

import pytest
import torch

from minidiff.nets import Condition

FIELDS = ("context", "vector", "labels", "image", "control")


def full(batch, start=0):
    """A condition with every field, whose item i holds the number start + i everywhere."""
    numbers = torch.arange(start, start + batch)

    def filled(*shape):
        return numbers.float().reshape(batch, *[1] * len(shape)).expand(batch, *shape)

    return Condition(filled(5, 6), filled(7), numbers, filled(2, 4, 4), filled(3, 32, 32))


def numbers_of(condition):
    """The number that each item holds, field by field."""
    return {name: getattr(condition, name).reshape(condition.batch, -1)[:, 0].tolist() for name in FIELDS}


def test_nothing_is_given_unless_it_is_named():
    assert all(getattr(Condition(), name) is None for name in FIELDS)
    assert Condition().batch is None
    assert Condition(labels=torch.arange(4)).batch == 4


def test_conditions_are_concatenated_in_the_order_given():
    joined = Condition.cat(full(2, start=10), full(1, start=20), full(3, start=30))
    assert numbers_of(joined) == {name: [10, 11, 20, 30, 31, 32] for name in FIELDS}
    assert joined.context.shape == (6, 5, 6)
    assert joined.labels.dtype == torch.int64


def test_one_condition_is_concatenated_to_itself_and_empty_ones_to_an_empty_one():
    assert numbers_of(Condition.cat(full(3))) == numbers_of(full(3))
    assert Condition.cat(Condition(), Condition()).batch is None


def test_a_map_reaches_every_given_tensor_and_no_other_field():
    assert numbers_of(full(4, start=5).map(lambda tensor: tensor[1:3])) == {name: [6, 7] for name in FIELDS}
    assert numbers_of(full(1).map(lambda tensor: tensor.expand(3, *tensor.shape[1:]))) == {
        name: [0, 0, 0] for name in FIELDS
    }
    moved = Condition(vector=torch.ones(2, 3)).map(lambda tensor: tensor.to("meta"))
    assert moved.vector.device.type == "meta"
    assert moved.context is None


def test_the_parts_of_a_batch_put_together_again_are_the_batch():
    whole = full(5)
    again = Condition.cat(*(whole.map(lambda tensor, i=i: tensor[i : i + 1]) for i in range(5)))
    for name in FIELDS:
        assert torch.equal(getattr(again, name), getattr(whole, name))


def test_fields_of_different_batch_sizes_are_an_error_that_names_them():
    with pytest.raises(ValueError, match=r"same batch size, got \{'context': 3, 'labels': 2\}"):
        Condition(context=torch.zeros(3, 5, 6), labels=torch.arange(2))


def test_a_field_that_only_one_of_two_conditions_has_is_an_error():
    with_labels, without = Condition(torch.zeros(1, 5, 6), labels=torch.arange(1)), Condition(torch.zeros(1, 5, 6))
    for first, second in ((with_labels, without), (without, with_labels)):
        with pytest.raises(ValueError, match="labels must have the same shape in all conditions"):
            Condition.cat(first, second)
    with pytest.raises(ValueError, match="context"):
        Condition.cat(Condition(), without)


def test_shapes_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match=r"context must have the same shape.*\(5, 6\), \(4, 6\)"):
        Condition.cat(Condition(torch.zeros(1, 5, 6)), Condition(torch.zeros(2, 4, 6)))


def test_a_condition_cannot_be_changed():
    with pytest.raises(AttributeError):
        full(1).labels = torch.zeros(1, dtype=torch.int64)
