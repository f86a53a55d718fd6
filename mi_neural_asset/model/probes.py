"""Where light leaves that meets the surface near a probe: tables that tell the networks of u_i what they cannot learn quickly.

A probe is a point of the surface with, for each colour channel and each of BANDS x AZIMUTHS directions d, the mean of |n . d| V(d)
over the places where paths that enter there leave (V: nothing of the asset is in the way).  Directions are those of the unit
square (s1, s2) of local coordinates: bands of equal area in s1, azimuths in s2.  The tables are made by
`mi_neural_asset.baking.transfer`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 3
BANDS, AZIMUTHS = 12, 24
CORNERS = 3  # probes that a point lies between
DARK = 1e-3  # means below are told as darkness, not as a shape


class ProbeTables(nn.Module):
    """The tables of `count` probes; unused ones are zero.

    Both are stored as bytes v, which stand for (v / 255)^2; what is read are these numbers, made when they are first asked for.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._read: tuple[Tensor, int, Tensor, Tensor] | None = None  # rings, their version, numbers of bands and of rings
        self.register_buffer("rings", torch.zeros(count, CHANNELS, BANDS, AZIMUTHS, dtype=torch.uint8))
        self.register_buffer("bands", torch.zeros(count, CHANNELS, BANDS, dtype=torch.uint8))

    band_inputs = CHANNELS * BANDS
    ring_inputs = CHANNELS * AZIMUTHS

    def fill(self, tables: Tensor) -> None:
        """Take tables [P, CHANNELS, BANDS, AZIMUTHS] with numbers in [0, 1], P at most `count`."""
        self.rings[: len(tables)] = _bytes(tables)
        self.bands[: len(tables)] = _bytes(tables.mean(-1))

    def of_bands(self, place: Tensor) -> Tensor:
        """The distribution over bands, in each channel relative to its mean: [N, CHANNELS BANDS].

        Args:
            place: numbers of three probes and their weights, [N, 6] (`mi_neural_asset.probes.ProbeMesh.place`).
        """
        rows, weights = _places(place)
        return _relative(_weighted(self._numbers()[0], rows, weights), BANDS)

    def of_ring(self, place: Tensor, s1: Tensor) -> Tensor:
        """The distribution over azimuths at the height s1 [N], in each channel relative to its mean: [N, CHANNELS AZIMUTHS]."""
        rows, weights = _places(place)
        position = (s1 * BANDS - 0.5).clamp(0, BANDS - 1)
        band = position.long().clamp_max(BANDS - 2)[:, None]
        along = (position[:, None] - band) * weights
        rows = rows * BANDS + band
        return _relative(_weighted(self._numbers()[1], torch.cat([rows, rows + 1], -1), torch.cat([weights - along, along], -1)), AZIMUTHS)

    def _numbers(self) -> tuple[Tensor, Tensor]:
        """What the bytes stand for: of each probe's bands [count, CHANNELS BANDS], of each band's ring [count BANDS, CHANNELS AZIMUTHS]."""
        if self._read is None or self._read[0] is not self.rings or self._read[1] != self.rings._version:
            bands, rings = ((table.float() / 255).square() for table in (self.bands, self.rings))
            self._read = self.rings, self.rings._version, bands.flatten(1), rings.transpose(1, 2).flatten(2).flatten(0, 1).contiguous()
        return self._read[2:]


def _places(place: Tensor) -> tuple[Tensor, Tensor]:
    return place[:, :CORNERS].long(), place[:, CORNERS:]


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1).sqrt() * 255).round().to(torch.uint8)


def _weighted(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """sum_k weights[:, k] table[rows[:, k]]."""
    return functional.embedding_bag(rows, table.to(weights.dtype), mode="sum", per_sample_weights=weights)


def _relative(values: Tensor, size: int) -> Tensor:
    """Each channel relative to its mean."""
    values = values.unflatten(1, (CHANNELS, size))
    return (values / (values.mean(-1, keepdim=True) + DARK)).flatten(1)
