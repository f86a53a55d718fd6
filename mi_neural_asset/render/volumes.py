"""Volumes without a boundary: where a ray through one collides first, and rays that pass.

The shapes of such an asset have the BSDF `null` and say where the medium is; x_o is the first real collision behind them, found by
delta tracking through the density that the asset keeps.  Rays that do not collide go on as if nothing was there, and light on
its way to other surfaces is let through with the same probability.  Of paths with one collision nothing need be learned: `single`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi

from ..flights import first_collision
from ..occlusion import SELF_OFFSET
from .lanes import take

if TYPE_CHECKING:
    from .instances import SceneAssets


@dr.syntax
def _track(
    scene: mi.Scene, o: mi.Point3f, d: mi.Vector3f, medium: mi.MediumPtr, seed: mi.UInt32, ratio: bool = False
) -> tuple[mi.Float, mi.Point3f, mi.Float]:  # fmt: skip
    """Follow rays that start in a medium, or outside all: (what passes, where the others collide, length to beyond all boundaries).

    What passes is 0 or 1 by delta tracking; with `ratio` no ray ends and each carries an estimate of the transmittance (ratio
    tracking, Novak et al. 2014).  Extinctions must be the same in all channels: then no other weight is left.
    """
    width = dr.width(d)
    v0, v1 = mi.sample_tea_32(seed, dr.arange(mi.UInt32, width))
    rng = mi.PCG32(width)
    rng.seed(mi.UInt64(v0), mi.UInt64(v1))
    o, medium = mi.Point3f(o), mi.MediumPtr(medium)
    active = dr.full(mi.Bool, True, width)
    passes = dr.full(mi.Float, 1, width)
    length = mi.Float(0)
    left = mi.Float(0)
    while active:
        ray = mi.Ray3f(o, d)
        mei, in_medium = first_collision(medium, ray, rng.next_float32(), mi.UInt32(0), active)
        pi = scene.ray_intersect_preliminary(ray, coherent=False, active=active)
        surface = active & pi.is_valid()
        collision = in_medium & ~surface
        share = mei.sigma_t[0] / mei.combined_extinction[0]
        if dr.hint(not ratio, mode="scalar"):
            share = dr.select(rng.next_float32() < share, mi.Float(1), 0)
        passes[collision] *= 1 - share
        real = collision & (passes <= 0)
        si = pi.compute_surface_interaction(ray, mi.RayFlags.All, surface)
        if surface:
            medium = si.target_medium(d)
        length += dr.select(surface, pi.t, dr.select(collision, mei.t, 0))
        left = dr.select(surface, length, left)
        o = dr.select(surface, si.spawn_ray(d).o, dr.select(collision, mei.p, o))
        active &= (surface | collision) & ~real
    return passes, o, left


class Density:
    """The media of one asset.

    Args:
        asset: a NeuralAsset that is a volume.
        scene: its boundary, with the media.
    """

    def __init__(self, asset, scene: mi.Scene) -> None:  # noqa: ANN001
        self._scene = scene
        self._center = mi.ScalarPoint3f([float(c) for c in asset.center])
        self._scale = float(asset.scale)

    def track(self, x: mi.Point3f, d: mi.Vector3f, seed: mi.UInt32) -> tuple[mi.Bool, mi.Point3f, mi.Float]:
        """From where rays meet the boundary, in normalised units: (whether they collide, where, length to beyond the asset)."""
        back = SELF_OFFSET
        start = self._center + self._scale * mi.Vector3f(x - back * d)
        passes, p, left = _track(self._scene, start, d, dr.zeros(mi.MediumPtr, dr.width(d)), seed)
        return passes <= 0, mi.Point3f((p - self._center) / self._scale), dr.maximum(left / self._scale - back, 0) + back

    def collision(self, x: mi.Point3f, w: mi.Vector3f) -> mi.MediumInteraction3f:
        """The collision at x, normalised, of rays that came against w."""
        mei = dr.zeros(mi.MediumInteraction3f, dr.width(w))
        mei.p, mei.wi, mei.sh_frame = self._center + self._scale * mi.Vector3f(x), w, mi.Frame3f(w)
        mei.medium = self._scene.ray_intersect(mi.Ray3f(mei.p, w)).target_medium(-w)
        mei.sigma_s, mei.sigma_n, mei.sigma_t = mei.medium.get_scattering_coefficients(mei)
        return mei

    def way_out(self, mei: mi.MediumInteraction3f, d: mi.Vector3f, seed: mi.UInt32, ratio: bool) -> tuple[mi.Float, mi.Float]:
        """Of rays from collisions: (what passes, as `_track` says; length to beyond the asset, normalised)."""
        passes, _, left = _track(self._scene, mei.p, d, mei.medium, seed, ratio)
        return passes, left / self._scale + SELF_OFFSET


class Volumes:
    """All volumes of a scene.

    Args:
        scene: the scene.
        assets: its neural assets.
        seed: of the free flights.
    """

    def __init__(self, scene: mi.Scene, assets: SceneAssets, seed: int) -> None:
        self._scene, self._assets, self._seeds = scene, assets, random.Random(seed)
        self._densities = [(k + 1, model.density) for k, model in enumerate(assets.models) if model.density]

    def __bool__(self) -> bool:
        return bool(self._densities)

    def seed(self) -> mi.UInt32:
        """A new one at each call, for free flights."""
        return dr.opaque(mi.UInt32, self._seeds.getrandbits(32))

    def _flights(
        self, si: mi.SurfaceInteraction3f, d: mi.Vector3f, active: mi.Bool
    ) -> tuple[mi.Bool, mi.Bool, mi.Point3f, mi.Float]:
        """For rays that have met something: (whether that is a volume, whether they collide in it, where, length of the way through)."""
        model, instance = self._assets.lookup(si)
        width = dr.width(si)
        met, collided = dr.full(mi.Bool, False, width), dr.full(mi.Bool, False, width)
        x_o, length = dr.zeros(mi.Point3f, width), dr.zeros(mi.Float, width)
        dr.eval(si, model, instance, d, active, met, collided, x_o, length)
        for number, density in self._densities:
            rows = dr.compress(active & (model == number))
            if dr.width(rows) == 0:
                continue
            frames = self._assets.frames(take(instance, rows))
            hit, x, way = density.track(frames.point_to_asset(take(si.p, rows)), frames.to_asset(take(d, rows)), self.seed())
            dr.scatter(met, True, rows)
            dr.scatter(collided, hit, rows)
            dr.scatter(x_o, frames.point_to_world(x), rows)
            dr.scatter(length, way * frames.scale, rows)
        return met, collided, x_o, length

    def meet(
        self, ray: mi.Ray3f, gap: mi.Float, si: mi.SurfaceInteraction3f, intersect: Callable[[mi.Ray3f], mi.SurfaceInteraction3f]
    ) -> tuple[mi.Ray3f, mi.Float, mi.SurfaceInteraction3f]:
        """Let rays collide in volumes, or pass to what is behind them.

        Args:
            ray, gap: of `Lanes`; those that pass start anew behind the volume.
            si: what they meet first.
            intersect: finds what a ray meets.

        Returns:
            (ray, gap, si); where a ray collides, si is there, with the normal against the ray.
        """
        width = dr.width(ray)
        collided, x_o = dr.full(mi.Bool, False, width), dr.zeros(mi.Point3f, width)
        while True:
            met, hit, x, length = self._flights(si, ray.d, ~collided)
            passed = met & ~hit
            collided, x_o = collided | hit, dr.select(hit, x, x_o)
            dr.eval(passed, collided, x_o)
            if not dr.any(passed):
                break
            ray = mi.Ray3f(dr.select(passed, si.p + length * ray.d, ray.o), ray.d, ray.time, ray.wavelengths)
            gap = dr.select(passed, gap - si.t - length, gap)
            si = intersect(ray)
            dr.eval(ray, gap, si)
        si.p = dr.select(collided, x_o, si.p)
        si.t = dr.select(collided, dr.dot(x_o - ray.o, ray.d), si.t)
        si.n = dr.select(collided, mi.Normal3f(-ray.d), si.n)
        si.sh_frame.n = dr.select(collided, mi.Normal3f(-ray.d), si.sh_frame.n)
        return ray, gap, si

    def clear(self, ray: mi.Ray3f, active: mi.Bool) -> mi.Bool:
        """Whether nothing stands in the way of rays up to their `maxt`; a volume does so with probability 1 - transmittance."""
        result = active & ~self._scene.ray_test(ray, active)
        dr.eval(ray, result, active)
        rows = dr.compress(active & ~result)
        ray = take(ray, rows)
        while dr.width(rows):
            si = self._scene.ray_intersect(ray)
            met, hit, _, length = self._flights(si, ray.d, si.is_valid())
            ray = mi.Ray3f(si.p + length * ray.d, ray.d, ray.maxt - si.t - length, ray.time, ray.wavelengths)
            through = met & ~hit & (ray.maxt > 0)
            dr.scatter(result, True, rows, ~si.is_valid() | (met & ~hit & (ray.maxt <= 0)))
            dr.eval(ray, through, result)
            on = dr.compress(through)
            rows, ray = take(rows, on), take(ray, on)
        return result
