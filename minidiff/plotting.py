"""What notebooks show: figures in one palette, formulas, and the source of the functions that compute them.

Axes are matplotlib's own, so that a notebook can add to any figure; end each with `plotting.show()`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, Math, display
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from torch import Tensor

from minidiff.formulas import BY_ID, FORMULAS

BLUE, ORANGE, GREY, GREEN, RED, PURPLE = "#2a6f97", "#e07a1f", "#8d99ae", "#4c956c", "#b5495b", "#7b5ea7"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)

STYLE = {
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.size": 10,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "lines.linewidth": 2,
}


def panels(rows: int = 1, columns: int = 1, *, width: float = 4.2, height: float = 3.2, **options) -> list[Axes]:
    """A new figure of rows × columns panels, each width × height inches, row by row in one list; options go to `plt.subplots`."""
    plt.rcParams.update(STYLE)
    _, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    return list(axes.flat)


def label(axes: Axes, title: str = "", x: str = "", y: str = "", *, legend: bool = False) -> None:
    """Title and axis labels; a legend if asked for."""
    axes.set(title=title, xlabel=x, ylabel=y)
    if legend:
        axes.legend()


def curves(axes: Axes, x, ys: Mapping[str, object], **options) -> None:
    """One line for each entry of ys, name -> values over x, and a legend; options go to `Axes.plot`."""
    for name, y in ys.items():
        axes.plot(_array(x), _array(y), label=name, **options)
    axes.legend()


def band(axes: Axes, x, mean, std, *, color: str = BLUE, name: str = "") -> None:
    """A mean, and one standard deviation on either side of it."""
    x, mean, std = _array(x), _array(mean), _array(std)
    axes.plot(x, mean, color=color, label=name or None)
    axes.fill_between(x, mean - std, mean + std, color=color, alpha=0.2, lw=0)


def histogram(axes: Axes, values, *, bins: int = 60, color: str = GREY, name: str = "") -> None:
    """How values are distributed, as a density to draw curves over."""
    axes.hist(_array(values).ravel(), bins=bins, density=True, color=color, alpha=0.5, label=name or None)


def scatter(
    axes: Axes, points: Tensor, *, color=BLUE, size: float = 3, limit: float | None = 3.0, name: str = ""
) -> PathCollection:
    """Points (N, 2) of the plane, with equal axes from -limit to limit."""
    points = _array(points)
    drawn = axes.scatter(points[:, 0], points[:, 1], s=size, c=color, alpha=0.6, lw=0, label=name or None)
    axes.set_aspect("equal")
    if limit is not None:
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
    return drawn


def pictures(
    images: Tensor,
    *,
    columns: int | None = None,
    titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    size: float = 0.9,
    low: float = -1,
    high: float = 1,
) -> None:
    """A grid of pictures (N, C, H, W) or (N, H, W), values low…high, `size` inches each, row by row.

    Titles stand over the first pictures, one each; row titles left of the rows. Raises ValueError for a tensor of another shape.
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"pictures must have shape (N, H, W), (N, 1, H, W) or (N, 3, H, W), got {tuple(images.shape)}")
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    axes = panels(rows, columns, width=size, height=size + (0.25 / rows if titles else 0.0))
    shown = ((_array(images) - low) / (high - low)).clip(0, 1).transpose(0, 2, 3, 1)
    for index, panel in enumerate(axes):
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        if index < len(shown):
            panel.imshow(shown[index].squeeze(), vmin=0, vmax=1)
        if index < len(titles):
            panel.set_title(titles[index], fontsize=9)
        if index % columns == 0 and index // columns < len(row_titles):
            panel.set_ylabel(row_titles[index // columns], rotation=0, ha="right", va="center", fontsize=9)


def slope(axes: Axes, x, y, order: float, *, name: str = "") -> None:
    """A dashed guide of the given slope through the last of the points (x, y), for log–log axes."""
    x, y = _array(x), _array(y)
    axes.loglog(x, y[-1] * (x / x[-1]) ** order, "--", color=GREY, lw=1, label=name or f"slope {order:g}")


def show() -> None:
    """Shows the figure and lets go of it, so that the cell has no other output."""
    plt.show()
    plt.close("all")


def show_formula(*ids: str) -> None:
    """Prints formulas of the list, as LaTeX generated from their expressions. Raises ValueError for an id that is not listed."""
    for id in ids:
        if id not in BY_ID:
            raise ValueError(f"no formula is called {id!r}; the list has {', '.join(BY_ID)}")
        display(Math(BY_ID[id].latex + rf"\tag{{{id}}}"))


def show_source(function: Callable) -> None:
    """Prints the source of a function of the package, so that a notebook cannot quote another."""
    print(inspect.getsource(inspect.unwrap(function)).rstrip())


def formula_table(notebook: str | None = None) -> None:
    """The formulas of one notebook, or of all, as a table: id, formula, function, source."""
    rows = [f for f in FORMULAS if notebook in (None, f.notebook)]
    lines = ["| id | formula | in the package | source |", "|---|---|---|---|"]
    for f in rows:
        latex = f.latex.replace(r"\|", r"\Vert ").replace("|", r"\vert ")  # a bar would end the table's cell
        lines.append(f"| `{f.id}` | ${latex}$ | `{f.function_name}` | {f.source} |")
    display(Markdown("\n".join(lines)))


def _array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
