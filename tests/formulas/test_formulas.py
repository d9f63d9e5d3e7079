"""Each formula equals what its function computes, each is derived in a notebook, and no tag names a formula that is not listed."""

import json
import math
from pathlib import Path

import pytest
from calls import CALLS
from points import random_point

from minidiff.formulas import BY_ID, FORMULAS

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))
each_formula = pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.id)


@each_formula
def test_the_function_computes_the_formula(formula):
    tolerance = 1e-6 if formula.id.startswith("embeddings.") else 1e-11  # embeddings are float32
    for seed in range(20):
        point = random_point(seed)
        computed = CALLS[formula.id](formula.function, point)
        computed = computed if isinstance(computed, tuple) else (computed,)
        for expected, value in zip(formula.evaluate(point), computed, strict=True):
            assert math.isclose(float(value), expected, rel_tol=tolerance, abs_tol=tolerance), (formula.id, seed)


def test_each_id_has_one_formula_and_one_call():
    assert len(BY_ID) == len(FORMULAS) >= 30
    assert CALLS.keys() == BY_ID.keys()


@each_formula
def test_docstring_of_the_function_names_the_formula(formula):
    assert f"`{formula.id}`" in formula.function.__doc__


def tagged(notebook: Path) -> set[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tags = (tag for cell in cells if cell["cell_type"] == "code" for tag in cell["metadata"].get("tags", ()))
    return {tag.removeprefix("formula:") for tag in tags if tag.startswith("formula:")}


@each_formula
def test_each_formula_is_derived_in_its_notebook(formula):
    (notebook,) = (path for path in NOTEBOOKS if path.name.startswith(formula.notebook))
    assert formula.id in tagged(notebook)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_is_tagged_that_is_not_listed(notebook):
    assert tagged(notebook) <= BY_ID.keys()
