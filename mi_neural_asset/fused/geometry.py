"""Inside a kernel: coordinates around x_o, for proxies of all kinds.

The formulas are those of `mi_neural_asset.model.coordinates` and `mi_neural_asset.model.proxy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import drjit as dr
from drjit.llvm import Array3f, Float

from ..model.coordinates import MIN_WARP, WARP_EXPONENT
from ..occlusion import tangents

LOG_SPHERE = math.log(4 * math.pi)


def to_frame(d: Array3f, n: Array3f) -> Array3f:
    """Components of d in the frame of n."""
    t, b = tangents(n)
    return Array3f(dr.dot(d, t), dr.dot(d, b), dr.dot(d, n))


def reference_axis(n: Array3f, d: Array3f) -> tuple[Array3f, Array3f]:
    """Axes across d from which azimuths about d are counted."""
    across = n - d * dr.dot(n, d)
    length = dr.norm(across)
    t = dr.select(length > 1e-3, across / dr.maximum(length, 1e-3), tangents(d)[0])
    t -= d * dr.dot(t, d)
    t /= dr.norm(t)
    return t, dr.cross(d, t)


def turn(y: Float, x: Float) -> Float:
    """Angle of (x, y) in turns, in [0, 1]."""
    angle = dr.atan2(y, x) / (2 * math.pi)
    return dr.select(angle < 0, angle + 1, angle)


def cylinder(z: Float, turns: Float) -> Array3f:
    """Unit direction of height z and azimuth 2 pi `turns`."""
    r = dr.sqrt(dr.maximum(1 - z * z, 0))
    sine, cosine = dr.sincos(turns * (2 * math.pi))
    return Array3f(r * cosine, r * sine, z)


def height_and_turn(d: Array3f) -> tuple[Float, Float]:
    """Undoes `cylinder`: (s1, s2)."""
    return dr.clip((d.z + 1) / 2, 0, 1), turn(d.y, d.x)


def unit(v: Array3f) -> Array3f:
    """v of length one."""
    return v / dr.maximum(dr.norm(v), 1e-9)


def way_out(shape: Float, planes: int, x: Array3f, d: Array3f) -> Float:
    """Distance from x, inside the proxy, along d to where it ends.

    Args:
        shape: the radius of a sphere, or normal and offset of each of `planes` half-spaces (see `Proxy.half_spaces`).
    """
    if planes == 0:
        middle = -dr.dot(x, d)
        across = x + middle * d
        radius = dr.gather(Float, shape, 0)
        return dr.maximum(middle + dr.sqrt(dr.maximum(radius * radius - dr.dot(across, across), 0)), 1e-6)
    length = Float(dr.inf)
    for k in range(planes):
        normal, offset = Array3f([dr.gather(Float, shape, 4 * k + j) for j in range(3)]), dr.gather(Float, shape, 4 * k + 3)
        along = dr.dot(normal, d)
        length = dr.select(along > 1e-9, dr.minimum(length, (offset - dr.dot(normal, x)) / along), length)
    return dr.maximum(length, 1e-6)


@dataclass
class Exit:
    """u_i and what the networks of w_i are told about it."""

    u: Array3f
    axis: Array3f  # its direction d in the frame of the normal
    d: Array3f
    distance: Float

    @classmethod
    def at(cls, s1: Float, s2: Float, x_o: Array3f, n: Array3f, shape: Float, planes: int) -> Exit:
        """From (s1, s2)."""
        d = cylinder(2 * s1 - 1, s2)
        distance = way_out(shape, planes, x_o, d)
        return cls(x_o + distance * d, to_frame(d, n), d, distance)

    def extra(self) -> list[Float]:
        """Plain inputs about it."""
        return [self.d.x, self.d.y, self.d.z, 0.5 * dr.log(self.distance), self.axis.z]


def departure(mean: Array3f, spread: Float, d: Array3f, n: Array3f) -> list[Float]:
    """s3 of the spread, and the mean along the axes from which s4 is counted."""
    return [dr.sqrt(spread / 2), *(dr.dot(mean, axis) for axis in reference_axis(n, d))]


def view(w_o: Array3f, d: Array3f, n: Array3f) -> list[Float]:
    """w_o along these axes and d."""
    return [dr.dot(w_o, axis) for axis in (*reference_axis(n, d), d)]


def direction(s3: Float, s4: Float, d: Array3f, n: Array3f) -> Array3f:
    """w_i from (s3, s4)."""
    v = s3**WARP_EXPONENT
    across = 2 * dr.sqrt(dr.maximum(v * (1 - v), 0))
    sine, cosine = dr.sincos(s4 * (2 * math.pi))
    t, b = reference_axis(n, d)
    w = across * cosine * t + across * sine * b + (1 - 2 * v) * d
    return w / dr.norm(w)


def direction_to_square(w: Array3f, d: Array3f, n: Array3f) -> tuple[Float, Float]:
    """(s3, s4) from w_i."""
    v = dr.clip(dr.squared_norm(w - d) / 4, 0, 1)
    t, b = reference_axis(n, d)
    return dr.sqrt(dr.sqrt(v)), turn(dr.dot(w, b), dr.dot(w, t))


def log_direction_density(s3: Float) -> Float:
    """log |d(s3, s4) / dw|, w in solid angle."""
    return -LOG_SPHERE - math.log(WARP_EXPONENT) - (WARP_EXPONENT - 1) * dr.log(dr.maximum(s3, MIN_WARP))
