import pytest

from minidiff.data import digits
from minidiff.recipes.evaluate_digits import prompts_of


@pytest.mark.parametrize("held_out", [False, True])
def test_prompts_name_held_out_triples_or_none(held_out):
    prompts = prompts_of(300, held_out=held_out, seed=1)
    assert len(prompts) == 300
    assert len(set(prompts)) > 200
    for asked in map(digits.parse, prompts):
        triple = tuple(asked.get(name) for name in ("colour", "digit", "background"))
        assert (triple in digits.HELD_OUT) == held_out


def test_the_same_seed_asks_the_same():
    assert prompts_of(20, held_out=False, seed=1) == prompts_of(20, held_out=False, seed=1)
    assert prompts_of(20, held_out=False, seed=1) != prompts_of(20, held_out=False, seed=2)
