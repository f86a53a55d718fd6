"""Splines on NVIDIA GPUs: the kernels of `cuda/spline.cu`, one thread a spline (see `mi_neural_asset.launcher`).

Raw numbers are float32 or float16, all else is float32, arithmetic too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import launcher

BLOCK = 64  # threads of a block, as in spline.cu
KNOTS = range(2, 33)  # numbers of bins; more are left to the plain twin, as on the CPU
TYPES = {torch.float32: "f32", torch.float16: "f16"}  # of the raw numbers


def _definitions(knots: int) -> tuple[str, ...]:
    return (f"-DSPLINE_KNOTS={knots}",)


def usable(knots: int, device: int | None) -> bool:
    """Whether there are kernels for `knots` bins on CUDA device number `device`; the first time that there should be, says why not."""
    return knots in KNOTS and launcher.usable("spline", _definitions(knots), device)


def _launch(operation: str, knots: int, periodic: bool, raw: Tensor, channel: Tensor | None, *tensors: Tensor) -> None:
    """Launch an entry point of spline.cu on contiguous tensors: raw [N, C, raw_size], channel [N] or, for every channel, None."""
    rows, channels, _ = raw.shape
    which, splines = ("all", rows * channels) if channel is None else ("hero", rows)
    entry = f"spline_{operation}_{which}_{TYPES[raw.dtype]}_{'periodic' if periodic else 'open'}_k{knots}"
    numbers = np.int64(rows), np.int32(channels)
    launcher.launch("spline", _definitions(knots), entry, splines, BLOCK, (raw, channel, *tensors), *numbers)


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
