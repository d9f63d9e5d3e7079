"""Part III, notebooks 13 to 19: text and guidance."""
# ruff: noqa: F403, F405  (the symbols are imported with *)

import sympy as sp

from minidiff import guidance
from minidiff.formulas.formula import Formula
from minidiff.formulas.symbols import *
from minidiff.text import contrastive, encoder

with sp.evaluate(False):  # sympy keeps each expression in the order in which it is written
    _rows = sp.log(sum_over(s, n, sp.exp(similarity[i, s])))
    _columns = sp.log(sum_over(s, n, sp.exp(similarity[s, i])))

    # fmt: off
    FORMULAS = [
        # 14: text
        Formula("encoder.quick_gelu", r"\mathrm{quickGELU}(x)",
                x / (1 + sp.exp(-(sp.Float("1.702") * x))),
                encoder.quick_gelu, "Hendrycks & Gimpel 2016, sec. 2", "14"),
        Formula("contrastive.info_nce", r"L_{NCE}",
                sum_over(i, n, sum_over(j, n, target[i, j] * sp.Add(_rows, -similarity[i, j],
                                                                    _columns, -similarity[j, i]))) / (2 * n),
                contrastive.info_nce, "Radford et al. 2021, fig. 3", "14"),

        # 16: guidance
        Formula("guidance.classifier", r"\hat\varepsilon",
                eps_pred - scale * sp.sqrt(1 - abar_t) * gradient,
                guidance.classifier, "Dhariwal & Nichol 2021, eq. 14", "16"),
        Formula("guidance.classifier_free", r"\hat\varepsilon",
                eps_null + scale * (eps_cond - eps_null),
                guidance.classifier_free, "Ho & Salimans 2022, eq. 6 with w = s - 1", "16"),
        Formula("guidance.auto", r"\hat\varepsilon",
                eps_worse + scale * (eps_pred - eps_worse),
                guidance.auto, "Karras et al. 2024, sec. 4", "16"),
    ]
    # fmt: on
