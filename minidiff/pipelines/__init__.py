"""Whole models: networks, schedule and sampler, from a request to images. They are loaded from one folder each."""

from pathlib import Path

from minidiff import storage
from minidiff.pipelines.pipeline import Pipeline
from minidiff.pipelines.pixel import PixelDiffusion
from minidiff.pipelines.text_to_image import TextToImage

__all__ = ["KINDS", "Pipeline", "PixelDiffusion", "TextToImage", "load"]

# the kind in a config.json -> the class that reads such a folder
KINDS: dict[str, type[Pipeline]] = {pipeline.KIND: pipeline for pipeline in (PixelDiffusion, TextToImage)}


def load(model: str | Path, device: str = "auto") -> Pipeline:
    """Load a model of any kind from its folder or by its bundled name. Raises ValueError if the folder holds no known kind."""
    folder = storage.find_model(model)
    kind = storage.read_config(folder).get("kind")
    if kind not in KINDS:
        raise ValueError(f"{model} holds a model of kind {kind!r}, expected one of {', '.join(KINDS)}")
    return KINDS[kind].load(folder, device)
