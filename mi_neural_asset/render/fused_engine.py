"""The engine of the CPU: matrix products by torch, tile by tile on all cores, and Dr.Jit kernels for everything in between.

What is known of a hit is kept for all that is asked about it: each network's sums over what it reads about (x_o, w_o), and
the raw numbers of steps 1 and 3.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import drjit as dr
import mitsuba as mi
import torch
from drjit.llvm import Array3f, Float, UInt32
from torch import Tensor

from ..fused.kernels import Batch, First, Second, Some, kernels
from ..fused.layout import STEPS, Inputs, Layout, Weights
from ..fused.network import Chain, first_columns
from ..fused.tiles import LANES, Tiles, for_tiles, memory_of
from ..interop import to_columns
from ..model.probes import CHANNELS
from .engine import Networks

CHUNK = 32 * LANES  # evaluated at once


@dataclass
class Part:
    """A chunk of a batch of events."""

    first: int  # lanes before it
    tiles: Tiles  # of lanes
    sites: Tiles  # of hits
    copies: int  # consecutive lanes that share a hit
    batch: Batch
    sums: Float  # over the sites, of networks 2 to 4
    raw_1: Float  # of the sites
    raw_3: Float
    spot: Float
    one: First
    two: Second


@dataclass
class Event:
    """One batch of neural scattering events; the renderer treats it as opaque."""

    parts: list[Part]


class Picked:
    """Where sums that are known of hits lie for the lanes of other tiles.

    Args:
        hits: of each lane, ascending, int64.
        sites: tiles of the hits.
        tiles: of the lanes.
    """

    def __init__(self, hits: Tensor, sites: Tiles, tiles: Tiles) -> None:
        self._column, self._width, self._count = hits % sites.width, tiles.width, len(hits)
        self._ends = torch.searchsorted(hits, torch.arange(1, sites.number + 1) * sites.width).tolist()  # lanes up to each tile's last hit

    def parts(self, k: int) -> Iterator[tuple[int, slice, Tensor]]:
        """Of tile k of the lanes: a tile of hits, the lanes whose hits are there, and in which columns."""
        lane, first = k * self._width, k * self._width
        end = min(lane + self._width, self._count)
        tile = bisect_right(self._ends, lane)
        while lane < end:
            until = min(self._ends[tile], end)
            if until > lane:
                yield tile, slice(lane - first, until - first), self._column[lane:until]
            lane, tile = until, tile + 1


@dataclass
class Chosen:
    """Some lanes of a part, how they themselves lie in tiles, and where to find sums over their sites; None: in their order."""

    some: Some
    tiles: Tiles
    picked: Picked | None

    @classmethod
    def of(cls, part: Part, lanes: Tensor) -> Chosen:
        """Of lanes of the part, ascending, int32."""
        every = len(lanes) == part.tiles.count
        tiles = part.tiles if every else Tiles(len(lanes))
        some = Some(UInt32(lanes.view(torch.uint32)), tiles.opaque())
        return cls(some, tiles, None if every else Picked(lanes.long() // part.copies, part.sites, tiles))


class FusedEngine(Networks):
    """Evaluates one transport model in local coordinates; methods are those of `mi_neural_asset.render.engine.Engine`.

    Lanes that are asked about ascend.

    Args:
        model: a `Transport` on the CPU.
        half: layers behind the first are multiplied in bfloat16, but for the albedo's.
    """

    def __init__(self, model: torch.nn.Module, half: bool = False) -> None:
        super().__init__(model)
        self._layout = layout = Layout.of(model, half)
        self._kind = kind = torch.bfloat16 if half else torch.float32
        self._kernels = kernels(layout)
        self._weights = Weights.of(model)
        networks, inputs = [*model.flow.steps, model.albedo_net], Inputs(layout, model.site_inputs())
        self._chains = [*(Chain(network, layout.spline(j), kind) for j, network in enumerate(model.flow.steps)), Chain(model.albedo_net)]
        self._own = [first_columns(network, inputs.own) for network in networks]
        self._common = [first_columns(network, inputs.common(j), bias=True) for j, network in enumerate(networks)]
        self._sums = torch.cat(self._common[1:STEPS])
        self._extra = [first_columns(networks[j], inputs.extra(j)) for j in range(1, STEPS)]

    @torch.no_grad()
    def begin(
        self, x_o: mi.Point3f, w_o: mi.Vector3f, n: mi.Vector3f, occlusion: Tensor, u_channel: mi.Float, u_exit: mi.Point2f, hero: bool
    ) -> Event:
        """Albedo and u_i for lanes that hit the asset; where there are more uniform numbers than hits, as many exits of each."""
        columns, numbers = to_columns(x_o, w_o, n), to_columns(u_channel, u_exit)
        count, parts = columns[0].shape[0], []
        copies = numbers[0].shape[0] // count
        hits = max(CHUNK // copies, 1)  # at once
        for k in range(0, count, hits):
            own, drawn = ([_lanes(x, k * m, (k + hits) * m) for x in some] for some, m in ((columns, 1), (numbers, copies)))
            parts.append(self._begin(k * copies, own, _lanes(occlusion, k, k + hits), drawn, hero))
        return Event(parts)

    def _begin(self, first: int, columns: list[Float], around: Float, numbers: list[Float], hero: bool) -> Part:
        layout, run, weights = self._layout, self._kernels, self._weights
        copies = dr.width(numbers[0]) // dr.width(columns[0])
        tiles = Tiles(dr.width(numbers[0]), LANES // copies * copies)
        hits = tiles.shared(copies)
        vectors = [Array3f(columns[k : k + 3]) for k in (0, 3, 6)]
        z_channel, z_1, z_2 = numbers
        batch = Batch(*vectors, around, tiles.opaque(), dr.opaque(UInt32, copies))
        sites = run.site(weights, batch, hits.empty(layout.site))
        sums, albedo, raw_1 = self._from_sites(hits, sites)
        one, rows = run.first(weights, batch, albedo, raw_1, z_channel, z_1, tiles.empty(layout.second), hero)
        raw_2 = self._network(1, tiles, sums, rows, hits)
        two, spot = run.second(weights, batch, one, raw_2, z_2, tiles.empty(layout.spot))
        raw_3 = self._network(2, tiles, sums, spot, hits)
        return Part(first, tiles, hits, copies, batch, sums, raw_1, raw_3, spot, one, two)

    def _from_sites(self, tiles: Tiles, sites: Float) -> tuple[Float, Float, Float]:
        """(sums of networks 2 to 4, outputs of the albedo network, raw numbers of step 1)."""
        layout = self._layout
        width, own = layout.width, layout.own
        sums, albedo, raw = tiles.space((STEPS - 1) * width), tiles.space(CHANNELS), tiles.records(layout.raw(0), self._kind)

        def work(k: int) -> None:
            rows, common = site[k], site[k, (STEPS + 1) * own :]
            torch.mm(self._sums, common, out=sums[k])
            for j in range(1, STEPS):
                sums[k, (j - 1) * width : j * width].addmm_(self._own[j], rows[j * own : (j + 1) * own])
            for j, out in ((0, raw), (STEPS, albedo)):
                features = self._chains[j].begin(tiles.width)
                torch.mm(self._common[j], common, out=features)
                features.addmm_(self._own[j], rows[j * own : (j + 1) * own])
                self._chains[j].finish(out[k])

        site = tiles.tensor(sites)
        for_tiles(work, tiles.number)
        return memory_of(sums), memory_of(albedo), memory_of(raw)

    def _network(self, j: int, tiles: Tiles, sums: Float, rows: Float, sites: Tiles, picked: Picked | None = None) -> Float:
        """Raw numbers of step j (1 to 3) from sums over the sites and what it reads besides.

        Args:
            sites: how the sums lie.
            picked: which of them the lanes want; None: each as many lanes, in their order.
        """
        raw = tiles.records(self._layout.raw(j), self._kind)
        chain, weight = self._chains[j], self._extra[j - 1]
        which, used = slice((j - 1) * chain.width, j * chain.width), weight.shape[1]

        def work(k: int) -> None:
            features = chain.begin(tiles.width)
            if picked:
                torch.mm(weight, beside[k, :used], out=features)
                for tile, lanes, columns in picked.parts(k):
                    features[:, lanes].add_(known[tile, which].index_select(1, columns))
            elif sites.width == tiles.width:
                torch.addmm(known[k, which], weight, beside[k, :used], out=features)
            else:
                torch.mm(weight, beside[k, :used], out=features)
                features.add_(known[k, which].index_select(1, of_hit))  # twice as fast as the sum of a tensor that is expanded
            chain.finish(raw[k])

        known, beside = sites.tensor(sums), tiles.tensor(rows)
        of_hit = torch.arange(tiles.width) // max(tiles.width // sites.width, 1)  # of each lane of a tile, where nobody picks
        for_tiles(work, tiles.number)
        return memory_of(raw)

    def exit_point(self, event: Event) -> mi.Point3f:
        """u_i, normalised."""
        return mi.Point3f(_joined([part.two.u for part in event.parts]))

    def albedo(self, event: Event) -> mi.Color3f:
        """alpha."""
        return mi.Color3f(_joined([part.one.albedo for part in event.parts]))

    def exit_density(self, event: Event) -> mi.Float:
        """q(u) of the exits that were drawn, per solid angle at x_o."""
        return _joined([part.two.density for part in event.parts])[0]

    @torch.no_grad()
    def evaluate(self, event: Event, lanes: mi.UInt32, w: mi.Vector3f) -> tuple[mi.Color3f, mi.Float]:
        """For some lanes, directions w (asset frame): alpha p(u) p(w | u) / q(u) and the density q(w | u)."""
        value, density = self._for_some(event, lanes, [w], self._evaluate)
        return mi.Color3f(value), density[0]

    @torch.no_grad()
    def evaluate_ray(
        self, event: Event, lanes: mi.UInt32, u: mi.Point3f, w: mi.Vector3f, bar: mi.Float, z: mi.Float
    ) -> tuple[mi.Color3f, mi.Float, mi.Float]:
        """For some lanes, incident rays that were found without the networks, u and w in the asset's frame; networks 3 and 4 are asked
        about those that go on alone.
        """
        value, of_u, of_w = self._for_some(event, lanes, [u, w, bar, z], self._evaluate_ray)
        return mi.Color3f(value), of_u[0], of_w[0]

    @torch.no_grad()
    def draw(self, event: Event, lanes: mi.UInt32, z: mi.Point2f) -> tuple[mi.Vector3f, mi.Color3f, mi.Float]:
        """For some lanes: w_i (asset frame), weight alpha p / q and the density q(w_i | u_i), from uniform z."""
        w, weight, density = self._for_some(event, lanes, [z], self._draw)
        return mi.Vector3f(w), mi.Color3f(weight), density[0]

    def _for_some(self, event: Event, lanes: mi.UInt32, values: list, function: Callable[..., tuple]) -> list[list[mi.Float]]:
        """function(part, chosen, columns of values) for all parts, joined: for each result its columns."""
        found = [function(*arguments) for arguments in self._split(event, lanes, to_columns(*values))]
        return [_joined(list(column)) for column in zip(*found, strict=True)]

    def _split(self, event: Event, lanes: mi.UInt32, columns: list[Tensor]) -> Iterator[tuple[Part, Chosen, list[Float]]]:
        index = lanes.torch().view(torch.int32)
        begin = 0
        for part in event.parts:
            end = int(torch.searchsorted(index, part.first + part.tiles.count))
            if end > begin:
                own = index[begin:end] - part.first
                yield part, Chosen.of(part, own), [_lanes(column, begin, end) for column in columns]
            begin = end

    def _asked(self, j: int, part: Part, chosen: Chosen, rows: Float) -> Float:
        """Raw numbers of step j (1 to 3) for some lanes of a part."""
        return self._network(j, chosen.tiles, part.sums, rows, part.sites, chosen.picked)

    def _draw(self, part: Part, chosen: Chosen, z: list[Float]) -> tuple[Array3f, Array3f, Float]:
        run, some, channel, space = self._kernels, chosen.some, part.one.channel, chosen.tiles.empty(self._layout.fourth)
        s3, log_p, rows = run.draw_third(self._weights, part.batch, some, channel, part.raw_3, part.spot, z[0], space)
        return run.draw_fourth(part.batch, some, channel, part.two, self._asked(3, part, chosen, rows), s3, log_p, z[1])

    def _evaluate(self, part: Part, chosen: Chosen, w: list[Float]) -> tuple[Array3f, Float]:
        run, some, space = self._kernels, chosen.some, chosen.tiles.empty(self._layout.fourth)
        s4, log_p, rows = run.evaluate_third(self._weights, part.batch, some, part.two, part.raw_3, part.spot, Array3f(w), space)
        return run.evaluate_fourth(some, part.two, self._asked(3, part, chosen, rows), s4, log_p)

    def _evaluate_ray(self, part: Part, chosen: Chosen, ray: list[Float]) -> tuple[Array3f, Float, Float]:
        run, layout, weights, batch = self._kernels, self._layout, self._weights, part.batch
        some, (*u_w, bar, z) = chosen.some, ray
        s1, s2, log_p, rows = run.ray_first(weights, batch, some, part.raw_1, Array3f(u_w[:3]), chosen.tiles.empty(layout.second))
        value, density, mixture, goes_on = run.ray_second(some, part.one, self._asked(1, part, chosen, rows), s2, log_p, bar, z)
        found, of_w = dr.zeros(Array3f, dr.width(density)), dr.zeros(Float, dr.width(density))
        which = dr.compress(goes_on)
        if dr.width(which):
            chosen = Chosen.of(part, dr.gather(UInt32, some.lanes, which).torch().view(torch.int32).clone())
            some, tiles = chosen.some, chosen.tiles
            d, spot = run.ray_spot(weights, batch, some, which, s1, s2, tiles.empty(layout.spot))
            raw_3 = self._asked(2, part, chosen, spot)
            s4, log_p, rows = run.ray_third(
                weights, batch, some, which, raw_3, spot, d, Array3f(u_w[3:]), tiles.empty(layout.fourth)
            )
            ends = run.ray_fourth(some, which, self._asked(3, part, chosen, rows), s4, log_p, value, mixture)
            for target, numbers in zip((found, of_w), ends, strict=True):
                dr.scatter(target, numbers, which, mode=dr.ReduceMode.Permute)
        return found, density, of_w


def _lanes(column: Tensor, begin: int, end: int) -> Float:
    """A copy of some lanes of a column.

    Memory that a kernel has used is freed by a worker of Dr.Jit.  Were it a tensor of Dr.Jit's own memory, the worker would wait for
    Dr.Jit's lock with Python's in hand, and the thread that is calling a frozen function for Python's with Dr.Jit's in hand.
    """
    some = column[begin:end].reshape(-1)
    return Float(some.clone() if some.numel() else torch.zeros(1))  # a frozen function's argument cannot be empty


def _joined(parts: list) -> list[mi.Float]:
    """The columns of results of several parts."""
    if len(parts) == 1:
        return [mi.Float(column) for column in _parts_of(parts[0])]
    dr.eval(parts)
    return [mi.Float(torch.cat([column.torch() for column in columns])) for columns in zip(*map(_parts_of, parts), strict=True)]


def _parts_of(value) -> list:  # noqa: ANN001
    return list(value) if dr.depth_v(value) > 1 else [value]
