"""Feature grids on NVIDIA GPUs: the kernels of `cuda/encoding.cu`, one thread a number (see `mi_neural_asset.launcher`).

Tables are float32 or float16, points float32, arithmetic too.  Gradients of tables are summed in float32, in no fixed order.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import launcher

BLOCK = 256  # threads of a block
TYPES = {torch.float32: "f32", torch.float16: "f16"}  # of tables


def fits(points: Tensor, table: Tensor) -> bool:
    """Whether the kernels can do it; where only CuPy is missing for that, it is said once."""
    types = points.dtype == torch.float32 and table.dtype in TYPES and points.device == table.device
    return types and launcher.usable("encoding", (), points.device.index)


def _launch(operation: str, kind: str, size: int, points: Tensor, second: Tensor, values: Tensor) -> None:
    rows, columns = values.shape
    entry = f"encoding_{operation}_{kind}_{TYPES[values.dtype]}"
    numbers = np.int64(rows), np.int32(size), np.int32(columns)
    launcher.launch("encoding", (), entry, rows * columns, BLOCK, (points, second, values), *numbers)


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table: Tensor, points: Tensor, kind: str, size: int) -> Tensor:  # noqa: ANN001
        values = table.new_empty(points.shape[0], table.shape[1])
        _launch("gather", kind, size, points, table, values)
        ctx.save_for_backward(points)
        ctx.grid = kind, size, table.shape
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx, incoming: Tensor):  # noqa: ANN001, ANN205
        (points,), (kind, size, shape) = ctx.saved_tensors, ctx.grid
        gradient = torch.zeros(shape, dtype=torch.float32, device=incoming.device)
        _launch("scatter", kind, size, points, gradient, incoming.contiguous())
        return gradient.to(incoming.dtype), None, None, None


def encode(table: Tensor, points: Tensor, kind: str, size: int) -> Tensor:
    """Encodings [N, columns] in the table's type: points [N, 3], or [N] on a line; differentiable with respect to the table."""
    return _Encode.apply(table.contiguous(), points.detach().contiguous(), kind, size)
