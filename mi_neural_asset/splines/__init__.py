"""Monotone rational-quadratic splines straight from raw network outputs, by the fastest twin that fits the tensors.

`llvm`: one Dr.Jit kernel on the CPU, float32.  Everything else (other types and devices, gradients with respect to the
position) is done by the plain twin, `mi_neural_asset.splines.plain`, which is the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from . import plain
from .plain import raw_size

__all__ = ["log_density", "only_plain", "raw_size", "sample"]

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


def _fits(x: Tensor, raw: Tensor, knots: int) -> bool:
    """Whether the Dr.Jit kernels can do it."""
    if _only_plain or raw.device.type != "cpu" or x.dtype != torch.float32 or raw.dtype != torch.float32 or raw.numel() == 0:
        return False
    if torch.is_grad_enabled() and x.requires_grad:
        return False
    from . import llvm

    return knots <= llvm.MAX_KNOTS


def _check(x: Tensor, raw: Tensor, knots: int, periodic: bool) -> None:
    size = raw_size(knots, periodic)
    if raw.shape[-1] != size or raw.shape[: x.dim()] != x.shape:
        raise ValueError(f"spline: expected raw numbers [..., {size}] for {list(x.shape)} values, got {list(raw.shape)}")


def log_density(s: Tensor, raw: Tensor, knots: int, periodic: bool) -> Tensor:
    """log p(s) from raw numbers: s [...], raw [..., raw_size] -> [...]; differentiable.

    Raises:
        ValueError: the shapes do not fit.
    """
    _check(s, raw, knots, periodic)
    if not _fits(s, raw, knots):
        return plain.log_density(s, raw, knots, periodic)
    from . import llvm

    return llvm.log_density(s, raw, knots, periodic)


def sample(z: Tensor, raw: Tensor, knots: int, periodic: bool, channel: Tensor) -> Tensor:
    """s = F^-1(z) from raw numbers of several splines of which one is meant: z [N], raw [N, C, raw_size], channel [N] -> [N].

    Not differentiable.

    Raises:
        ValueError: the shapes do not fit.
    """
    _check(z, raw, knots, periodic)
    if not _fits(z, raw, knots):
        return plain.sample_channel(z, raw.detach(), knots, periodic, channel)
    from . import llvm

    return llvm.sample(z, raw, knots, periodic, channel)
