"""What surrounds a point of the asset: distances to the asset itself along fixed directions about the normal.

Light leaves dense media close to where it entered, unless the asset's own geometry is in the way; the networks cannot
learn that from positions on a coarse grid.  The distances are an input of all of them, traced for every training path and
at every event of a render.
"""

from __future__ import annotations

import math

import drjit as dr
import mitsuba as mi
import torch
from torch import Tensor

from .interop import to_torch
from .probes import ProbeMesh

SELF_OFFSET = 1e-4  # rays start this far from the boundary, in parts of the asset's radius
FALL_OFFS = (2.0, 16.0)  # a distance t, in radii, is told as exp(-2 t) and exp(-16 t); 0: nothing was met


def directions(count: int) -> list[tuple[float, float, float]]:
    """Unit directions about the z axis, on a spiral of equal areas: one half above the surface, the other below."""
    above = math.ceil(count / 2)
    heights = [(k + 0.5) / above for k in range(above)] + [-(k + 0.5) / (count - above) for k in range(count - above)]
    turn = math.pi * (3 - math.sqrt(5))
    return [(math.sqrt(1 - z * z) * math.cos(k * turn), math.sqrt(1 - z * z) * math.sin(k * turn), z) for k, z in enumerate(heights)]


def tangents(n):  # noqa: ANN001, ANN201
    """Two axes across n, of its type (any array of three components), as `model.coordinates.frame` has them.

    Smooth everywhere but at n = -z (Frisvad, Building an Orthonormal Basis from a 3D Unit Vector, 2012).
    """
    a, kind = 1 / dr.maximum(1 + n.z, 1e-6), type(n)
    t = kind(1 - n.x * n.x * a, -n.x * n.y * a, -n.x)
    t = dr.select(n.z < -0.99999, kind(1, 0, 0), t)
    t = dr.normalize(t - n * dr.dot(n, t))
    return t, dr.cross(n, t)


class Occlusion:
    """Traces the descriptor.

    Args:
        scene: the asset's boundary alone.
        center, scale: the asset's bounding sphere, scene units.
        count: number of directions; may be 0.
        probes: the asset's; may be left out.
    """

    def __init__(self, scene: mi.Scene, center: list[float], scale: float, count: int, probes: ProbeMesh | None = None) -> None:
        self._probes = probes
        self._scene, self._center, self._scale, self.count = scene, mi.ScalarPoint3f([float(c) for c in center]), float(scale), count

    @classmethod
    def of(cls, asset, scene: mi.Scene) -> Occlusion:  # noqa: ANN001
        """What the networks of an asset are told; `scene` holds its boundary alone."""
        config = asset.config
        probes = ProbeMesh(asset.boundary.shapes, asset.center, asset.scale, config.probes) if config.probes else None
        return cls(scene, asset.center, asset.scale, config.occlusion, probes)

    def tensor(self, x: mi.Point3f, n: mi.Vector3f, device) -> Tensor:  # noqa: ANN001
        """exp(-2 t) of each direction, then exp(-16 t), then the place among the probes: [N, 2 count] or [N, 2 count + 6].

        Args:
            x: points in normalised units.
            n: normals there, on the viewer's side.
            device: torch device of the result.
        """
        distances = self._distances(x, n, device)
        if self._probes is None:
            return distances
        return torch.cat([distances, self._probes.place(to_torch(x), to_torch(n)).to(device)], -1)

    def _distances(self, x: mi.Point3f, n: mi.Vector3f, device) -> Tensor:  # noqa: ANN001
        """The rays of a point are neighbours in a wavefront: they visit the same part of the asset."""
        width = dr.width(x)
        if not self.count or not width:
            return torch.empty(width, len(FALL_OFFS) * self.count, device=device)
        around = [mi.Float(list(axis)) for axis in zip(*directions(self.count), strict=True)]
        index = dr.arange(mi.UInt32, width * self.count)
        point = index // self.count
        d = dr.gather(mi.Vector3f, mi.Vector3f(*around), index - point * self.count)
        n = dr.gather(mi.Vector3f, n, point)
        t, b = tangents(n)
        start = dr.gather(mi.Vector3f, mi.Vector3f(x), point) + dr.select(d.z > 0, SELF_OFFSET, -SELF_OFFSET) * n
        ray = mi.Ray3f(mi.Point3f(self._center + self._scale * start), d.x * t + d.y * b + d.z * n)
        pi = self._scene.ray_intersect_preliminary(ray)
        near = [dr.select(pi.is_valid(), dr.exp(-f / self._scale * pi.t), 0) for f in FALL_OFFS]
        dr.eval(near)  # together: each evaluation traces the rays
        return torch.cat([to_torch(values, device).view(width, self.count) for values in near], -1)
