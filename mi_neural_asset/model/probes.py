"""Where light leaves that meets the surface near a probe: tables that tell the networks of u_i what they cannot learn quickly.

A probe is a point of the surface with, for each colour channel and each of BANDS x AZIMUTHS directions d, the mean of |n . d| V(d)
over the places where paths that enter there leave (V: nothing of the asset is in the way).  Directions are those of the unit
square (s1, s2) of local coordinates: bands of equal area in s1, azimuths in s2.  The tables are made by
`mi_neural_asset.baking.transfer`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = 3
BANDS, AZIMUTHS = 8, 16
CORNERS = 3  # probes that a point lies between
DARK = 1e-3  # means below are told as darkness, not as a shape


class ProbeTables(nn.Module):
    """The tables of `count` probes; unused ones are zero.

    Both are stored as bytes v, which stand for (v / 255)^2.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
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
        values = (_numbers(self.bands[rows]) * weights[..., None, None]).sum(1)
        return _relative(values).flatten(1)

    def of_ring(self, place: Tensor, s1: Tensor) -> Tensor:
        """The distribution over azimuths at the height s1 [N], in each channel relative to its mean: [N, CHANNELS AZIMUTHS]."""
        rows, weights = _places(place)
        position = (s1 * BANDS - 0.5).clamp(0, BANDS - 1)
        band = position.long().clamp_max(BANDS - 2)
        along = (position - band)[:, None, None]
        low, high = ((_numbers(self.rings[rows, :, (band + k)[:, None]]) * weights[..., None, None]).sum(1) for k in (0, 1))
        return _relative(low + (high - low) * along).flatten(1)


def _places(place: Tensor) -> tuple[Tensor, Tensor]:
    return place[:, :CORNERS].long(), place[:, CORNERS:]


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1).sqrt() * 255).round().to(torch.uint8)


def _numbers(values: Tensor) -> Tensor:
    return (values.float() / 255).square()


def _relative(values: Tensor) -> Tensor:
    return values / (values.mean(-1, keepdim=True) + DARK)
