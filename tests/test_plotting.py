import re

import matplotlib
import pytest
import torch

from minidiff import plotting
from minidiff.diffusion import forward
from minidiff.formulas import FORMULAS

matplotlib.use("Agg")


@pytest.fixture
def shown(monkeypatch):
    """What IPython would display in a notebook."""
    objects = []
    monkeypatch.setattr(plotting, "display", objects.append)
    return objects


def test_the_table_has_a_row_for_every_formula_and_no_bar_of_its_own(shown):
    plotting.formula_table()
    rows = shown[0].data.splitlines()[2:]
    assert len(rows) == len(FORMULAS)
    assert all(row.count("|") == 5 for row in rows)
    assert not [row for row in rows if r"\\vert" in row]
    plotting.formula_table("02")
    assert len(shown[1].data.splitlines()) - 2 == sum(f.notebook == "02" for f in FORMULAS)


def test_formulas_are_shown_by_id(shown):
    plotting.show_formula("forward.marginal", "posterior.mean_and_variance")
    tags = [re.search(r"\\tag{(.*)}", one.data)[1] for one in shown]
    assert tags == ["forward.marginal", "posterior.mean_and_variance"]
    with pytest.raises(ValueError, match=r"unknown formula id 'forward\.magic'"):
        plotting.show_formula("forward.magic")


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.id)
def test_every_symbol_has_its_latex(formula):
    """A symbol without an entry in LATEX would be printed by its name in code, for example as eps_{pred}."""
    code = r"(?<!\\)\b(?:alpha|beta|eps|mean|sigma|pred|bar|prev|gamma|eta)\b"
    assert not re.search(code, formula.latex.replace(r"\text{", ""))


def test_source_is_the_function_s_own(capsys):
    plotting.show_source(forward.q_sample)
    assert capsys.readouterr().out.startswith("def q_sample(")


def test_pictures_are_drawn_row_by_row():
    plotting.pictures(torch.zeros(5, 1, 8, 8), columns=3, titles=["a"], row_titles=["r"])
    axes = matplotlib.pyplot.gcf().axes
    assert len(axes) == 6
    assert [len(panel.images) for panel in axes] == [1, 1, 1, 1, 1, 0]
    plotting.show()
    with pytest.raises(ValueError, match="pictures must have shape"):
        plotting.pictures(torch.zeros(5, 2, 8, 8))
