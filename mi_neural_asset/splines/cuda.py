"""Splines on NVIDIA GPUs: the kernels of `cuda/spline.cu`, one thread a spline, launched by CuPy.

NVRTC compiles them for the device at hand when a number of bins is first met, a few seconds; CuPy keeps the result on disk.  They
run on torch's current stream and on the tensors' own memory: nothing is copied, nothing waits for the device, and a launch may be
captured in a CUDA graph once its kernels are compiled.  Raw numbers are float32 or float16, all else is float32, arithmetic too.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..layout import folder

if TYPE_CHECKING:
    import cupy

BLOCK = 64  # threads of a block, as in spline.cu
KNOTS = range(2, 33)  # numbers of bins; more are left to the plain twin, as on the CPU
TYPES = {torch.float32: "f32", torch.float16: "f16"}  # of the raw numbers

_complained = False


def source() -> str:
    """The kernels as one text, for CuPy's cache on disk knows a program by its text, without the files that it includes.

    Raises:
        FileNotFoundError: neither a checkout nor a wheel holds the folder `cuda`.
    """
    kernels, formulas = ((folder("cuda") / f"spline.{suffix}").read_text(encoding="utf-8") for suffix in ("cu", "cuh"))
    return kernels.replace('#include "spline.cuh"', formulas.replace("#pragma once", ""))


@cache
def _module(knots: int, device: int) -> cupy.RawModule:
    """All entry points for a number of bins, compiled for a device."""
    import cupy

    module = cupy.RawModule(code=source(), options=("-std=c++17", f"-DSPLINE_KNOTS={knots}"))
    with torch.cuda.device(device):
        module.compile()
    return module


@cache
def _kernel(name: str, knots: int, device: int) -> cupy.RawKernel:
    return _module(knots, device).get_function(name)


@cache
def usable(knots: int, device: int) -> bool:
    """Whether there are kernels for `knots` bins on CUDA device number `device`; the first time that there should be, says why not."""
    if knots not in KNOTS:
        return False
    try:
        _module(knots, device)
    except Exception as error:  # no CuPy, no NVRTC, an old driver, ...: whatever it is, the plain twin serves
        _complain(error)
        return False
    return True


def _complain(error: Exception) -> None:
    """Say once in a process that the plain twin has to do, why, and what helps."""
    global _complained
    if _complained:
        return
    _complained = True
    extra = "cuda12" if (torch.version.cuda or "").startswith("12.") else "cuda"
    reason = (str(error).strip() or "no message").splitlines()[0]
    warnings.warn(
        f"splines on the GPU are done by plain torch, which is slower: {type(error).__name__}: {reason}\n"
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


def _launch(operation: str, knots: int, periodic: bool, raw: Tensor, channel: Tensor | None, *tensors: Tensor) -> None:
    """Launch an entry point of spline.cu on contiguous tensors: raw [N, C, raw_size], channel [N] or, for every channel, None."""
    rows, channels, _ = raw.shape
    splines = rows * channels if channel is None else rows
    if splines == 0:
        return
    import cupy

    name = f"spline_{operation}_{'all' if channel is None else 'hero'}_{TYPES[raw.dtype]}_{'periodic' if periodic else 'open'}_k{knots}"
    kernel = _kernel(name, knots, raw.device.index)
    pointers = [np.int64(0 if tensor is None else tensor.data_ptr()) for tensor in (raw, channel, *tensors)]
    with torch.cuda.device(raw.device), cupy.cuda.Stream.from_external(_CurrentStream(raw.device)):
        kernel((-(-splines // BLOCK),), (BLOCK,), (*pointers, np.int64(rows), np.int32(channels)))


class _LogDensity(torch.autograd.Function):
    """log p(s) of every channel at a row's one value, s [N], raw [N, C, raw_size] -> [N, C]; the gradient goes to raw alone."""

    @staticmethod
    def forward(ctx, s: Tensor, raw: Tensor, knots: int, periodic: bool) -> Tensor:  # noqa: ANN001
        z, log_p = (torch.empty(raw.shape[:2], dtype=torch.float32, device=raw.device) for _ in range(2))
        _launch("cdf", knots, periodic, raw, None, s, z, log_p)
        ctx.save_for_backward(s, raw)
        ctx.spline = knots, periodic
        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx, incoming: Tensor):  # noqa: ANN001, ANN205
        s, raw = ctx.saved_tensors
        gradient = torch.empty_like(raw)
        _launch("backward", *ctx.spline, raw, None, s, incoming.contiguous(), gradient)
        return None, gradient, None, None


def log_density(s: Tensor, raw: Tensor, knots: int, periodic: bool) -> Tensor:
    """log p(s): s [...] float32, raw [..., raw_size] float32 or float16 -> [...] float32; differentiable with respect to raw.

    Where `s` is one value expanded over the last dimension (the channels of a row), that value alone is read.
    """
    shared = s.dim() > 1 and s.stride(-1) == 0
    at, channels = (s[..., 0], s.shape[-1]) if shared else (s, 1)
    rows = raw.reshape(-1, channels, raw.shape[-1]).contiguous()
    return _LogDensity.apply(at.reshape(-1).contiguous(), rows, knots, periodic).reshape(s.shape)


def log_likelihood(s: Tensor, raw: Tensor, weight: Tensor, knots: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """sum of weight log p(s) and its gradient with respect to raw: s, weight [N] float32, raw [N, raw_size] float32 or float16."""
    s, weight, rows = s.contiguous(), weight.contiguous(), raw.detach()[:, None].contiguous()
    z, log_p, gradient = torch.empty_like(s), torch.empty_like(s), torch.empty_like(rows)
    _launch("cdf", knots, periodic, rows, None, s, z, log_p)
    _launch("backward", knots, periodic, rows, None, s, weight, gradient)
    return torch.dot(weight, log_p), gradient[:, 0]


def sample(z: Tensor, raw: Tensor, knots: int, periodic: bool, channel: Tensor) -> Tensor:
    """s = F^-1(z) of spline `channel`: z [N] float32, raw [N, C, raw_size] float32 or float16, channel [N], 0 to C - 1 -> [N] float32."""
    z = z.contiguous()
    s, log_p = torch.empty_like(z), torch.empty_like(z)
    _launch("sample", knots, periodic, raw.detach().contiguous(), channel.to(raw.device, torch.int64).contiguous(), z, s, log_p)
    return s
