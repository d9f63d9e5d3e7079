import pytest

from minidiff.data import digits
from minidiff.pipelines import evaluate_digits


@pytest.mark.parametrize("held_out", [False, True])
def test_prompts_to_judge_keep_to_their_side(held_out):
    prompts = evaluate_digits.prompts_of(300, held_out=held_out, seed=1)
    assert len(prompts) == 300
    assert len(set(prompts)) > 200
    for asked in map(digits.parse, prompts):
        triple = tuple(asked.get(name) for name in ("colour", "digit", "background"))
        assert (triple in digits.HELD_OUT) == held_out


def test_the_same_seed_asks_the_same():
    assert evaluate_digits.prompts_of(20, held_out=False, seed=1) == evaluate_digits.prompts_of(
        20, held_out=False, seed=1
    )
    assert evaluate_digits.prompts_of(20, held_out=False, seed=1) != evaluate_digits.prompts_of(
        20, held_out=False, seed=2
    )
