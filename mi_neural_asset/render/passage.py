"""Light that passes through an asset unscattered: refracted at x_o, and on by smooth surfaces alone until it has left the asset.

The networks know nothing of it (`mi_neural_asset.specular`): of empty glass they would have to learn caustics.  Flights through media
are analog, so that dense ones cost one ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import mitsuba as mi

from ..flights import Media, channel_of, first_collision, fly, pick
from ..occlusion import SELF_OFFSET
from ..specular import lets_through
from .lanes import take

MAX_STEPS = 1000  # null collisions and surfaces; a ray that is still inside is dropped


@dataclass
class Passed:
    """Rays that have entered an asset, [N] lanes, normalised space."""

    o: mi.Point3f
    d: mi.Vector3f
    weight: mi.Spectrum  # 0: scattered, or absorbed
    η: mi.Float  # product of relative indices of refraction
    bent: mi.Bool  # by some surface


@dr.syntax
def _follow(
    scene: mi.Scene, media: Media, o: mi.Point3f, d: mi.Vector3f, medium: mi.MediumPtr, active: mi.Bool, seed: mi.UInt32
) -> tuple[mi.Point3f, mi.Vector3f, mi.UnpolarizedSpectrum, mi.Float, mi.Bool]:
    """From behind the first surface to beyond the last: see `Passed`, in the scene's space."""
    some, null_collisions, coloured = media.some, media.null_collisions, media.coloured  # plain values, for Dr.Jit
    width = dr.width(d)
    v0, v1 = mi.sample_tea_32(seed, dr.arange(mi.UInt32, width))
    rng = mi.PCG32(width)
    rng.seed(mi.UInt64(v0), mi.UInt64(v1))
    o, d, medium, active = mi.Point3f(o), mi.Vector3f(d), mi.MediumPtr(medium), mi.Bool(active)
    weight = dr.select(active, mi.UnpolarizedSpectrum(1), 0)
    balance = mi.UnpolarizedSpectrum(1)
    η = mi.Float(1)
    bent = mi.Bool(False)
    steps = mi.UInt32(0)
    channel = mi.UInt32(0)
    if dr.hint(coloured, mode="scalar"):
        channel = channel_of(rng.next_float32())
    while active:
        ray = mi.Ray3f(o, d)
        collision = mi.Bool(False)
        scatter = mi.Bool(False)
        if dr.hint(some, mode="scalar"):
            mei, in_medium = first_collision(medium, ray, rng.next_float32(), channel, active)
        pi = scene.ray_intersect_preliminary(ray, coherent=False, active=active)
        surface = active & pi.is_valid()
        if dr.hint(some, mode="scalar"):
            collision = in_medium & ~surface
            scatter = mi.Bool(collision)
            if dr.hint(null_collisions, mode="scalar"):
                scatter &= rng.next_float32() * pick(mei.combined_extinction, channel) < pick(mei.sigma_t, channel)
            flying = active & (medium != None)  # noqa: E711
            weight, balance = fly(coloured, mei, pi, weight, balance, flying, collision, scatter)
            o = dr.select(collision, mei.p, o)
        si = pi.compute_surface_interaction(ray, mi.RayFlags.All, surface)
        surface &= si.is_valid()
        sample = mi.Point2f(rng.next_float32(), rng.next_float32())
        bs, value = si.bsdf().sample(mi.BSDFContext(), si, rng.next_float32(), sample, surface)
        w = si.to_world(bs.wo)
        passing = surface & mi.has_flag(bs.sampled_type, mi.BSDFFlags.Delta) & (dr.max(value) > 0) & dr.isfinite(dr.sum(w))
        weight[surface] *= value
        η[surface] *= bs.eta
        bent |= surface & ~mi.has_flag(bs.sampled_type, mi.BSDFFlags.Null)
        if dr.hint(some, mode="scalar"):
            crossing = passing & si.is_medium_transition()
            medium[crossing] = si.target_medium(w)
        spawned = si.spawn_ray(w)
        o = dr.select(passing, spawned.o, o)
        d = dr.select(passing, w, d)
        steps += 1
        going = passing | (collision & ~scatter)
        lost = (scatter | surface) & ~going | (going & (steps >= MAX_STEPS))
        weight[lost] = mi.UnpolarizedSpectrum(0)
        active &= going & ~lost
    return o, d, weight, η, bent


class Passage:
    """What passes through one asset.

    Args:
        asset: a NeuralAsset.
        scene: its boundary, with the media that it keeps.
    """

    def __init__(self, asset, scene: mi.Scene) -> None:  # noqa: ANN001
        self._scene, self._media = scene, Media.of(scene)
        self._center = mi.ScalarPoint3f([float(c) for c in asset.center])
        self._scale = float(asset.scale)

    @classmethod
    def of(cls, asset, scene: mi.Scene) -> Passage | None:  # noqa: ANN001
        """None where nothing passes."""
        return cls(asset, scene) if lets_through(scene) else None

    def follow(self, x: mi.Point3f, d: mi.Vector3f, w: mi.Vector3f, active: mi.Bool, seed: mi.UInt32) -> Passed:
        """Rays along d that meet the asset at x, normalised, and go on along w behind its surface."""
        dr.eval(x, d, w, active)
        rows = dr.compress(active)
        o, bent = mi.Point3f(x), dr.full(mi.Bool, False, dr.width(x))
        w, weight, η = mi.Vector3f(w), dr.zeros(mi.Spectrum, dr.width(x)), dr.full(mi.Float, 1, dr.width(x))
        dr.eval(o, w, weight, η, bent)
        if dr.width(rows):
            x, d, first = take(x, rows), take(d, rows), take(w, rows)
            start = mi.Point3f(self._center + self._scale * mi.Vector3f(x - SELF_OFFSET * d))
            si = self._scene.ray_intersect(mi.Ray3f(start, d, 2 * SELF_OFFSET * self._scale, 0.0, []))
            behind = si.spawn_ray(first)
            found = _follow(self._scene, self._media, behind.o, first, si.target_medium(first), si.is_valid(), seed)
            dr.eval(found)
            p = mi.Point3f((found[0] - self._center) / self._scale)
            for place, value in zip((o, w, weight, η, bent), (p, *found[1:]), strict=True):
                dr.scatter(place, value, rows)
        return Passed(o, w, weight, η, bent)
