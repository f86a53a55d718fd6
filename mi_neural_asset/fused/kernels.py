"""What happens between the networks of one event, each step a single Dr.Jit kernel.

A kernel is traced and compiled once for a `Layout` (`dr.freeze`) and then launched again, whatever the model and the number of
lanes.  It reads and writes numbers of lanes in tiles (`Place`).  A frozen function takes launch sizes from its inputs: memory that
it writes to has to be one of them.

Names: site, what all networks read about (x_o, w_o); spot, what networks 3 and 4 read about u_i.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import drjit as dr
from drjit.llvm import Array3f, Bool, Float, UInt32

from ..model.flow import PERIODIC
from ..model.probes import CHANNELS
from ..model.transport import ALBEDO_OFFSET
from ..splines.llvm import Spline, frozen, softplus
from . import geometry, tables
from .geometry import LOG_SPHERE, Exit
from .layout import STEPS, Layout, Weights
from .tables import Corners
from .tiles import Place


@dataclass
class Batch:
    """Hits of the asset, each of them shared by a number of consecutive lanes: exits that are drawn there."""

    x_o: Array3f
    w_o: Array3f
    n: Array3f
    around: Float  # what `Occlusion` says about them
    width: UInt32  # lanes of a tile
    copies: UInt32  # lanes of a hit

    def hit(self, lane: UInt32) -> UInt32:
        """Which hit a lane is of."""
        return lane // self.copies

    def place(self, hit: UInt32) -> Place:
        """Of numbers that hits have; their tiles are those of their lanes."""
        return Place(hit, self.width // self.copies)


@dataclass
class First:
    """What is known once s1 has been drawn."""

    albedo: Array3f
    choice: Array3f
    channel: UInt32
    s1: Float
    log_p: Array3f


@dataclass
class Second:
    """What is known once u_i has been drawn; see `mi_neural_asset.render.engine.Event`."""

    u: Array3f
    d: Array3f
    density: Float
    factor: Array3f
    mixture: Array3f


@dataclass
class Some:
    """Some lanes of a batch, and how they themselves lie in tiles."""

    lanes: UInt32
    width: UInt32


def _take(value, lanes: UInt32):  # noqa: ANN001, ANN202
    return dr.gather(type(value), value, lanes)


class Kernels:
    """All kernels of one layout; arguments and results are `Float`s and the dataclasses above."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def _splines(self, j: int, raw: Float, place: Place) -> list[Spline]:
        layout = self.layout
        return [Spline(raw, place.lane * CHANNELS + c, layout.knots, PERIODIC[j], layout.spline(j)) for c in range(CHANNELS)]

    def _log_density(self, j: int, raw: Float, place: Place, s: Float) -> Array3f:
        """Of all channels at s."""
        return Array3f([spline.log_density(s) for spline in self._splines(j, raw, place)])

    def _draw(self, j: int, raw: Float, place: Place, z: Float, channel: UInt32) -> tuple[Float, Array3f]:
        """s of one channel, and log densities of all channels there."""
        splines = self._splines(j, raw, place)
        s = Spline.chosen(splines, channel).sample(z)
        return s, Array3f([spline.log_density(s) for spline in splines])

    def _corners(self, batch: Batch, hit: UInt32) -> Corners:
        return Corners.read(batch.around, hit, self.layout.around)

    def _site_rows(self, weights: Weights, batch: Batch, hit: UInt32) -> list[Float]:
        layout, f = self.layout, self.layout.features
        at = tables.look_up(weights.positions, (STEPS + 1) * f, tables.on_planes(batch.x_o, layout.triplane))
        towards = tables.look_up(weights.directions, (STEPS + 1) * f, tables.on_cube(batch.w_o, layout.cubemap))
        rows = [x for j in range(STEPS + 1) for part in (at, towards) for x in part[j * f : (j + 1) * f]]
        rows += [*batch.n, *batch.w_o, dr.dot(batch.n, batch.w_o)]
        if layout.probes:
            rows += self._corners(batch, hit).bands(weights.bands)
        rows += [dr.gather(Float, batch.around, hit * layout.around + k) for k in range(2 * layout.occlusion)]
        return [*rows, Float(1)]

    def _second_rows(self, weights: Weights, batch: Batch, hit: UInt32, s1: Float) -> list[Float]:
        ring = self._corners(batch, hit).ring(weights.rings, s1) if self.layout.probes else []
        return ring + tables.look_up(weights.s1, self.layout.features, tables.on_line(s1, self.layout.line))

    def _spot_rows(self, weights: Weights, batch: Batch, hit: UInt32, n: Array3f, w_o: Array3f, exit_: Exit) -> list[Float]:
        layout = self.layout
        found = tables.look_up(weights.exits, 2 * layout.features, tables.on_cube(exit_.axis, layout.cubemap))
        shared = geometry.view(w_o, exit_.d, n) + exit_.extra()
        if layout.probes:
            mean, spread = self._corners(batch, hit).departure(weights.departures, *geometry.height_and_turn(exit_.d))
            shared = geometry.departure(mean, spread, exit_.d, n) + shared
        return found[: layout.features] + shared + found[layout.features :]

    def _fourth_rows(self, weights: Weights, spot: list[Float], s3: Float) -> list[Float]:
        return spot + tables.look_up(weights.s3, self.layout.features, tables.on_line(s3, self.layout.line))

    def _read_spot(self, spot: Float, place: Place) -> list[Float]:
        """What network 4 reads of it."""
        layout = self.layout
        return place.read(spot, layout.spot, layout.features, layout.spot - layout.features)

    def _third(
        self, weights: Weights, raw: Float, spot: Float, place: Place, d: Array3f, n: Array3f, w: Array3f, rows: Float, target: Place
    ) -> tuple[Float, Array3f, Float]:
        """For given w: (s4, log p of s3 per solid angle, what network 4 reads), raw numbers and spots at `place`."""
        s3, s4 = geometry.direction_to_square(w, d, n)
        log_p = self._log_density(2, raw, place, s3) + geometry.log_direction_density(s3)
        target.write(rows, self.layout.fourth, self._fourth_rows(weights, self._read_spot(spot, place), s3))
        return s4, log_p, rows

    @cached_property
    def site(self) -> Callable[[Weights, Batch, Float], Float]:
        """(weights, batch, space) -> rows of the sites."""
        def kernel(weights: Weights, batch: Batch, space: Float) -> Float:
            hit = dr.arange(UInt32, dr.width(batch.x_o))
            batch.place(hit).write(space, self.layout.site, self._site_rows(weights, batch, hit))
            return space

        return frozen(kernel, "space")

    @cached_property
    def first(self) -> Callable[..., tuple[First, Float]]:
        """(weights, batch, albedo outputs, raw 1, z_channel, z, space, hero) -> (First, what network 2 reads)."""

        def kernel(
            weights: Weights, batch: Batch, albedo: Float, raw: Float, z_channel: Float, z: Float, space: Float, hero: bool
        ) -> tuple[First, Float]:
            lane = dr.arange(UInt32, dr.width(z))
            place = batch.place(batch.hit(lane))
            α = Array3f([softplus(x + ALBEDO_OFFSET) for x in place.read(albedo, CHANNELS, 0, CHANNELS)])
            choice = Array3f(1 / 3) + dr.zeros(Array3f, dr.width(z)) if hero else (α + 1e-8) / dr.sum(α + 1e-8)
            channel = dr.select(z_channel >= choice.x, UInt32(1), 0) + dr.select(z_channel >= choice.x + choice.y, UInt32(1), 0)
            s1, log_p = self._draw(0, raw, place, z, channel)
            if hero:
                choice = Array3f([dr.select(channel == c, Float(1), 0) for c in range(CHANNELS)])
            Place(lane, batch.width).write(space, self.layout.second, self._second_rows(weights, batch, place.lane, s1))
            return First(α, choice, channel, s1, log_p), space

        return frozen(kernel, "space")

    @cached_property
    def second(self) -> Callable[..., tuple[Second, Float]]:
        """(weights, batch, First, raw 2, z, space) -> (Second, rows of the spots)."""
        layout = self.layout

        def kernel(weights: Weights, batch: Batch, first: First, raw: Float, z: Float, space: Float) -> tuple[Second, Float]:
            lane = dr.arange(UInt32, dr.width(z))
            place, hit = Place(lane, batch.width), batch.hit(lane)
            x_o, w_o, n = (_take(value, hit) for value in (batch.x_o, batch.w_o, batch.n))
            s2, log_p = self._draw(1, raw, place, z, first.channel)
            exit_ = Exit.at(first.s1, s2, x_o, n, weights.proxy, layout.planes)
            p = dr.exp(first.log_p + log_p - LOG_SPHERE)
            density = dr.dot(first.choice, p)
            place.write(space, layout.spot, self._spot_rows(weights, batch, hit, n, w_o, exit_))
            return Second(exit_.u, exit_.d, density, first.albedo * p / density, first.choice * p / density), space

        return frozen(kernel, "space")

    @cached_property
    def draw_third(self) -> Callable[..., tuple]:
        """(weights, batch, some, channel, raw 3, spot, z, space) -> (s3, log p, what network 4 reads)."""
        layout = self.layout

        def kernel(
            weights: Weights, batch: Batch, some: Some, channel: UInt32, raw: Float, spot: Float, z: Float, rows: Float
        ) -> tuple:
            place, target = Place(some.lanes, batch.width), Place(dr.arange(UInt32, dr.width(z)), some.width)
            s3, log_p = self._draw(2, raw, place, z, _take(channel, some.lanes))
            target.write(rows, layout.fourth, self._fourth_rows(weights, self._read_spot(spot, place), s3))
            return s3, log_p + geometry.log_direction_density(s3), rows

        return frozen(kernel, "rows")

    @cached_property
    def draw_fourth(self) -> Callable[..., tuple[Array3f, Array3f, Float]]:
        """(batch, some, channel, Second, raw 4, s3, log p, z) -> (w, weight, density)."""

        def kernel(
            batch: Batch, some: Some, channel: UInt32, second: Second, raw: Float, s3: Float, log_p: Array3f, z: Float
        ) -> tuple[Array3f, Array3f, Float]:
            lanes = some.lanes
            place = Place(dr.arange(UInt32, dr.width(z)), some.width)
            s4, more = self._draw(3, raw, place, z, _take(channel, lanes))
            p = dr.exp(log_p + more)
            density = dr.dot(_take(second.mixture, lanes), p)
            w = geometry.direction(s3, s4, _take(second.d, lanes), _take(batch.n, batch.hit(lanes)))
            return w, _take(second.factor, lanes) * p / density, density

        return frozen(kernel)

    @cached_property
    def evaluate_third(self) -> Callable[..., tuple]:
        """(weights, batch, some, Second, raw 3, spot, w, space) -> (s4, log p, what network 4 reads)."""
        def kernel(
            weights: Weights, batch: Batch, some: Some, second: Second, raw: Float, spot: Float, w: Array3f, rows: Float
        ) -> tuple:
            place, target = Place(some.lanes, batch.width), Place(dr.arange(UInt32, dr.width(w)), some.width)
            d, n = _take(second.d, some.lanes), _take(batch.n, batch.hit(some.lanes))
            return self._third(weights, raw, spot, place, d, n, w, rows, target)

        return frozen(kernel, "rows")

    @cached_property
    def evaluate_fourth(self) -> Callable[..., tuple[Array3f, Float]]:
        """(some, Second, raw 4, s4, log p) -> (value, density)."""

        def kernel(some: Some, second: Second, raw: Float, s4: Float, log_p: Array3f) -> tuple[Array3f, Float]:
            place = Place(dr.arange(UInt32, dr.width(s4)), some.width)
            p = dr.exp(log_p + self._log_density(3, raw, place, s4))
            return _take(second.factor, some.lanes) * p, dr.dot(_take(second.mixture, some.lanes), p)

        return frozen(kernel)

    @cached_property
    def ray_first(self) -> Callable[..., tuple]:
        """(weights, batch, some, raw 1, u, space) -> (s1, s2, log p, what network 2 reads)."""
        layout = self.layout

        def kernel(weights: Weights, batch: Batch, some: Some, raw: Float, u: Array3f, rows: Float) -> tuple:
            place, target = batch.place(batch.hit(some.lanes)), Place(dr.arange(UInt32, dr.width(u)), some.width)
            s1, s2 = geometry.height_and_turn(geometry.unit(u - _take(batch.x_o, place.lane)))
            target.write(rows, layout.second, self._second_rows(weights, batch, place.lane, s1))
            log_p = self._log_density(0, raw, place, s1)
            return s1, s2, log_p, rows

        return frozen(kernel, "rows")

    @cached_property
    def ray_second(self) -> Callable[..., tuple]:
        """(some, First, raw 2, s2, log p, bar, z) -> (p alpha, density, mixture, who goes on); see `Engine.evaluate_ray`."""

        def kernel(
            some: Some, first: First, raw: Float, s2: Float, log_p: Array3f, bar: Float, z: Float
        ) -> tuple[Array3f, Float, Array3f, Bool]:
            place = Place(dr.arange(UInt32, dr.width(s2)), some.width)
            p = dr.exp(log_p + self._log_density(1, raw, place, s2) - LOG_SPHERE)
            choice = _take(first.choice, some.lanes)
            value, density = _take(first.albedo, some.lanes) * p, dr.dot(choice, p)
            chance = dr.minimum(dr.sum(value) / (3 * bar), 1)
            goes_on = (bar <= 0) | (z < chance)
            return dr.select(bar > 0, value / chance, value), density, choice * p / density, goes_on

        return frozen(kernel)

    @cached_property
    def ray_spot(self) -> Callable[..., tuple[Array3f, Float]]:
        """(weights, batch, some, which of the given s1 and s2 are theirs, s1, s2, space) -> (d, spots)."""
        layout = self.layout

        def kernel(
            weights: Weights, batch: Batch, some: Some, which: UInt32, s1: Float, s2: Float, rows: Float
        ) -> tuple[Array3f, Float]:
            hit = batch.hit(some.lanes)
            x_o, w_o, n = (_take(value, hit) for value in (batch.x_o, batch.w_o, batch.n))
            exit_ = Exit.at(_take(s1, which), _take(s2, which), x_o, n, weights.proxy, layout.planes)
            target = Place(dr.arange(UInt32, dr.width(which)), some.width)
            target.write(rows, layout.spot, self._spot_rows(weights, batch, hit, n, w_o, exit_))
            return exit_.d, rows

        return frozen(kernel, "rows")

    @cached_property
    def ray_third(self) -> Callable[..., tuple]:
        """(weights, batch, some, which of the given w are theirs, raw 3, spot, d, w, space) -> (s4, log p, what network 4 reads)."""
        def kernel(
            weights: Weights, batch: Batch, some: Some, which: UInt32, raw: Float, spot: Float, d: Array3f, w: Array3f, rows: Float
        ) -> tuple:
            target = Place(dr.arange(UInt32, dr.width(which)), some.width)
            n = _take(batch.n, batch.hit(some.lanes))
            return self._third(weights, raw, spot, target, d, n, _take(w, which), rows, target)

        return frozen(kernel, "rows")

    @cached_property
    def ray_fourth(self) -> Callable[..., tuple[Array3f, Float]]:
        """(some, which of the given numbers are theirs, raw 4, s4, log p, p alpha, mixture) -> (value, density of w)."""

        def kernel(
            some: Some, which: UInt32, raw: Float, s4: Float, log_p: Array3f, value: Array3f, mixture: Array3f
        ) -> tuple[Array3f, Float]:
            place = Place(dr.arange(UInt32, dr.width(s4)), some.width)
            p = dr.exp(log_p + self._log_density(3, raw, place, s4))
            return _take(value, which) * p, dr.dot(_take(mixture, which), p)

        return frozen(kernel)


@cache
def kernels(layout: Layout) -> Kernels:
    """The kernels of a layout, shared by all models that have it."""
    return Kernels(layout)
