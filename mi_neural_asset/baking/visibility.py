"""Which directions each probe sees free: a bit for each of SIDE x SIDE texels of an octahedral map.

The map puts a direction d at d / (|x| + |y| + |z|), and folds the lower half of that octahedron outwards (Meyer et al., On
Floating-Point Normal Vectors, 2010).  No angle has to be computed to find a texel, and 128 bytes hold a probe.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
from torch import Tensor

from ..interop import to_torch, to_vector
from ..probes import OFFSET, ProbeMesh

SIDE = 32
BITS = 32  # of a word
WORDS = SIDE * SIDE // BITS


class Visibility:
    """V(d) of all probes of a mesh.

    Args:
        mesh: the probes.
        boundary: all shapes of the asset, in scene units.

    Attributes:
        view: the mean of |n . d| V(d) over all directions, [P].
    """

    def __init__(self, mesh: ProbeMesh, boundary: mi.Scene) -> None:
        lane = dr.arange(mi.UInt32, len(mesh.points) * WORDS)
        probe = lane // WORDS
        x, n = (dr.gather(mi.Vector3f, to_vector(values), probe) for values in (mesh.points, mesh.normals))
        center = mi.ScalarVector3f(mesh.center.tolist())
        texel = (lane % WORDS) * BITS

        def look(k: mi.UInt32, word: mi.UInt32, seen: mi.Float, solid_angle: mi.Float) -> tuple:
            d, weight = _direction(texel + k)
            cosine = dr.dot(n, d)
            start = (x + dr.copysign(mi.Float(OFFSET), cosine) * n) * mesh.scale + center
            free = ~boundary.ray_test(mi.Ray3f(mi.Point3f(start), d))
            word = word | dr.select(free, mi.UInt32(1) << k, 0)
            return k + 1, word, seen + dr.select(free, weight * dr.abs(cosine), 0), solid_angle + weight

        start = mi.UInt32(0), dr.zeros(mi.UInt32, dr.width(lane)), mi.Float(0), mi.Float(0)
        _, self._words, seen, solid_angle = dr.while_loop(start, lambda k, *rest: k < BITS, look)
        dr.eval(self._words, seen, solid_angle)
        seen, solid_angle = (to_torch(values).view(-1, WORDS).sum(-1) for values in (seen, solid_angle))
        self.view: Tensor = seen / solid_angle

    def sees(self, probe: mi.UInt32, d: mi.Vector3f) -> mi.Bool:
        """V of probes towards unit directions."""
        p = d / (dr.abs(d.x) + dr.abs(d.y) + dr.abs(d.z))
        folded = _folded(p.x, p.y)
        u, v = dr.select(p.z < 0, folded[0], p.x), dr.select(p.z < 0, folded[1], p.y)
        column, row = (mi.UInt32(dr.clip((t + 1) * (SIDE / 2), 0, SIDE - 1)) for t in (u, v))
        texel = row * SIDE + column
        word = dr.gather(mi.UInt32, self._words, probe * WORDS + texel // BITS)
        return ((word >> (texel % BITS)) & 1) == 1


def _direction(texel: mi.UInt32) -> tuple[mi.Vector3f, mi.Float]:
    """Direction of a texel's middle, and its solid angle up to a factor that all share."""
    u, v = ((mi.Float(t) + 0.5) * (2 / SIDE) - 1 for t in (texel % SIDE, texel // SIDE))
    z = 1 - dr.abs(u) - dr.abs(v)
    folded = _folded(u, v)
    p = mi.Vector3f(dr.select(z < 0, folded[0], u), dr.select(z < 0, folded[1], v), z)
    length = dr.norm(p)
    return p / length, dr.rcp(length * length * length)  # a face's area over r^2, times its cosine, which falls as 1 / r


def _folded(u: mi.Float, v: mi.Float) -> tuple[mi.Float, mi.Float]:
    return (1 - dr.abs(v)) * dr.copysign(mi.Float(1), u), (1 - dr.abs(u)) * dr.copysign(mi.Float(1), v)
