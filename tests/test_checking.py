"""Each check accepts what is right and rejects what is wrong."""

import math

import pytest
import sympy as sp
import torch

from minidiff.checking import different, same, symbolic, within_error


def test_same_says_so_and_rejects_what_differs(capsys):
    same("two", torch.tensor([1.0, 2.0]), [1.0, 2.0 + 1e-13], 1e-12)
    assert capsys.readouterr().out == "✓ two  (to 1e-12)\n"
    same("infinities", math.inf, math.inf, 0)
    wrong = [(1.0, 1.1), ([1.0, 2.0], [2.0, 1.0]), (math.nan, math.nan), (math.inf, -math.inf), ([1.0], 1.0), ([], [])]
    for a, b in wrong:
        with pytest.raises(AssertionError):
            same("not", a, b, 1e-3)


def test_within_error_measures_in_standard_errors():
    within_error("near", 1.04, 0.01, 1.0)
    for estimate in (1.06, 0.94, math.nan):
        with pytest.raises(AssertionError):
            within_error("far", estimate, 0.01, 1.0)
    for error in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive and finite"):
            within_error("unknown error", 1.0, error, 1.0)


def test_symbolic_rejects_what_is_equal_only_somewhere():
    x = sp.Symbol("x")
    symbolic("square", (x + 1) ** 2, x**2 + 2 * x + 1)
    with pytest.raises(AssertionError, match="differ by"):
        symbolic("square", (x + 1) ** 2, x**2 + 1)


def test_different_rejects_what_is_the_same():
    different("these", 1.0, 2.0, 0.9)
    for a, b in ((1.0, 1.0), (1.0, math.nan)):
        with pytest.raises(AssertionError):
            different("those", a, b, 0.1)
