"""One formula: a sympy expression, the function that computes the formula, and its source; LaTeX is generated from the expression."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import sympy as sp

LATEX = {
    # schedules
    "beta_t": r"\beta_t", "beta_1": r"\beta_1", "beta_T": r"\beta_T",
    "alpha_t": r"\alpha_t", "alpha_prev": r"\alpha_{t-1}", "alpha_bar_t": r"\bar\alpha_t",
    "alpha_bar_prev": r"\bar\alpha_{t-1}", "alpha_bar_s": r"\bar\alpha_s", "alpha_bar_1": r"\bar\alpha_1",
    "alpha_bar_T": r"\bar\alpha_T",
    "signal_t": r"\mathrm{signal}_t", "signal_s": r"\mathrm{signal}_s", "kept": "r",
    "noise_t": r"\mathrm{noise}_t", "noise_s": r"\mathrm{noise}_s", "added": r"\beta",
    "karras_sigma_t": r"\hat\sigma_t", "karras_sigma_s": r"\hat\sigma_s",
    "offset": "s", "start": "a", "end": "b", "tau": r"\tau", "shift": r"\mathrm{shift}",
    "sigma_min": r"\sigma_{min}", "sigma_max": r"\sigma_{max}",
    # Gaussians
    "mean": r"\mu", "mean_1": r"\mu_1", "mean_2": r"\mu_2", "variance": r"\Sigma",
    "sigma": r"\sigma", "sigma_1": r"\sigma_1", "sigma_2": r"\sigma_2", "noise_sigma": r"\varsigma",
    # samples and predictions
    "x_prev": "x_{t-1}", "x_prev2": "x_{t-2}", "eps": r"\varepsilon", "eps_pred": r"\varepsilon_\theta",
    "x_0_pred": r"\hat x_0", "v_pred": r"\hat v", "u_pred": r"\hat u",
    # losses and training
    "gamma": r"\gamma", "steps": "n", "warmup": "w", "decay": "d", "average": r"\bar\theta", "current": r"\theta",
    "value": "v",
    # samplers
    "eta": r"\eta", "step": "h", "last_step": "h'", "x_0_last": r"\hat x_0'",
    "eps_1": r"\varepsilon_1", "eps_2": r"\varepsilon_2", "eps_3": r"\varepsilon_3", "eps_s": r"\varepsilon_s'",
    # guidance
    "eps_null": r"\varepsilon_\varnothing", "eps_cond": r"\varepsilon_c", "eps_worse": r"\varepsilon_-", "scale": "s",
    "gradient": r"\nabla_{x_t} \log p(y \mid x_t)",
}  # fmt: skip


@dataclass(frozen=True)
class Formula:
    """One formula: `left` (LaTeX) equals `expression`. A pair of expressions is the mean and variance of a Gaussian.

    `function` computes the formula, `source` names its paper and equation, `notebook` is the number of the notebook that derives it.
    """

    id: str
    left: str
    expression: sp.Expr | tuple[sp.Expr, sp.Expr]
    function: Callable
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
        """The function's import path below `minidiff`, from the highest package that exports the function."""
        module, name = self.function.__module__, self.function.__qualname__
        first = name.split(".")[0]  # the class, if the function is a property's
        here = getattr(sys.modules[module], first)
        while getattr(sys.modules[parent := module.rpartition(".")[0]], first, None) is here:
            module = parent
        return f"{module}.{name}".removeprefix("minidiff.")

    def evaluate(self, point: SimpleNamespace) -> tuple[float, ...]:
        """The value of the expression in float64, as a tuple: one number, or the mean and variance of a Gaussian.

        `point` has one attribute for each symbol, called like the symbol: a number, or an array for an indexed symbol.
        """
        parts = self.expression if isinstance(self.expression, tuple) else (self.expression,)
        return tuple(evaluate(part, vars(point)) for part in parts)


def latex_of(expression: sp.Expr) -> str:
    """The expression as LaTeX, with the letters of `LATEX` and its terms in the order in which they are written."""
    names = {s: LATEX[s.name] for s in expression.free_symbols if getattr(s, "name", "") in LATEX}
    return sp.latex(expression, order="none", symbol_names=names)


def evaluate(expression: sp.Expr, values: dict) -> float:
    """The value of an expression in float64; `values` maps the names of symbols to numbers or arrays."""
    whole = {s: values[s.name] for s in expression.free_symbols if s.is_Symbol and isinstance(values.get(s.name), int)}
    expression = expression.subs(whole).doit()  # sums and products now have their limits, and are written out
    arrays = sorted(expression.atoms(sp.IndexedBase), key=str)
    labels = {array.label for array in arrays}
    numbers = sorted((s for s in expression.free_symbols if s.is_Symbol and s not in labels), key=str)
    function = sp.lambdify([*arrays, *numbers], expression, modules=["scipy", "numpy"])
    return float(function(*(values[str(array)] for array in arrays), *(values[s.name] for s in numbers)))
