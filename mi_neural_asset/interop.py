"""The only conversions between torch and Dr.Jit.

On the CPU both ways are zero copy for flat arrays; vectors are interleaved on the way to torch ([N, 3], the layout that
networks read).  A tensor of Dr.Jit's memory must not become an array that a kernel reads: copy it (`render/fused_engine.py`, `_lanes`, says
why).  The torch device and the Mitsuba variant are independent: `to_torch(..., device)` moves the data.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import torch
from torch import Tensor


def to_torch(value, device: torch.device | str = "cpu") -> Tensor:  # noqa: ANN001
    """Dr.Jit array to tensor: Float [N]; Vector3f, Point3f, Color3f [N, 3]; UInt32 as int64 [N]; Bool [N]."""
    if dr.depth_v(value) == 1:
        tensor = value.torch()
        return (tensor.long() if tensor.dtype == torch.uint32 else tensor).to(device)
    return torch.stack(to_columns(value), -1).to(device)


def to_columns(*values) -> list[Tensor]:  # noqa: ANN002
    """Components of Dr.Jit arrays of equal width, one after the other, each [N]; those of width 1 are repeated."""
    width = max(dr.width(value) for value in values)
    columns = [column for value in values for column in (value if dr.depth_v(value) > 1 else [value])]
    columns = [column if dr.width(column) == width else column + dr.zeros(type(column), width) for column in columns]
    dr.eval(columns)  # together: each evaluation is a kernel that computes all they have in common
    return [column.torch() for column in columns]


def to_float(tensor: Tensor) -> mi.Float:
    """Tensor [N] to Float."""
    return mi.Float(tensor.detach().to("cpu" if mi.variant().startswith("llvm") else "cuda").float().contiguous())


def to_indices(tensor: Tensor) -> mi.UInt32:
    """Whole numbers [N], not negative, to UInt32."""
    return mi.UInt32(tensor.detach().cpu().to(torch.int32).numpy().view("uint32"))


def to_vector(tensor: Tensor, kind: type | None = None):  # noqa: ANN201
    """Tensor [N, 3] to a three-component array of type `kind` (default: Vector3f)."""
    return (kind or mi.Vector3f)(*(to_float(tensor[:, axis]) for axis in range(3)))


def to_mask(tensor: Tensor) -> mi.Bool:
    """Boolean tensor [N] to Bool."""
    return to_float(tensor) > 0.5
