"""The device to compute on: `auto`, `cpu`, `cuda` or `cuda:1`, by argument or by the environment variable MINIDIFF_DEVICE."""

import os
import re

import torch


def resolve(name: str = "auto") -> torch.device:
    """The device of this name. "auto" takes MINIDIFF_DEVICE if it is set, else CUDA if PyTorch finds it, else the CPU.

    Raises ValueError for an unknown name, or for CUDA if PyTorch finds none.
    """
    if name == "auto":
        name = os.environ.get("MINIDIFF_DEVICE") or "auto"
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"unknown device {name!r}: choose auto, cpu, cuda or cuda:N")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {name} was asked for, but PyTorch finds no CUDA here: choose auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the device multiplies matrices faster in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32
