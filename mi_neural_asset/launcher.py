"""Kernels of the folder `cuda` on NVIDIA GPUs: compiled for the device at hand, launched by CuPy on torch's current stream.

NVRTC compiles a program when it is first met, a few seconds; CuPy keeps the result on disk.  Launches work on the tensors' own
memory: nothing is copied, nothing waits for the device, and a launch may be captured in a CUDA graph once its program is compiled.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .layout import folder

if TYPE_CHECKING:
    import cupy

_complained = False


def source(name: str) -> str:
    """A program as one text, for CuPy's cache on disk knows it by its text, without the files that it includes.

    Raises:
        FileNotFoundError: neither a checkout nor a wheel holds the folder `cuda`.
    """
    kernels, formulas = ((folder("cuda") / f"{name}.{suffix}").read_text(encoding="utf-8") for suffix in ("cu", "cuh"))
    return kernels.replace(f'#include "{name}.cuh"', formulas.replace("#pragma once", ""))


@cache
def program(name: str, definitions: tuple[str, ...], device: int | None) -> cupy.RawModule:
    """All entry points of `cuda/NAME.cu`, compiled for a device."""
    import cupy

    module = cupy.RawModule(code=source(name), options=("-std=c++17", *definitions))
    with torch.cuda.device(device):
        module.compile()
    return module


@cache
def usable(name: str, definitions: tuple[str, ...], device: int | None) -> bool:
    """Whether a program can be had for CUDA device number `device`; the first time that one cannot, says why not."""
    try:
        program(name, definitions, device)
    except Exception as error:  # no CuPy, no NVRTC, an old driver, ...: whatever it is, the plain twin serves
        _complain(name, error)
        return False
    return True


def _complain(name: str, error: Exception) -> None:
    """Say once in a process that the plain twins have to do, why, and what helps."""
    global _complained
    if _complained:
        return
    _complained = True
    extra = "cuda12" if (torch.version.cuda or "").startswith("12.") else "cuda"
    reason = (str(error).strip() or "no message").splitlines()[0]
    warnings.warn(
        f"{name} kernels on the GPU are done by plain torch, which is slower: {type(error).__name__}: {reason}\n"
        f"`pip install 'mi-neural-asset[{extra}]'` brings CuPy and the compiler that the kernels need",
        RuntimeWarning,
        stacklevel=2,
    )


class _CurrentStream:
    """torch's current stream by the CUDA stream protocol (torch has it itself from 2.10 on)."""

    def __init__(self, device: torch.device) -> None:
        self.pointer = torch.cuda.current_stream(device).cuda_stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer  # the protocol's version, the stream


@cache
def _entry(name: str, definitions: tuple[str, ...], entry: str, device: int | None) -> cupy.RawKernel:
    return program(name, definitions, device).get_function(entry)


def launch(
    name: str, definitions: tuple[str, ...], entry: str, threads: int, block: int, tensors: Sequence[Tensor | None], *numbers: np.generic
) -> None:
    """Launch an entry point with pointers to contiguous tensors (None: null), then numbers; no launch for no threads."""
    if threads == 0:
        return
    import cupy

    device = next(tensor for tensor in tensors if tensor is not None).device
    kernel = _entry(name, definitions, entry, device.index)
    pointers = [np.int64(0 if tensor is None else tensor.data_ptr()) for tensor in tensors]
    with torch.cuda.device(device), cupy.cuda.Stream.from_external(_CurrentStream(device)):
        kernel((-(-threads // block),), (block,), (*pointers, *numbers))
