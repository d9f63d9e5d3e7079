import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minidiff.samplers import times

SPACINGS = ["trailing", "leading", "linspace", "karras"]


@given(st.sampled_from(SPACINGS), st.integers(1, 300), st.data())
def test_levels_descend_from_start_to_end(spacing, T, data):
    start = data.draw(st.integers(1, T))
    end = data.draw(st.integers(0, start - 1))
    steps = data.draw(st.integers(1, start - end))
    levels = times(T, steps, spacing, start=start, end=end)
    assert len(levels) == steps + 1
    assert levels[-1] == end
    assert levels[0] <= start
    assert all(a > b for a, b in itertools.pairwise(levels))


@given(st.integers(1, 1000))
def test_all_but_leading_begin_at_the_noisiest_level(steps):
    assert (
        times(1000, steps, "trailing")[0]
        == times(1000, steps, "linspace")[0]
        == times(1000, steps, "karras")[0]
        == 1000
    )


def test_published_grids():
    assert times(1000, 10) == [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert times(1000, 5, "linspace") == [1000, 750, 500, 251, 1, 0]
    sd = times(1000, 50, "leading", end=1, offset=1)
    assert sd[:2] == [982, 962]
    assert sd[-3:] == [22, 2, 1]


@given(st.integers(2, 200))
def test_karras_is_even_in_the_seventh_root(steps):
    levels = [level ** (1 / 7) for level in times(1000, steps, "karras")[:-1]]
    gaps = [a - b for a, b in itertools.pairwise(levels)]
    assert max(gaps) - min(gaps) < 1e-9


@given(st.sampled_from(SPACINGS), st.integers(1, 50))
def test_as_many_steps_as_levels_visit_them_all(spacing, T):
    assume(spacing != "karras")
    assert times(T, T, spacing) == list(range(T, -1, -1))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((1000, 0), {}),
        ((1000, 1001), {}),
        ((1000, 10, "even"), {}),
        ((1000, 10), {"start": 1001}),
        ((1000, 10), {"start": 5}),
        ((1000, 10), {"end": -1}),
        ((1000, 10), {"start": 20, "end": 20}),
        ((1000, 1000, "leading"), {"offset": 1}),
    ],
)
def test_grids_that_do_not_exist_are_errors(arguments, options):
    with pytest.raises(ValueError, match=r"level|steps|spacing"):
        times(*arguments, **options)
