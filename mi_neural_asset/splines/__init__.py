"""Monotone rational-quadratic splines straight from raw network outputs, by the fastest twin that fits the tensors.

`llvm`: one Dr.Jit kernel on the CPU, raw numbers in float32, narrower ones being widened before.  `cuda`: one CUDA kernel on a GPU, raw
numbers in float32 or float16, where CuPy is installed; without it the plain twin does it, and says so once.  Everything else (other
types and devices, gradients with respect to the position) is done by the plain twin, `mi_neural_asset.splines.plain`, which is the
reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

from . import plain
from .plain import raw_size

__all__ = ["log_density", "log_likelihood", "only_plain", "raw_size", "sample"]

_only_plain = False


@contextmanager
def only_plain() -> Iterator[None]:
    """Within this context everything is done by the plain twin: for comparisons."""
    global _only_plain
    before, _only_plain = _only_plain, True
    try:
        yield
    finally:
        _only_plain = before


def _fast_twin(x: Tensor, raw: Tensor, knots: int) -> ModuleType | None:
    """The kernels that can do it, if there are any."""
    if _only_plain or x.dtype != torch.float32 or x.device != raw.device or raw.numel() == 0:
        return None
    if torch.is_grad_enabled() and x.requires_grad:
        return None
    if raw.device.type == "cpu" and raw.dtype == torch.float32:
        from . import llvm

        return llvm if knots <= llvm.MAX_KNOTS else None
    if raw.device.type == "cuda" and raw.dtype in (torch.float32, torch.float16):
        from . import cuda

        return cuda if cuda.usable(knots, raw.device.index) else None
    return None


def _widened(raw: Tensor, x: Tensor) -> Tensor:
    """Raw numbers in at least the positions' type: float16 holds too few digits for edges of bins."""
    return raw.to(torch.promote_types(raw.dtype, x.dtype))


def _as_read(raw: Tensor, x: Tensor) -> Tensor:
    """Raw numbers as the kernels of their device read them: those of a GPU widen them themselves."""
    return raw if raw.is_cuda else _widened(raw, x)


def _check(x: Tensor, raw: Tensor, knots: int, periodic: bool, channels: tuple[int, ...] = ()) -> None:
    size = raw_size(knots, periodic)
    if raw.shape != (*x.shape, *channels, size):
        wanted = "[..., C, " if channels else "[..., "
        raise ValueError(f"spline: expected raw numbers {wanted}{size}] for {list(x.shape)} values, got {list(raw.shape)}")


def log_density(s: Tensor, raw: Tensor, knots: int, periodic: bool) -> Tensor:
    """log p(s) from raw numbers: s [...], raw [..., raw_size] -> [...]; differentiable.

    Raises:
        ValueError: the shapes do not fit.
    """
    _check(s, raw, knots, periodic)
    raw = _as_read(raw, s)
    twin = _fast_twin(s, raw, knots)
    if twin is None:
        return plain.log_density(s, _widened(raw, s), knots, periodic)
    return twin.log_density(s, raw, knots, periodic)


def log_likelihood(s: Tensor, raw: Tensor, weight: Tensor, knots: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """sum of weight log p(s), a scalar, and its gradient with respect to raw: s, weight [N], raw [N, raw_size] (of which no graph is kept).

    Raises:
        ValueError: the shapes do not fit.
    """
    _check(s, raw, knots, periodic)
    s, raw, weight = s.detach(), raw.detach(), weight.detach()
    twin = _fast_twin(s, raw, knots)
    if twin is None:
        total, gradient = plain.log_likelihood(s, _widened(raw, s), weight, knots, periodic)
        return total, gradient.to(raw.dtype)
    return twin.log_likelihood(s, raw, weight, knots, periodic)


def sample(z: Tensor, raw: Tensor, knots: int, periodic: bool, channel: Tensor) -> Tensor:
    """s = F^-1(z) from raw numbers of several splines of which one is meant: z [N], raw [N, C, raw_size], channel [N] -> [N].

    Not differentiable.

    Raises:
        ValueError: the shapes do not fit.
    """
    _check(z, raw, knots, periodic, raw.shape[1:2])
    if channel.shape != z.shape:
        raise ValueError(f"spline: expected one channel for each of {list(z.shape)} values, got {list(channel.shape)}")
    raw = _as_read(raw, z)
    twin = _fast_twin(z, raw, knots)
    if twin is None:
        return plain.sample_channel(z, _widened(raw.detach(), z), knots, periodic, channel)
    return twin.sample(z, raw, knots, periodic, channel)
