"""Inside a kernel: what a model's grids and tables of probes hold at a place.

The formulas are those of `mi_neural_asset.model.encoding` and `mi_neural_asset.model.probes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import torch
from drjit.llvm import Array3f, Array4f, Array4u, Float, Int32, UInt32
from torch import Tensor

from ..model.probes import AZIMUTHS, BANDS, CHANNELS, CORNERS, DARK, PEAK, POOL
from ..splines.llvm import PACKET

Rows = list[tuple[UInt32, Float]]  # rows of a table and their weights


def look_up(table: Float, width: int, rows: Rows, first: int = 0, count: int | None = None) -> list[Float]:
    """sum_k weight_k table[row_k, first : first + count], the table's rows having `width` numbers; count: all."""
    count = width if count is None else count
    packed = width % PACKET == 0 and first % PACKET == 0 and count % PACKET == 0
    kind, step = (Array4f, PACKET) if packed else (Float, 1)
    result: list[Float] = []
    for k in range(first, first + count, step):
        total = kind(0)
        for row, weight in rows:
            total = dr.fma(dr.gather(kind, table, row * (width // step) + k // step), weight, total)
        result += [total[j] for j in range(PACKET)] if packed else [total]
    return result


def look_up_squares(table: UInt32, count: int, rows: Rows) -> list[Float]:
    """sum_k weight_k v^2, v the `count` bytes of row_k; rows are filled up to whole packets of words (`words`)."""
    packets = -(-count // (4 * PACKET))
    sums = [Float(0) for _ in range(4 * PACKET * packets)]
    for row, weight in rows:
        for k in range(packets):
            for j, word in enumerate(dr.gather(Array4u, table, row * packets + k)):
                for byte in range(4):
                    v = Float((word >> (8 * byte)) & 255)
                    place = 4 * (PACKET * k + j) + byte
                    sums[place] = dr.fma(v * v, weight, sums[place])
    return sums[:count]


def words(table: Tensor) -> UInt32:
    """Bytes [rows, count] for `look_up_squares`."""
    filled = torch.nn.functional.pad(table, (0, -table.shape[1] % (4 * PACKET)))
    return UInt32(filled.contiguous().view(-1).numpy().view("<u4"))


def _split(x: Float, size: int) -> tuple[UInt32, Float]:
    """The node left of x in [0, 1], of `size` nodes, and how far x is beyond it."""
    p = dr.clip(x, 0, 1) * (size - 1)
    i = dr.minimum(UInt32(p), size - 2)
    return i, p - Float(i)


def _bilinear(x: Float, y: Float, size: int, first: UInt32 | int) -> Rows:
    ix, fx = _split(x, size)
    iy, fy = _split(y, size)
    node = first + iy * size + ix
    gx, gy = 1 - fx, 1 - fy
    return [(node, gx * gy), (node + 1, fx * gy), (node + size, gx * fy), (node + size + 1, fx * fy)]


def on_planes(x: Array3f, size: int) -> Rows:
    """Positions in [-1, 1]^3 on the planes xy, yz, zx."""
    p = (x + 1) / 2
    return [row for a in range(3) for row in _bilinear(p[a], p[(a + 1) % 3], size, a * size * size)]


def on_cube(w: Array3f, size: int) -> Rows:
    """Unit directions on the six faces of a cube."""
    high, axis = dr.abs(w.x), UInt32(0)
    major, across, along = w.x, w.y, w.z
    for k in (1, 2):
        better = dr.abs(w[k]) > high
        high = dr.select(better, dr.abs(w[k]), high)
        axis = dr.select(better, k, axis)
        major = dr.select(better, w[k], major)
        across, along = dr.select(better, w[(k + 1) % 3], across), dr.select(better, w[(k + 2) % 3], along)
    scale = 0.5 / dr.maximum(high, 1e-9)
    face = 2 * axis + dr.select(major < 0, UInt32(1), UInt32(0))
    return _bilinear(across * scale + 0.5, along * scale + 0.5, size, face * (size * size))


def on_line(s: Float, size: int) -> Rows:
    """Numbers in [0, 1] between two nodes."""
    i, f = _split(s, size)
    return [(i, 1 - f), (i + 1, f)]


@dataclass
class Corners:
    """The probes that a point lies between, and their weights."""

    rows: Rows

    @classmethod
    def read(cls, around: Float, lane: UInt32, width: int) -> Corners:
        """From what `Occlusion` says of lanes, `width` numbers each."""
        begin = lane * width + (width - 2 * CORNERS)
        numbers = [dr.gather(Float, around, begin + k) for k in range(2 * CORNERS)]
        return cls([(UInt32(numbers[k]), numbers[CORNERS + k]) for k in range(CORNERS)])

    def _at_height(self, s1: Float, bands: int) -> Rows:
        position = dr.clip(s1 * bands - 0.5, 0, bands - 1)
        band = dr.minimum(UInt32(position), bands - 2)
        along = position - Float(band)
        rows = [(row * bands + band, weight * (1 - along)) for row, weight in self.rows]
        return rows + [(row * bands + band + 1, weight * along) for row, weight in self.rows]

    def bands(self, table: Float) -> list[Float]:
        """The distribution over bands."""
        return _relative(look_up(table, CHANNELS * BANDS, self.rows), BANDS)

    def ring(self, table: UInt32, s1: Float) -> list[Float]:
        """The distribution over azimuths at the height s1."""
        squares = look_up_squares(table, CHANNELS * AZIMUTHS, self._at_height(s1, BANDS))
        return _relative([PEAK / 255**2 * value for value in squares], AZIMUTHS)

    def departure(self, table: Float, s1: Float, s2: Float) -> tuple[Array3f, Float]:
        """How w_i departs from the direction of u_i at (s1, s2): the mean in parts of the spread, and the spread."""
        size = AZIMUTHS // POOL
        position = s2 * size - 0.5
        left = dr.floor(position)
        along = position - left
        column = UInt32(Int32(left) + size) % size
        following = dr.select(column + 1 == size, 0, column + 1)
        rows = self._at_height(s1, BANDS // POOL)
        found = look_up(table, 4, [(row * size + column, weight * (1 - along)) for row, weight in rows]
                        + [(row * size + following, weight * along) for row, weight in rows])  # fmt: skip
        return Array3f(found[:3]), found[3]


def _relative(values: list[Float], size: int) -> list[Float]:
    """Each channel relative to its mean."""
    result = []
    for k in range(0, len(values), size):
        channel = values[k : k + size]
        scale = 1 / (sum(channel[1:], channel[0]) / size + DARK)
        result += [value * scale for value in channel]
    return result
