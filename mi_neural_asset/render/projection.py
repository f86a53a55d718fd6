"""The asset's boundary alone, for two questions: where a ray through u_i meets it, and whether it shadows itself.

The scene around the asset must not answer these: a floor may cut through the proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..occlusion import SELF_OFFSET, Occlusion

if TYPE_CHECKING:
    from .volumes import Density

MIN_CHORD = 1e-5  # shorter ways through the proxy are rounding


def uniform_hits(
    scene: mi.Scene, center: mi.Point3f, scale: float, volume: Density | None, z_point: mi.Point2f, z_direction: mi.Point2f, seed: int
) -> tuple[mi.Point3f, mi.Vector3f, mi.Vector3f, mi.Bool]:
    """Where lines that are uniform in an asset's bounding sphere meet it first, in normalised units; in a volume, first collisions.

    Args:
        scene: the boundary, with the media that the asset keeps.
        center, scale: the bounding sphere.
        volume: the density, of a volume without boundary.
        z_point, z_direction: uniform numbers.
        seed: of the free flights in the volume.

    Returns:
        x_o, w_o, the shading normal on the side of w_o (in a volume w_o itself), and whether a line meets the asset at all.
    """
    inwards = mi.warp.square_to_uniform_sphere(z_point)
    d = mi.Frame3f(inwards).to_world(mi.warp.square_to_cosine_hemisphere(z_direction))
    si = scene.ray_intersect(mi.Ray3f(center - (1 + SELF_OFFSET) * scale * inwards, d))
    side = dr.select(dr.dot(mi.Vector3f(si.n), d) > 0, -1.0, 1.0)
    x, n, met = mi.Point3f((si.p - center) / scale), mi.Vector3f(side * si.sh_frame.n), si.is_valid()
    dr.eval(x, d, n, met)  # together: each evaluation traces the rays
    if volume:
        collided, x, _ = volume.track(x, d, dr.opaque(mi.UInt32, seed))
        met, n = met & collided, -d
    return x, -d, n, met


class Projection:
    """Ray queries against the boundary of one asset.

    Args:
        asset: a NeuralAsset (its boundary, `center` and `scale`).
        model: its transport model (for the proxy).

    Attributes:
        scene: the boundary, with the media that the asset keeps.
    """

    def __init__(self, asset, model) -> None:  # noqa: ANN001
        self.scene = mi.load_dict(asset.boundary_scene(media=True), parallel=False)
        self._center = mi.ScalarPoint3f([float(c) for c in asset.center])
        self._scale = float(asset.scale)
        self.occlusion = Occlusion.of(asset, self.scene)
        proxy = model.proxy
        self._radius = proxy.radius if proxy.kind == "sphere" else None
        planes = [] if proxy.kind == "sphere" else proxy.half_spaces().tolist()
        self._planes = [(mi.ScalarVector3f(plane[:3]), plane[3]) for plane in planes]

    def uniform_hits(
        self, z_point: mi.Point2f, z_direction: mi.Point2f, volume: Density | None = None
    ) -> tuple[mi.Point3f, mi.Vector3f, mi.Vector3f, mi.Bool]:
        """The function of the same name, for the asset."""
        return uniform_hits(self.scene, self._center, self._scale, volume, z_point, z_direction, 0)

    def exit(self, x: mi.Point3f, d: mi.Vector3f) -> mi.Point3f:
        """Where rays that start inside the proxy leave it (normalised units)."""
        if self._radius is not None:
            along = dr.dot(mi.Vector3f(x), d)
            across = dr.squared_norm(mi.Vector3f(x) - along * d)
            return x + (dr.safe_sqrt(self._radius**2 - across) - along) * d
        return x + self._way_out(x, d) * d

    def _way_out(self, x: mi.Point3f, d: mi.Vector3f) -> mi.Float:
        """Distance from x, inside a box or hull, along d to the nearest of the faces ahead."""
        length = mi.Float(dr.inf)
        for n, offset in self._planes:
            along = dr.dot(n, d)
            length = dr.select(along > 1e-9, dr.minimum(length, (offset - dr.dot(n, mi.Vector3f(x))) / along), length)
        return length

    def leaves(self, u: mi.Point3f, w: mi.Vector3f) -> mi.Bool:
        """Whether rays (u, w) leave the proxy."""
        return self.chord(u, w) > MIN_CHORD

    def chord(self, u: mi.Point3f, w: mi.Vector3f) -> mi.Float:
        """Length of the way that leads backwards from u, against w, to where it entered the proxy (normalised units).

        Zero where w does not leave the proxy at u.
        """
        if self._radius is not None:
            return dr.maximum(2 * dr.dot(mi.Vector3f(u), w), 0)
        return dr.maximum(self._way_out(u, -w), 0)

    def _ray(self, x: mi.Point3f, w: mi.Vector3f, length: mi.Float) -> mi.Ray3f:
        ray = mi.Ray3f(self._center + self._scale * mi.Vector3f(x), w)
        ray.maxt = self._scale * length
        return ray

    def gap(self, u: mi.Point3f, w: mi.Vector3f, x_o: mi.Point3f, active: mi.Bool) -> tuple[mi.Float, mi.Bool]:
        """Distance from u_i back to x_i, in normalised units, and whether the boundary was met.

        Where the line misses the asset (the learned distribution is smooth), the path starts at the point of the chord
        that is closest to x_o, so that the sample keeps its energy.
        """
        chord = self.chord(u, w)
        pi = self.scene.ray_intersect_preliminary(self._ray(u, -w, chord), active=active & (chord > 0))
        hit = active & pi.is_valid()
        closest = dr.clip(dr.dot(mi.Vector3f(u - x_o), w), 0, chord)
        return dr.select(hit, pi.t / self._scale, closest), hit

    def shadows_itself(self, x: mi.Point3f, w: mi.Vector3f, n: mi.Vector3f, active: mi.Bool) -> mi.Bool:
        """Whether a ray that leaves the boundary at x (normalised) towards w meets the asset again (1 - V of Eq. 21).

        n: geometric normal at x; the start is moved along it to the side of w.
        """
        side = dr.select(dr.dot(n, w) >= 0, SELF_OFFSET, -SELF_OFFSET)
        return self.scene.ray_test(self._ray(x + side * n, w, mi.Float(1e4)), active)
