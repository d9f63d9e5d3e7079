"""What notebooks, exercises and tests assert: each check fails loudly, or prints one ✓ line that is the same on every machine."""

from numbers import Real

import sympy as sp
import torch


def same(claim: str, a, b, tol: Real) -> None:
    """Assert |a - b| ≤ tol everywhere, for numbers, arrays or tensors of one shape. Raises AssertionError with the largest gap; a NaN
    fails."""
    a, b = _tensor(a), _tensor(b)
    assert a.shape == b.shape, f"{claim}: shapes {tuple(a.shape)} and {tuple(b.shape)}"
    assert a.numel(), f"{claim}: nothing to compare"
    equal = a == b  # infinities of one sign are the same
    gap = torch.where(equal, 0.0, (a - b).abs()).max().item()
    assert gap <= tol, f"{claim}: differs by {gap:.3g}, allowed {tol:g}"
    print(f"✓ {claim}  (to {tol:g})")


def within_error(claim: str, estimate, standard_error, truth, sigmas: Real = 5) -> None:
    """Assert that a Monte Carlo estimate lies within `sigmas` standard errors of the truth: it proves something only next to its
    error. Raises AssertionError with the number of standard errors; ValueError for an error that is not positive and finite."""
    estimate, standard_error, truth = _tensor(estimate), _tensor(standard_error), _tensor(truth)
    if not ((standard_error > 0) & standard_error.isfinite()).all():
        raise ValueError(f"{claim}: a standard error must be positive and finite")
    z = ((estimate - truth) / standard_error).abs().max().item()
    assert z <= sigmas, f"{claim}: off by {z:.1f} standard errors"
    print(f"✓ {claim}  (within {sigmas:g} standard errors)")


def symbolic(claim: str, a: sp.Expr, b: sp.Expr) -> None:
    """Assert that two sympy expressions are equal for all values of their symbols. Raises AssertionError with what their difference
    simplifies to."""
    difference = sp.simplify(sp.sympify(a) - sp.sympify(b))
    assert difference == 0, f"{claim}: the two differ by {difference}"
    print(f"✓ {claim}  (for all values)")


def different(claim: str, a, b, at_least: Real) -> None:
    """Assert that the largest |a - b| is at least `at_least`: that a mistake is one, and not a rounding error."""
    gap = (_tensor(a) - _tensor(b)).abs().max().item()
    assert gap >= at_least, f"{claim}: they differ by {gap:.3g} only, expected {at_least:g} or more"  # a NaN fails
    print(f"✓ {claim}  (by {at_least:g} or more)")


def _tensor(value) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", torch.float64)
    return torch.as_tensor(value, dtype=torch.float64)  # by way of float32 a number would lose half its digits
