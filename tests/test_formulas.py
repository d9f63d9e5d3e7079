"""Every formula is what its function computes; every formula is derived somewhere; nothing else claims to be one."""

import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from minidiff.diffusion import schedules
from minidiff.formulas import BY_ID, FORMULAS

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.ipynb"))


def point(seed: int) -> SimpleNamespace:
    """Random float64 values for every symbol, and a schedule from which those that belong to it are read."""
    draw = random.Random(seed)
    T = draw.randint(6, 12)
    schedule = schedules.from_betas([draw.uniform(0.05, 0.3) for _ in range(T)])
    shift = random.Random(-seed).uniform(0.5, 3)
    flow = schedules.flow(T, shift)
    t = draw.randint(3, T - 1)
    s = draw.randint(1, t - 2)
    abar = schedule.alphas_cumprod.tolist()
    normal = {
        name: draw.gauss(0, 1)
        for name in [
            "x",
            "x_prev",
            "x_prev2",
            "x_s",
            "x_t",
            "y",
            "eps",
            "eps_pred",
            "eps_null",
            "eps_cond",
            "eps_worse",
            "eps_1",
            "eps_2",
            "eps_3",
            "eps_s",
            "x_0_last",
            "scale",
            "gradient",
            "x_0_pred",
            "v_pred",
            "mean",
            "mean_1",
            "mean_2",
            "a",
            "b",
        ]
    }
    positive = {
        name: draw.uniform(0.3, 2)
        for name in ["sigma", "sigma_1", "sigma_2", "noise_sigma", "variance", "tau", "gamma"]
    }
    half_log_snr = (0.5 * schedule.snr.log()).tolist()
    positive |= {"step": half_log_snr[s] - half_log_snr[t], "last_step": half_log_snr[t] - half_log_snr[t + 1]}
    positive |= {f"karras_sigma_{at}": ((1 - abar[level]) / abar[level]) ** 0.5 for at, level in (("t", t), ("s", s))}
    scales = {
        f"{name}_{at}": getattr(flow, name)[level].item()
        for name in ("signal", "noise")
        for at, level in (("t", t), ("s", s))
    }
    kept = scales["signal_t"] / scales["signal_s"]
    scales |= {"kept": kept, "added": scales["noise_t"] ** 2 - kept**2 * scales["noise_s"] ** 2}
    d, n, h = 3, 4, 3
    i = draw.randrange(2 * h)
    is_embedding = dict(i=i, j=i % h, h=h)
    generator = lambda: torch.Generator().manual_seed(seed)  # noqa: E731
    meaning = [
        draw.randrange(n) for _ in range(n)
    ]  # of pictures and captions: P spreads each row over what means the same
    same = [[float(one == other) for other in meaning] for one in meaning]
    return SimpleNamespace(
        **normal, **positive, **is_embedding, **scales, schedule=schedule, flow=flow, shift=shift, u_pred=1.7 - shift, sigma_min=0.02 * shift, sigma_max=9 * shift, meaning=meaning, P=torch.tensor([[x / sum(row) for x in row] for row in same], dtype=torch.float64).numpy(),
        S=torch.randn(n, n, generator=generator(), dtype=torch.float64).numpy(), T=T, t=t, s=s, d=d, n=n, x_0=draw.uniform(-0.9, 0.9), D=6,
        beta_t=schedule.betas[t].item(), alpha_t=schedule.alphas[t].item(), alpha_prev=schedule.alphas[t - 1].item(),
        alpha_bar_t=abar[t], alpha_bar_prev=abar[t - 1], alpha_bar_s=abar[s], alpha_bar_1=abar[1], alpha_bar_T=abar[T],
        beta=schedule.betas.numpy(), beta_1=draw.uniform(1e-4, 1e-2), beta_T=draw.uniform(0.1, 0.5), offset=draw.uniform(0.001, 0.1),
        start=-draw.uniform(0.5, 3), end=draw.uniform(0.5, 3), eta=draw.uniform(0.1, 1), generator=generator, steps=draw.randint(20, 30), warmup=draw.randint(1, 10), decay=draw.uniform(0, 1), average=draw.gauss(0, 1), current=draw.gauss(0, 1),
        z=torch.randn(1, generator=generator(), dtype=torch.float64).item(),
        q=torch.randn(d, generator=generator(), dtype=torch.float64).numpy(), k=torch.randn(n, d, generator=generator(), dtype=torch.float64).numpy(),
        value=torch.randn(n, generator=generator(), dtype=torch.float64).numpy(), m=torch.randn(n, generator=generator(), dtype=torch.float64).numpy(),
        p=torch.randn(n, generator=generator(), dtype=torch.float64).numpy(), u=torch.rand(n, generator=generator(), dtype=torch.float64).numpy(),
        w=torch.full((n,), 1 / n, dtype=torch.float64).mul(torch.tensor([0.4, 1.6, 0.8, 1.2], dtype=torch.float64)).numpy(), L=torch.rand(n, generator=generator(), dtype=torch.float64).numpy(),
    )  # fmt: skip


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.id)
def test_the_function_computes_the_formula(formula):
    for seed in range(20):
        p = point(seed)
        computed = formula.compute(p)
        computed = computed if isinstance(computed, tuple) else (computed,)
        tolerance = 1e-6 if formula.id.startswith("embeddings.") else 1e-11  # embeddings are float32
        for expected, value in zip(formula.evaluate(p), computed, strict=True):
            assert math.isclose(float(value), expected, rel_tol=tolerance, abs_tol=tolerance), (formula.id, seed)


def test_ids_are_unique():
    assert len(BY_ID) == len(FORMULAS) >= 30


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.id)
def test_docstring_of_the_function_names_the_formula(formula):
    assert f"`{formula.id}`" in formula.function.__doc__


def tagged(notebook: Path) -> set[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tags = (tag for cell in cells if cell["cell_type"] == "code" for tag in cell["metadata"].get("tags", ()))
    return {tag.removeprefix("formula:") for tag in tags if tag.startswith("formula:")}


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.id)
def test_each_formula_is_derived_in_its_notebook(formula):
    (notebook,) = (path for path in NOTEBOOKS if path.name.startswith(formula.notebook))
    assert formula.id in tagged(notebook)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_is_tagged_that_is_not_listed(notebook):
    assert tagged(notebook) <= BY_ID.keys()
