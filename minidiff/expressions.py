"""What a formula of the list is: a sympy expression, the function that computes it, and where it comes from.

A *point* is a mapping from symbol names to values: numbers, arrays for indexed symbols, and `schedule`, a `NoiseSchedule` from
which beta_t, alpha_bar_t and the rest were read.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import sympy as sp

LATEX = {
    "beta_t": r"\beta_t", "beta_1": r"\beta_1", "beta_T": r"\beta_T", "alpha_t": r"\alpha_t", "alpha_prev": r"\alpha_{t-1}",
    "alpha_bar_t": r"\bar\alpha_t", "alpha_bar_prev": r"\bar\alpha_{t-1}", "alpha_bar_s": r"\bar\alpha_s",
    "alpha_bar_1": r"\bar\alpha_1", "alpha_bar_T": r"\bar\alpha_T", "x_prev": "x_{t-1}", "x_prev2": "x_{t-2}",
    "eps": r"\varepsilon", "eps_pred": r"\varepsilon_\theta", "x_0_pred": r"\hat x_0", "v_pred": r"\hat v",
    "mean": r"\mu", "mean_1": r"\mu_1", "mean_2": r"\mu_2", "sigma": r"\sigma", "sigma_1": r"\sigma_1", "sigma_2": r"\sigma_2",
    "noise_sigma": r"\varsigma", "tau": r"\tau", "eta": r"\eta", "gamma": r"\gamma", "variance": r"\Sigma",
    "eps_null": r"\varepsilon_\varnothing", "eps_cond": r"\varepsilon_c", "eps_worse": r"\varepsilon_-", "scale": "s", "eps_1": r"\varepsilon_1", "eps_2": r"\varepsilon_2", "eps_3": r"\varepsilon_3", "eps_s": r"\varepsilon_s'",
    "x_0_last": r"\hat x_0'", "step": "h", "last_step": "h'", "karras_sigma_t": r"\hat\sigma_t", "karras_sigma_s": r"\hat\sigma_s",
    "signal_t": r"\mathrm{signal}_t", "signal_s": r"\mathrm{signal}_s", "noise_t": r"\mathrm{noise}_t", "noise_s": r"\mathrm{noise}_s",
    "kept": "r", "added": r"\beta", "shift": r"\mathrm{shift}", "sigma_min": r"\sigma_{min}", "sigma_max": r"\sigma_{max}", "u_pred": r"\hat u",
    "gradient": r"\nabla_{x_t} \log p(y \mid x_t)", "offset": "s", "start": "a", "end": "b", "steps": "n", "warmup": "w", "decay": "d", "average": r"\bar\theta", "current": r"\theta", "value": "v",
}  # fmt: skip


@dataclass(frozen=True)
class Formula:
    """One formula: `expression` stands right of the equals sign; a pair is the mean and variance of a Gaussian.

    `compute` asks the package's `function` for the same value at a point.
    """

    id: str
    left: str
    expression: sp.Expr | tuple[sp.Expr, sp.Expr]
    function: Callable
    compute: Callable[[SimpleNamespace], object]
    source: str
    notebook: str

    @property
    def latex(self) -> str:
        """The formula as LaTeX, generated from the expression."""
        if not isinstance(self.expression, tuple):
            return f"{self.left} = {latex_of(self.expression)}"
        mean, variance = map(latex_of, self.expression)
        return rf"{self.left} = \mathcal N\left({mean},\ {variance}\right)"

    @property
    def function_name(self) -> str:
        """Where the function stands, as one would import it: from the highest package that has it."""
        module, name = self.function.__module__, self.function.__qualname__
        first = name.split(".")[0]  # of a property the class
        here = getattr(sys.modules[module], first)
        while getattr(sys.modules[parent := module.rpartition(".")[0]], first, None) is here:
            module = parent
        return f"{module}.{name}".removeprefix("minidiff.")

    def evaluate(self, point: SimpleNamespace) -> tuple[float, ...]:
        """The value of the expression at a point; two numbers for a Gaussian."""
        parts = self.expression if isinstance(self.expression, tuple) else (self.expression,)
        return tuple(evaluate(part, vars(point)) for part in parts)


def latex_of(expression: sp.Expr) -> str:
    """The expression as LaTeX, its symbols in the field's letters, nothing reordered."""
    names = {s: LATEX[s.name] for s in expression.free_symbols if getattr(s, "name", "") in LATEX}
    return sp.latex(expression, order="none", symbol_names=names)


def evaluate(expression: sp.Expr, values: dict) -> float:
    """The value of an expression whose symbols have these values, in float64."""
    whole = {s: values[s.name] for s in expression.free_symbols if s.is_Symbol and isinstance(values.get(s.name), int)}
    expression = expression.subs(whole).doit()  # sums and products now have their limits, and are written out
    arrays = sorted(expression.atoms(sp.IndexedBase), key=str)
    labels = {array.label for array in arrays}
    numbers = sorted((s for s in expression.free_symbols if s.is_Symbol and s not in labels), key=str)
    function = sp.lambdify([*arrays, *numbers], expression, modules=["scipy", "numpy"])
    return float(function(*(values[str(array)] for array in arrays), *(values[s.name] for s in numbers)))
