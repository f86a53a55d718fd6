"""Gradients of a batch's losses, by the fastest twin that can do the model.

`fused`: transport models in local coordinates on the CPU.  Everything else, and the reference: torch's own gradient of the losses.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from torch import Tensor, nn

from ..fused.layout import hindrance
from ..threads import torch_at_work
from .kinds import kind_of
from .presets import BakeConfig
from .rows import Rows

Gradient = Callable[[Rows, Tensor], tuple[Tensor, Tensor]]


def gradient_of(model: nn.Module, config: BakeConfig) -> Gradient:
    """(batch, factor) -> both losses; the parameters' `grad` becomes the gradient of the first plus `factor` times the second."""
    if not hindrance(model, next(model.parameters()).device):
        from .fused import FusedGradient

        return FusedGradient(model)
    return plain_gradient(model, config)


def plain_gradient(model: nn.Module, config: BakeConfig) -> Gradient:
    """The same, always by torch."""
    losses, on_cpu = kind_of(config).losses, next(model.parameters()).device.type == "cpu"

    def gradient(batch: Rows, factor: Tensor) -> tuple[Tensor, Tensor]:
        model.zero_grad(set_to_none=True)
        with torch_at_work() if on_cpu else nullcontext():  # a GPU's steps are recorded: Dr.Jit has no part in them
            nll, other = losses(model, batch)
            (nll + factor * other).backward()
        return nll.detach(), other.detach()

    return gradient
