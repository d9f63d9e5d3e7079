"""Every formula that the project teaches, written once: a sympy expression, and the function that computes it.

Notebooks print LaTeX that is generated from the expression. Tests evaluate each expression and its function at random points, and
compare the two. Other tests check that a notebook cell tagged `formula:ID` derives each formula, and that every such tag is listed here.
"""

from minidiff.formulas import foundations, samplers, stable_diffusion

FORMULAS = [*foundations.FORMULAS, *samplers.FORMULAS, *stable_diffusion.FORMULAS]
BY_ID = {formula.id: formula for formula in FORMULAS}
