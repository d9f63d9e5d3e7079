"""What notebooks show: figures with one palette, formulas, and the source of functions.

All axes are plain matplotlib axes, so a notebook can add to any figure. End each figure with `plotting.show()`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, Math, display
from matplotlib.axes import Axes
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
    """The panels of a new figure with rows × columns panels, as a list, row by row.

    Each panel is width × height inches. Other options go to `plt.subplots`.
    """
    plt.rcParams.update(STYLE)
    _, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    return list(axes.flat)


def label(axes: Axes, title: str = "", x: str = "", y: str = "", *, legend: bool = False) -> None:
    """Set the title and the axis labels; draw a legend if `legend` is true."""
    axes.set(title=title, xlabel=x, ylabel=y)
    if legend:
        axes.legend()


def curves(axes: Axes, x, ys: Mapping[str, object], **options) -> None:
    """Draw a line for each entry of ys, which maps names to values at x, and a legend. Options go to `Axes.plot`."""
    for name, y in ys.items():
        axes.plot(_array(x), _array(y), label=name, **options)
    axes.legend()


def band(axes: Axes, x, mean, std, *, color: str = BLUE, name: str = "") -> None:
    """Draw a mean over x, and shade one standard deviation above and below the mean."""
    x, mean, std = _array(x), _array(mean), _array(std)
    axes.plot(x, mean, color=color, label=name or None)
    axes.fill_between(x, mean - std, mean + std, color=color, alpha=0.2, lw=0)


def histogram(axes: Axes, values, *, bins: int = 60, color: str = GREY, name: str = "") -> None:
    """Draw a histogram of the values, scaled as a density."""
    axes.hist(_array(values).ravel(), bins=bins, density=True, color=color, alpha=0.5, label=name or None)


def scatter(axes: Axes, points: Tensor, *, color=BLUE, size: float = 3, limit: float | None = 3.0) -> None:
    """Draw points (N, 2) of the plane. Both axes have one scale, and run from -limit to limit unless `limit` is None."""
    points = _array(points)
    axes.scatter(points[:, 0], points[:, 1], s=size, c=color, alpha=0.6, lw=0)
    axes.set_aspect("equal")
    if limit is not None:
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit))


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
    """Draw pictures (N, 1, H, W), (N, 3, H, W) or (N, H, W) in a grid, row by row, `size` inches each.

    Values from low to high run from black to white; values outside are clipped. `titles` are written above the first pictures,
    `row_titles` to the left of the rows. Raises ValueError for a tensor of another shape.
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
    """Draw a dashed line of slope `order` through the last point of (x, y), on log–log axes."""
    x, y = _array(x), _array(y)
    axes.loglog(x, y[-1] * (x / x[-1]) ** order, "--", color=GREY, lw=1, label=name or f"slope {order:g}")


def show() -> None:
    """Show the figure and close it, so that the notebook does not show the figure a second time."""
    plt.show()
    plt.close("all")


def show_formula(*ids: str) -> None:
    """Show the formulas with these ids, each tagged with its id. Raises ValueError for an id that is not in `formulas.BY_ID`."""
    for id in ids:
        if id not in BY_ID:
            raise ValueError(f"unknown formula id {id!r}; expected one of {', '.join(BY_ID)}")
        display(Math(BY_ID[id].latex + rf"\tag{{{id}}}"))


def show_source(function: Callable) -> None:
    """Print the source of a function as the package has it, so that a notebook never shows an outdated copy."""
    print(inspect.getsource(inspect.unwrap(function)).rstrip())


def formula_table(notebook: str | None = None) -> None:
    """Show a table of formulas with id, formula, function and source: those of one notebook ("01", "02", …), or all."""
    rows = [f for f in FORMULAS if notebook in (None, f.notebook)]
    lines = ["| id | formula | in the package | source |", "|---|---|---|---|"]
    for f in rows:
        latex = f.latex.replace(r"\|", r"\Vert ").replace("|", r"\vert ")  # "|" ends a cell of a Markdown table
        lines.append(f"| `{f.id}` | ${latex}$ | `{f.function_name}` | {f.source} |")
    display(Markdown("\n".join(lines)))


def _array(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
