"""Where to compute: `auto`, `cpu` or `cuda`, by argument or by the environment's MINIDIFF_DEVICE."""

import os

import torch


def resolve(name: str = "auto") -> torch.device:
    """The device called "auto", "cpu" or "cuda"; auto asks MINIDIFF_DEVICE, and then takes CUDA where there is one.

    Raises ValueError for another name, or for CUDA where there is none.
    """
    if name == "auto":
        name = os.environ.get("MINIDIFF_DEVICE") or "auto"
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"unknown device {name!r}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, and PyTorch sees none here: choose auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies matrices faster in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else torch.float32
