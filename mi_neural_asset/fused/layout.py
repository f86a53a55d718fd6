"""Which rows of numbers a lane has, which memory kernels read of a model, and which models they can do.

Names: site, what all networks read about (x_o, w_o); spot, what networks 3 and 4 read about u_i.
"""

from __future__ import annotations

from dataclasses import dataclass

import mitsuba as mi
import torch
from drjit.llvm import Float, UInt32

from ..model.encoding import Grid
from ..model.flow import PERIODIC
from ..model.probes import AZIMUTHS, BANDS, CHANNELS
from ..model.transport import Transport
from ..splines.llvm import MAX_KNOTS, packet_size
from ..splines.plain import raw_size
from . import tables
from .tables import words
from .tiles import memory_of

PLAIN = 7  # numbers about (x_o, w_o) for all networks: n, w_o, cos(theta_o)
DEPARTURE, VIEW, ABOUT_EXIT = 3, 3, 5  # for networks 3 and 4: how w_i departs from d, w_o as seen from there, u_i
STEPS = 4


@dataclass(frozen=True)
class Layout:
    """The sizes that kernels depend on."""

    features: int
    width: int
    knots: int
    occlusion: int
    probes: bool
    triplane: int
    cubemap: int
    line: int
    planes: int  # of the proxy, 0: a sphere
    half: bool  # networks give bfloat16 of splines

    @classmethod
    def of(cls, model: Transport, half: bool = False) -> Layout:
        """Of a model in local coordinates."""
        config = model.config
        return cls(config.features, config.width, config.knots, config.occlusion, config.probes > 0,
                   config.triplane, config.cubemap, config.line, len(_half_spaces(model)), half)  # fmt: skip

    @property
    def around(self) -> int:
        """Numbers of a lane that `Occlusion` tells."""
        return 2 * self.occlusion + (2 * tables.CORNERS if self.probes else 0)

    @property
    def own(self) -> int:
        """Rows of a site that one network alone reads."""
        return 2 * self.features

    @property
    def common(self) -> int:
        """Rows of a site that several networks read."""
        return PLAIN + (CHANNELS * BANDS if self.probes else 0) + 2 * self.occlusion

    @property
    def site(self) -> int:
        """Rows of a site: those of one network each, those of several, and ones."""
        return (STEPS + 1) * self.own + self.common + 1

    @property
    def second(self) -> int:
        """Rows that network 2 reads beside the site."""
        return (CHANNELS * AZIMUTHS if self.probes else 0) + self.features

    @property
    def shared(self) -> int:
        """Rows of a spot that networks 3 and 4 both read."""
        return (DEPARTURE if self.probes else 0) + VIEW + ABOUT_EXIT

    @property
    def spot(self) -> int:
        """Rows of a spot: network 3 reads all but the last `features`, network 4 all but the first."""
        return 2 * self.features + self.shared

    @property
    def fourth(self) -> int:
        """Rows that network 4 reads beside the site."""
        return self.shared + 2 * self.features

    @property
    def paths(self) -> int:
        """Rows that a bake has of a path: a site, what network 2 reads beside it, a spot, and the rest of `fourth`."""
        return self.site + self.second + self.spot + self.features

    def spline(self, j: int) -> int:
        """Numbers from the beginning of one spline of step j (0 to 3) to that of the next: the raw ones, filled up to whole packets."""
        packet = packet_size(self.half)
        return packet * -(-raw_size(self.knots, PERIODIC[j]) // packet)

    def raw(self, j: int) -> int:
        """Numbers of step j of all channels."""
        return CHANNELS * self.spline(j)


@dataclass
class Weights:
    """What kernels read of a model."""

    positions: Float
    directions: Float
    s1: Float
    exits: Float
    s3: Float
    bands: Float
    rings: UInt32  # bytes of the tables
    departures: Float
    proxy: Float

    @classmethod
    def of(cls, model: Transport) -> Weights:
        """Grids and tables of a model on the CPU; the grids are shared with torch."""
        nothing = torch.zeros(1, 1)
        bands, departures = (model.probes.bands_read(), model.probes.departures_read()) if model.probes else (nothing, nothing)
        rings = model.probes.rings_of_bands() if model.probes else nothing.byte()
        planes = _half_spaces(model)
        proxy = torch.tensor(planes) if planes else torch.tensor([model.proxy.radius])
        return cls(*_read(model), memory_of(bands), words(rings), memory_of(departures), memory_of(proxy))

    def now(self, model: Transport) -> Weights:
        """The same tables with the grids as they are now."""
        return Weights(*_read(model), self.bands, self.rings, self.departures, self.proxy)


def grids(model: Transport) -> list[Grid]:
    """A model's grids in the order of `Weights`."""
    return [model.position_grid, model.direction_grid, model.flow.s1_grid, model.flow.exit_grid, model.flow.s3_grid]


def _read(model: Transport) -> list[Float]:
    return [memory_of(grid.table) for grid in grids(model)]


def _half_spaces(model: Transport) -> list[list[float]]:
    """Of the proxy; none: a sphere."""
    return [] if model.proxy.kind == "sphere" else model.proxy.half_spaces().tolist()


class Inputs:
    """Which columns of a network's input are which rows; networks 0 to 3, 4: the albedo's.

    Args:
        layout: of the model.
        begin: `Transport.site_inputs`.
    """

    def __init__(self, layout: Layout, begin: list[int]) -> None:
        self._layout, self._begin = layout, begin
        self.own = list(range(layout.own))  # of all networks

    def common(self, j: int) -> list[int]:
        """Rows of every site, in their order; -1: network j does not read the row."""
        read = range(self._layout.own, self._begin[j])
        return [*read, *(self._layout.common - len(read)) * [-1]]

    def extra(self, j: int) -> list[int]:
        """What network j (1 to 3) reads beside the site: in the order of `Layout.second`, of a spot, and of `Layout.fourth`."""
        layout, begin = self._layout, self._begin[j]
        f, seen = layout.features, layout.shared - ABOUT_EXIT
        if j == 1:
            return list(range(begin, begin + layout.second))
        own = begin + seen
        plain = own + f
        rest = plain + ABOUT_EXIT
        shared = [*range(begin, own), *range(plain, rest)]
        return [*range(own, plain), *shared] if j == 2 else [*shared, *range(own, plain), *range(rest, rest + f)]


def hindrance(module: torch.nn.Module, device: torch.device | str) -> str:
    """Why these kernels cannot do a model; "" if they can."""
    if torch.device(device).type != "cpu":
        return f"evaluates networks on the CPU, not on {str(device)!r}"
    if not mi.variant().startswith("llvm"):
        return f"needs an LLVM variant of Mitsuba, not {mi.variant()!r}"
    if type(module) is not Transport:
        return f"does not know models of the kind {type(module).__name__}"
    if module.config.coordinates != "local":
        return f"does not know the coordinates {module.config.coordinates!r}"
    if module.config.knots > MAX_KNOTS:
        return f"is made for {MAX_KNOTS} bins at most, the asset has {module.config.knots}"
    return ""
