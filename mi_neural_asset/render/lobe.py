"""The lobe: directions d from x_o to u_i around the direction a to a light, as near to it as an asset's light leaves.

With v = (1 - cos(a, d)) / 2 and phi in [0, pi] the angle around a between d and the normal at x_o, the lobe has a constant density h in
each of a few equal bins of t = v^(1/6) and phi.  Light that comes from everywhere has the least variance where h is the root of the mean
of f^2 over its bin, f what the model's own networks tell of exits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi
import numpy as np
import torch

from ..model.coordinates import MIN_WARP, WARP_EXPONENT
from .engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .projection import Projection
    from .volumes import Density

EXPONENT = 1 / 6
CUT = MIN_WARP**WARP_EXPONENT  # smallest v: below it the networks' density of w_i stops growing
LOWEST = CUT**EXPONENT  # smallest t
BINS = 32, 8  # of t and phi
FLOOR = 0.2  # share of a lobe that all bins get alike
LINES = 1 << 15  # that look for an asset's exits
STEEP = 1e-4  # sines of (a, n) below count as zero


class Lobe:
    """One lobe.

    Args:
        heights: h in equal bins of t between `LOWEST` and 1, and of phi, up to a factor, [any, any]; None: the same everywhere.
    """

    def __init__(self, heights: np.ndarray | None = None) -> None:
        relative = np.ones((1, 1)) if heights is None else np.asarray(heights, np.float64) / np.mean(heights)
        h = FLOOR + (1 - FLOOR) * relative
        self._bins, self._turns = h.shape
        self._heights, self._t, self._phi = (mi.Float(x.astype(np.float32).ravel()) for x in (h, _ends(h.sum(1)), _ends(h)))

    def draw(self, a: mi.Vector3f, n: mi.Vector3f, z: mi.Point2f) -> mi.Vector3f:
        """A direction around a.

        Args:
            n: unit normal at x_o.
            z: uniform numbers.
        """
        k, t = _draw(self._t, mi.UInt32(0), self._bins, z.x)
        left = z.y >= 0.5
        _, phi = _draw(self._phi, k * (self._turns + 1), self._turns, 2 * z.y - dr.select(left, 1, 0))
        v = (LOWEST + (1 - LOWEST) * t) ** (1 / EXPONENT)
        sine, cosine = dr.sincos(math.pi * phi)
        across = 2 * dr.safe_sqrt(v * (1 - v))
        x, y = _axes(a, n)
        return dr.normalize(across * (cosine * x + dr.select(left, -sine, sine) * y) + (1 - 2 * v) * a)

    def density(self, a: mi.Vector3f, n: mi.Vector3f, d: mi.Vector3f) -> mi.Float:
        """Density of `draw` at d, per solid angle: h gamma v^(gamma - 1) / (4 pi (1 - t_0)), h with the mean one over [t_0, 1] x [0, pi].

        Directions nearer to a than the cut have density zero: moving them to the cut would put an atom there.
        """
        v, phi = _about(a, n, d)
        t = dr.maximum(v, CUT) ** EXPONENT
        k, turn = _bin((t - LOWEST) / (1 - LOWEST), self._bins), _bin(phi, self._turns)
        height = dr.gather(mi.Float, self._heights, k * self._turns + turn)
        norm = EXPONENT / (4 * math.pi * (1 - LOWEST))
        return dr.select(v >= CUT, norm * height * t / dr.maximum(v, CUT), 0)

    @classmethod
    def of(cls, module: torch.nn.Module, projection: Projection, volume: Density | None = None) -> Lobe:
        """That of a transport model: from its exits where uniform lines meet the asset.

        Args:
            module: the model, on the CPU.
            projection: of the asset.
            volume: its density, of a volume without boundary.
        """
        z = np.random.default_rng(0).random((9, LINES), dtype=np.float32)
        x_o, w_o, n, met = projection.uniform_hits(mi.Point2f(*z[:2]), mi.Point2f(*z[2:4]), volume)
        rows = dr.compress(met)
        if not dr.width(rows):
            return cls()
        drawn = mi.Float(z[4]), mi.Point2f(*z[5:7]), mi.Point2f(*z[7:])
        x_o, w_o, n, z_channel, z_u, z_w = (dr.gather(type(value), value, rows) for value in (x_o, w_o, n, *drawn))
        engine = Engine(module)
        event = engine.begin(x_o, w_o, n, projection.occlusion.tensor(x_o, n, "cpu"), z_channel, z_u, hero=False)
        w, weight, q_w = engine.draw(event, dr.arange(mi.UInt32, dr.width(rows)), z_w)
        d = dr.normalize(engine.exit_point(event) - x_o)
        # E of f / q_u q_w times f / g_0 is the integral of f^2 / g_0; g_0, the same everywhere, is uniform in (t, phi)
        square = dr.square(dr.mean(weight)) * engine.exit_density(event) * q_w / cls().density(w, n, d)
        v, phi = _about(w, n, d)
        heights = np.histogram2d(v**EXPONENT, phi, BINS, ((LOWEST, 1), (0, 1)), weights=square)[0] ** 0.5
        return cls(heights) if np.isfinite(heights).all() and heights.any() else cls()


def density_of(lobes: Sequence[Lobe], which: mi.UInt32, n: mi.Vector3f) -> Callable[[mi.Vector3f, mi.Vector3f], mi.Float]:
    """`Lobe.density` of a and d, each lane its own of several lobes, numbered from 1; 0 where there is none."""

    def density(a: mi.Vector3f, d: mi.Vector3f) -> mi.Float:
        result = mi.Float(0)
        for number, lobe in enumerate(lobes, 1):
            result = dr.select(which == number, lobe.density(a, n, d), result)
        return result

    return density


def _ends(heights: np.ndarray) -> np.ndarray:
    """Where bins end in [0, 1] if each has its share, along the last axis; the first number is 0."""
    sums = np.cumsum(heights, -1)
    return np.concatenate([np.zeros_like(sums[..., :1]), sums / sums[..., -1:]], -1)


def _draw(ends: mi.Float, begin: mi.UInt32, bins: int, z: mi.Float) -> tuple[mi.UInt32, mi.Float]:
    """(which bin z is in, where z lies if all bins are equal): `bins` + 1 ends from `begin` on."""
    k = dr.binary_search(0, bins - 1, lambda k: dr.gather(mi.Float, ends, begin + k + 1) <= z)
    left, right = (dr.gather(mi.Float, ends, begin + k + side) for side in (0, 1))
    return k, (k + dr.clip((z - left) / (right - left), 0, 1)) / bins


def _bin(x: mi.Float, bins: int) -> mi.UInt32:
    """Which of equal bins x in [0, 1] is in."""
    return dr.minimum(mi.UInt32(dr.maximum(x, 0) * bins), bins - 1)


def _about(a: mi.Vector3f, n: mi.Vector3f, d: mi.Vector3f) -> tuple[mi.Float, mi.Float]:
    """(v, phi / pi) of d."""
    x, y = _axes(a, n)
    return dr.squared_norm(d - a) / 4, dr.atan2(dr.abs(dr.dot(d, y)), dr.dot(d, x)) / math.pi  # the first without cancellation


def _axes(a: mi.Vector3f, n: mi.Vector3f) -> tuple[mi.Vector3f, mi.Vector3f]:
    """Unit axes across a, the first towards n; any two where n is along a."""
    towards = n - a * dr.dot(a, n)
    length = dr.norm(towards)
    x = dr.select(length > STEEP, towards / length, mi.coordinate_system(a)[0])
    return x, dr.cross(a, x)
