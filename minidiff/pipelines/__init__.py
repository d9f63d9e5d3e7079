"""Whole systems: networks, schedule and sampler put together, saved as one folder."""

from pathlib import Path

from minidiff.pipelines import folders
from minidiff.pipelines.pixel import PixelDiffusion
from minidiff.pipelines.text_to_image import TextToImage

__all__ = ["PixelDiffusion", "TextToImage", "load"]


def load(model: str | Path, device: str = "auto") -> PixelDiffusion | TextToImage:
    """A model of whichever kind, from its folder or by its bundled name. Raises ValueError where it is of neither kind."""
    kinds = {pipeline.KIND: pipeline for pipeline in (PixelDiffusion, TextToImage)}
    folder = folders.find(model)
    kind = folders.read_config(folder).get("kind")
    if kind not in kinds:
        raise ValueError(f"{model} holds a model of kind {kind!r}, expected one of {', '.join(kinds)}")
    return kinds[kind].load(folder, device)
