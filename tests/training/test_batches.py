from itertools import chain

import pytest
import torch

from minidiff.training import Batches

ITEMS = torch.arange(10)


def taken(batches: Batches, count: int) -> list[list[int]]:
    """The next `count` batches."""
    return [next(batches).tolist() for _ in range(count)]


def test_every_item_is_seen_once_an_epoch_in_new_order():
    batches = Batches(ITEMS, batch_size=5)
    epochs = [[*chain(*taken(batches, 2))] for _ in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_an_incomplete_last_batch_is_dropped():
    """10 items in batches of 4: each epoch has two batches of 8 different items."""
    batches = Batches(ITEMS, batch_size=4)
    for _ in range(3):
        first, second = taken(batches, 2)
        assert len({*first, *second}) == 8


def test_the_seed_decides_the_order():
    first, again, other = (taken(Batches(ITEMS, batch_size=5, seed=seed), 4) for seed in (1, 1, 2))
    assert first == again != other


def test_several_tensors_give_the_same_rows_of_each():
    numbers = torch.arange(10.0)
    batches = Batches(numbers, numbers[:, None] * torch.ones(3), -ITEMS, batch_size=3)
    for _ in range(7):
        one, wide, negative = next(batches)
        assert wide.shape == (3, 3)
        assert torch.equal(wide, one[:, None].expand(3, 3))
        assert torch.equal(negative, -one.long())


def test_one_tensor_and_several_are_drawn_in_the_same_order():
    alone, together = Batches(ITEMS, batch_size=3, seed=4), Batches(ITEMS, -ITEMS, batch_size=3, seed=4)
    assert all(torch.equal(next(alone), next(together)[0]) for _ in range(7))


def test_batches_are_moved_to_the_device_and_the_data_are_not():
    batches = Batches(ITEMS, -ITEMS, batch_size=3, device="meta")
    assert {batch.device.type for batch in next(batches)} == {"meta"}
    assert {tensor.device.type for tensor in batches.tensors} == {"cpu"}


def test_two_iterators_from_one_state_go_on_alike():
    """Whatever their seeds; and the state stays what it was while the first iterator goes on."""
    first = Batches(ITEMS, batch_size=3, seed=0)
    taken(first, 5)
    state = first.state()
    following = taken(first, 9)
    for seed in (0, 9):
        other = Batches(ITEMS, batch_size=3, seed=seed)
        taken(other, 2)
        other.load(state)
        assert taken(other, 9) == following


def test_the_state_of_other_data_is_an_error():
    with pytest.raises(ValueError, match="10 items, and now there are 11"):
        Batches(torch.arange(11), batch_size=3).load(Batches(ITEMS, batch_size=3).state())


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_fits_the_data(batch_size):
    with pytest.raises(ValueError, match="1 to 10"):
        Batches(ITEMS, batch_size=batch_size)


def test_tensors_of_different_lengths_are_errors():
    with pytest.raises(ValueError, match="one length, got 10, 9"):
        Batches(ITEMS, ITEMS[1:], batch_size=3)
