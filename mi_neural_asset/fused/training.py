"""What a bake's step needs beside matrix products, each a single Dr.Jit kernel: all that the networks read of paths, the nodes of the
grids that this came from, and the gradient of the splines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import drjit as dr
from drjit.llvm import Array3f, Float, UInt32

from ..splines.llvm import frozen, with_gradient
from . import geometry, tables
from .geometry import Exit
from .kernels import Batch, Kernels
from .layout import STEPS, Layout, Weights
from .tables import Rows
from .tiles import Place

PLANES = 12  # nodes that a position lies between
FACES = 4  # and a direction
ENDS = 2  # and a number


@dataclass
class Paths:
    """Columns of a batch, as they lie in memory, and which row of it each lane is."""

    x_o: Float
    w_o: Float
    n: Float
    u: Float
    w_i: Float
    around: Float
    rows: UInt32
    width: UInt32  # lanes of a tile
    count: UInt32  # lanes


@dataclass
class Nodes:
    """Memory for the nodes that lanes lie between, and their weights, one row after the other: [nodes, lanes]."""

    rows: UInt32
    weights: Float


class TrainingKernels(Kernels):
    """All kernels of one layout."""

    def _batch(self, paths: Paths) -> Batch:
        x_o, w_o, n = (_vectors(column, paths.rows) for column in (paths.x_o, paths.w_o, paths.n))
        return Batch(x_o, w_o, n, paths.around, paths.width, UInt32(1))

    def _site_nodes(self, batch: Batch) -> Rows:
        return tables.on_planes(batch.x_o, self.layout.triplane) + tables.on_cube(batch.w_o, self.layout.cubemap)

    @cached_property
    def site_of_paths(self) -> Callable[[Weights, Paths, Float, Nodes], tuple[Float, Nodes]]:
        """(weights, paths, space, nodes) -> (rows of the sites, nodes of x_o and w_o)."""

        def kernel(weights: Weights, paths: Paths, space: Float, nodes: Nodes) -> tuple[Float, Nodes]:
            batch, lane = self._batch(paths), dr.arange(UInt32, dr.width(paths.rows))
            Place(lane, paths.width).write(space, self.layout.site, self._site_rows(weights, batch, paths.rows))
            _write(nodes, Place(lane, paths.count), self._site_nodes(batch))
            return space, nodes

        return frozen(kernel, "space", "nodes")

    @cached_property
    def whole_paths(self) -> Callable[..., tuple[Float, Float, Nodes]]:
        """(weights, paths, space, space for s, nodes) -> (`Layout.paths` rows, rows of s_1 to s_4, nodes of x_o, w_o, s_1, d, s_3)."""
        layout = self.layout

        def kernel(weights: Weights, paths: Paths, space: Float, numbers: Float, nodes: Nodes) -> tuple[Float, Float, Nodes]:
            batch, row, lane = self._batch(paths), paths.rows, dr.arange(UInt32, dr.width(paths.rows))
            s1, s2 = geometry.height_and_turn(geometry.unit(_vectors(paths.u, row) - batch.x_o))
            exit_ = Exit.at(s1, s2, batch.x_o, batch.n, weights.proxy, layout.planes)
            s3, s4 = geometry.direction_to_square(_vectors(paths.w_i, row), exit_.d, batch.n)
            rows = self._site_rows(weights, batch, row) + self._second_rows(weights, batch, row, s1)
            spot = self._spot_rows(weights, batch, row, batch.n, batch.w_o, exit_)
            place = Place(lane, paths.width)
            place.write(space, layout.paths, rows + self._fourth_rows(weights, spot, s3))
            place.write(numbers, STEPS, [s1, s2, s3, s4])
            of_exit = tables.on_cube(exit_.axis, layout.cubemap)
            found = self._site_nodes(batch) + tables.on_line(s1, layout.line) + of_exit + tables.on_line(s3, layout.line)
            _write(nodes, Place(lane, paths.count), found)
            return space, numbers, nodes

        return frozen(kernel, "space", "numbers", "nodes")

    @cached_property
    def gradient(self) -> Callable[..., tuple[Float, Float]]:
        """(step j, raw numbers, s, weights of the channels, lanes of a tile, space) -> (sum over channels of weight times log p, its
        gradient with respect to the raw numbers).
        """

        def kernel(j: int, raw: Float, numbers: Float, weight: Array3f, width: UInt32, space: Float) -> tuple[Float, Float]:
            place = Place(dr.arange(UInt32, dr.width(weight)), width)
            s, total = place.read(numbers, STEPS, j, 1)[0], Float(0)
            for spline, w in zip(self._splines(j, raw, place), weight, strict=True):
                value, gradient = with_gradient(spline, s)
                total += w * value
                spline.write(space, [w * x for x in gradient])
            return total, space

        return frozen(kernel, "space")


def _vectors(column: Float, rows: UInt32) -> Array3f:
    return dr.gather(Array3f, column, rows)


def _write(nodes: Nodes, place: Place, rows: Rows) -> None:
    place.write(nodes.rows, len(rows), [row for row, _ in rows])
    place.write(nodes.weights, len(rows), [weight for _, weight in rows])


@cache
def training_kernels(layout: Layout) -> TrainingKernels:
    """The kernels of a layout, shared by all models that have it."""
    return TrainingKernels(layout)
