"""Tables that tell the networks of u_i and of w_i what they cannot learn quickly, kept at points of the surface: the probes.

Near every probe a table holds, for each colour channel and each of BANDS x AZIMUTHS cells of the unit square (s1, s2), a density of
u_i; and, for cells POOL times as wide, how far w_i departs there from the direction of u_i.  The tables are made by
`mi_neural_asset.baking.transfer`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 3
BANDS, AZIMUTHS = 12, 24
POOL = 2
CORNERS = 3  # probes that a point lies between
PEAK = 8.0  # larger densities are told as this; their mean over the square is one
DARK = 0.01  # means of densities below are told as darkness, not as a shape
LEAST_SPREAD = 1e-3  # of w_i about the direction of u_i, radians


@dataclass
class Tables:
    """What is known of P probes."""

    density: Tensor  # [P, CHANNELS, BANDS, AZIMUTHS] of u_i over the square (s1, s2)
    departure: Tensor  # [P, BANDS / POOL, AZIMUTHS / POOL, 3] mean of w_i - d, d the direction of u_i
    spread: Tensor  # [P, BANDS / POOL, AZIMUTHS / POOL] root of the mean of |w_i - d|^2

    @classmethod
    def empty(cls) -> Tables:
        """Of no probe."""
        wide = BANDS // POOL, AZIMUTHS // POOL
        return cls(torch.zeros(0, CHANNELS, BANDS, AZIMUTHS), torch.zeros(0, *wide, 3), torch.zeros(0, *wide))


class ProbeTables(nn.Module):
    """The tables of `count` probes, as bytes; unused ones are zero.

    A byte v stands for a density PEAK (v / 255)^2, for a spread 2 (v / 255)^2, and for a component of a departure, in parts of the
    spread, (v - 128) / 127.  What is read are these numbers, made when they are first asked for.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._read: tuple[Tensor, int, tuple[Tensor, ...]] | None = None  # rings, their version, the numbers
        self.register_buffer("rings", torch.zeros(count, CHANNELS, BANDS, AZIMUTHS, dtype=torch.uint8))
        self.register_buffer("bands", torch.zeros(count, CHANNELS, BANDS, dtype=torch.uint8))
        self.register_buffer("departures", torch.zeros(count, BANDS // POOL, AZIMUTHS // POOL, 4, dtype=torch.uint8))

    band_inputs = CHANNELS * BANDS
    ring_inputs = CHANNELS * AZIMUTHS

    def fill(self, tables: Tables) -> None:
        """Take the tables of at most `count` probes."""
        rows = slice(len(tables.density))
        self.bands[rows] = _bytes(tables.density.mean(-1) / PEAK)
        spread = _bytes(tables.spread / 2)
        relative = tables.departure / tables.spread.clamp_min(LEAST_SPREAD)[..., None]
        self.departures[rows] = torch.cat([(relative.clamp(-1, 1) * 127 + 128).round().to(torch.uint8), spread[..., None]], -1)
        self.rings[rows] = _bytes(tables.density / PEAK)

    def of_bands(self, place: Tensor) -> Tensor:
        """The distribution over bands, in each channel relative to its mean: [N, CHANNELS BANDS].

        Args:
            place: numbers of three probes and their weights, [N, 6] (`mi_neural_asset.probes.ProbeMesh.place`).
        """
        rows, weights = _places(place)
        return _relative(_weighted(self._numbers()[0], rows, weights), BANDS)

    def of_ring(self, place: Tensor, s1: Tensor) -> Tensor:
        """The distribution over azimuths at the height s1 [N], in each channel relative to its mean: [N, CHANNELS AZIMUTHS]."""
        rows, weights = _at_height(*_places(place), s1, BANDS)
        return _relative(_weighted(self._numbers()[1], rows, weights), AZIMUTHS)

    def of_departure(self, place: Tensor, s1: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
        """How w_i departs from the direction of u_i at (s1, s2), [N] each: the mean in parts of the spread, [N, 3], and the spread,
        [N], zero where there is no probe.
        """
        size = AZIMUTHS // POOL
        rows, weights = _at_height(*_places(place), s1, BANDS // POOL)
        position = s2 * size - 0.5
        left = position.floor()
        along = (position - left)[:, None] * weights
        left = left.long()[:, None]
        rows = torch.cat([rows * size + left % size, rows * size + (left + 1) % size], -1)
        found = _weighted(self._numbers()[2], rows, torch.cat([weights - along, along], -1))
        return found[:, :3], found[:, 3]

    def bands_read(self) -> Tensor:
        """What the bytes of each probe's bands stand for, [count, CHANNELS BANDS]."""
        return (PEAK / 255**2 * self.bands.float().square()).flatten(1)

    def rings_of_bands(self) -> Tensor:
        """Bytes of each band's ring, [count BANDS, CHANNELS AZIMUTHS]."""
        return self.rings.transpose(1, 2).flatten(2).flatten(0, 1)

    def rings_read(self) -> Tensor:
        """What these stand for."""
        return PEAK / 255**2 * self.rings_of_bands().float().square()

    def departures_read(self) -> Tensor:
        """Of each wide cell's departure and spread, [count BANDS AZIMUTHS / POOL^2, 4]."""
        spread = 2 / 255**2 * self.departures[..., 3:].float().square()
        return torch.cat([(self.departures[..., :3].float() - 128) / 127, spread], -1).flatten(0, 2)

    def _numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of bands, rings and departures: made when they are first asked for."""
        if self._read is None or self._read[0] is not self.rings or self._read[1] != self.rings._version:
            self._read = self.rings, self.rings._version, (self.bands_read(), self.rings_read(), self.departures_read())
        return self._read[2]


def middles() -> tuple[Tensor, Tensor]:
    """s1 and s2 of the cells' middles, band by band: [BANDS AZIMUTHS] each."""
    s1, s2 = ((torch.arange(size) + 0.5) / size for size in (BANDS, AZIMUTHS))
    return s1.repeat_interleave(AZIMUTHS), s2.repeat(BANDS)


def _places(place: Tensor) -> tuple[Tensor, Tensor]:
    return place[:, :CORNERS].long(), place[:, CORNERS:]


def _at_height(rows: Tensor, weights: Tensor, s1: Tensor, bands: int) -> tuple[Tensor, Tensor]:
    """Rows of the two bands around s1 and their weights, from those of the probes."""
    position = (s1 * bands - 0.5).clamp(0, bands - 1)
    band = position.long().clamp_max(bands - 2)[:, None]
    along = (position[:, None] - band) * weights
    rows = rows * bands + band
    return torch.cat([rows, rows + 1], -1), torch.cat([weights - along, along], -1)


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1).sqrt() * 255).round().to(torch.uint8)


def _weighted(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """sum_k weights[:, k] table[rows[:, k]]."""
    return functional.embedding_bag(rows, table.to(weights.dtype), mode="sum", per_sample_weights=weights)


def _relative(values: Tensor, size: int) -> Tensor:
    """Each channel relative to its mean."""
    values = values.unflatten(1, (CHANNELS, size))
    return (values / (values.mean(-1, keepdim=True) + DARK)).flatten(1)
