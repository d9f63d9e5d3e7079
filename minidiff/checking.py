"""What notebooks, exercises and tests assert: a check raises AssertionError, or prints one ✓ line, the same on every machine."""

from numbers import Real

import sympy as sp
import torch


def same(claim: str, a, b, tol: Real) -> None:
    """Assert |a - b| ≤ tol for each pair of entries of two numbers, arrays or tensors of one shape.

    Raises AssertionError with the largest difference. A NaN fails; infinities of one sign are equal.
    """
    a, b = _tensor(a), _tensor(b)
    assert a.shape == b.shape, f"{claim}: shapes {tuple(a.shape)} and {tuple(b.shape)} differ, expected the same shape"
    assert a.numel(), f"{claim}: got two empty tensors, expected at least one number"
    gap = torch.where(a == b, 0.0, (a - b).abs()).max().item()  # inf - inf would be NaN
    assert gap <= tol, f"{claim}: differs by {gap:.3g}, allowed {tol:g}"
    print(f"✓ {claim}  (to {tol:g})")


def within_error(claim: str, estimate, standard_error, truth, sigmas: Real = 5) -> None:
    """Assert that a Monte Carlo estimate lies within `sigmas` standard errors of the truth.

    Raises AssertionError with the number of standard errors between the two; a NaN fails. Raises ValueError for a standard error
    that is not positive and finite.
    """
    estimate, standard_error, truth = _tensor(estimate), _tensor(standard_error), _tensor(truth)
    if not ((standard_error > 0) & standard_error.isfinite()).all():
        raise ValueError(f"{claim}: standard errors must be positive and finite, got {standard_error.tolist()}")
    z = ((estimate - truth) / standard_error).abs().max().item()
    assert z <= sigmas, f"{claim}: off by {z:.1f} standard errors"
    print(f"✓ {claim}  (within {sigmas:g} standard errors)")


def symbolic(claim: str, a: sp.Expr, b: sp.Expr) -> None:
    """Assert that two sympy expressions are equal for all values of their symbols.

    Raises AssertionError with the simplified difference.
    """
    difference = sp.simplify(sp.sympify(a) - sp.sympify(b))
    assert difference == 0, f"{claim}: the two differ by {difference}"
    print(f"✓ {claim}  (for all values)")


def different(claim: str, a, b, at_least: Real) -> None:
    """Assert that the largest |a - b| is at least `at_least`, so that the difference is more than a rounding error.

    Raises AssertionError with the largest difference. A NaN fails.
    """
    gap = (_tensor(a) - _tensor(b)).abs().max().item()
    assert gap >= at_least, f"{claim}: differs by {gap:.3g}, expected at least {at_least:g}"
    print(f"✓ {claim}  (by {at_least:g} or more)")


def _tensor(value) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", torch.float64)
    return torch.as_tensor(value, dtype=torch.float64)  # as float32, a number would lose half its digits
