"""Feature grids: triplane for positions, cubemap for directions, 1D grid for numbers in [0, 1].

A grid is a table [nodes, columns]; an encoding is a weighted sum of a few of its rows.  Networks that read the same point
share one look-up: each owns some of the columns.  `locate_*` give rows and weights, `Grid` sums; on a GPU one kernel does both
(`encoding_cuda`), where CuPy is installed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import encoding_cuda


class _WeightedRows(torch.autograd.Function):
    """sum_k weight[:, k] * table[index[:, k]]; the gradient goes to the table alone.

    The backward pass adds rows with `index_add_`: torch's own embedding gradient sorts the indices first.
    """

    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(index, weight)
        ctx.rows = table.shape[0]
        return functional.embedding_bag(index, table, mode="sum", per_sample_weights=weight)

    @staticmethod
    def backward(ctx, grad: Tensor):  # noqa: ANN001, ANN205
        index, weight = ctx.saved_tensors
        table = grad.new_zeros(ctx.rows, grad.shape[1])
        for k in range(index.shape[1]):
            table.index_add_(0, index[:, k], grad * weight[:, k : k + 1])
        return table, None, None


class Grid(nn.Module):
    """A table of features.

    Args:
        kind: "triplane" (positions), "cubemap" (directions) or "line" (numbers).
        size: nodes along a side.
        columns: features a node.
    """

    def __init__(self, kind: str, size: int, columns: int) -> None:
        super().__init__()
        self.kind, self.size = kind, size
        self.table = nn.Parameter(torch.empty(nodes(kind, size), columns))
        if self.table.device.type != "meta":
            nn.init.normal_(self.table, std=0.1)

    def forward(self, points: Tensor) -> Tensor:
        """Encodings [N, columns] of positions or directions [N, 3], or numbers [N]; the gradient goes to the table alone."""
        if points.is_cuda and encoding_cuda.fits(points, self.table):
            return encoding_cuda.encode(self.table, points, self.kind, self.size)
        return _WeightedRows.apply(self.table, *LOCATE[self.kind](points, self.size))


def nodes(kind: str, size: int) -> int:
    """Rows of a table."""
    return {"triplane": 3 * size**2, "cubemap": 6 * size**2, "line": size}[kind]


def _bilinear(x: Tensor, y: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Rows and weights of the four nodes around (x, y) in [0, 1]^2 on a size x size plane: [..., 4] each."""
    px, py = x.clamp(0, 1) * (size - 1), y.clamp(0, 1) * (size - 1)
    ix, iy = px.long().clamp_max(size - 2), py.long().clamp_max(size - 2)
    fx, fy = px - ix, py - iy
    first = iy * size + ix
    index = torch.stack([first, first + 1, first + size, first + size + 1], -1)
    weight = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1)
    return index, weight


def locate_triplane(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Positions in [-1, 1]^3, [N, 3], on the planes xy, yz, zx: rows and weights, [N, 12] each."""
    p = (x + 1) / 2
    planes = [_bilinear(p[:, a], p[:, (a + 1) % 3], size) for a in range(3)]
    index = torch.cat([rows + a * size * size for a, (rows, _) in enumerate(planes)], -1)
    return index, torch.cat([weight for _, weight in planes], -1)


def locate_cubemap(w: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Unit directions [N, 3] on the six faces of a cube: rows and weights, [N, 4] each."""
    axis = w.abs().argmax(-1, keepdim=True)
    major = w.gather(-1, axis)
    scale = 0.5 / major.abs().clamp_min(1e-9)
    across = w.gather(-1, (axis + 1) % 3) * scale + 0.5
    along = w.gather(-1, (axis + 2) % 3) * scale + 0.5
    index, weight = _bilinear(across[:, 0], along[:, 0], size)
    face = 2 * axis + (major < 0)
    return index + face * size * size, weight


def locate_line(s: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Numbers in [0, 1], [N], between two nodes of a line: rows and weights, [N, 2] each."""
    p = s.clamp(0, 1) * (size - 1)
    i = p.long().clamp_max(size - 2)
    f = p - i
    return torch.stack([i, i + 1], -1), torch.stack([1 - f, f], -1)


LOCATE = {"triplane": locate_triplane, "cubemap": locate_cubemap, "line": locate_line}
