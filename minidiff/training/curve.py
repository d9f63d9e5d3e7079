"""The loss of a run as a picture."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def write_loss_curve(losses: Sequence[float], path: Path) -> None:
    """The loss of each step, and its average over the neighbours, on a logarithmic scale; a PNG, whole or not at all."""
    window = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    figure = Figure(figsize=(6, 3.2), constrained_layout=True)
    axes = figure.subplots()
    axes.plot(np.arange(1, len(losses) + 1), losses, color="#8d99ae", lw=0.5, alpha=0.7, label="each step")
    axes.plot(np.arange(len(smooth)) + (window + 1) / 2, smooth, color="#2a6f97", lw=2, label=f"mean of {window}")
    axes.set(xlabel="step", ylabel="loss", yscale="log", title="training loss")
    axes.legend(frameon=False)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=120)
    os.replace(partial, path)
