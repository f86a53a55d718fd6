"""How light that leaves an asset is found: three techniques for an incident ray (u_i, w_i), weighted against each other.

`path`   u_i and w_i from the networks; a lamp counts when the ray hits it.
`light`  u_i from the networks, a point y of a lamp as seen from u_i (paper, Algorithm 3).
`lobe`   y as seen from x_o, and u_i around the direction a from x_o to y: dense media let light leave close to where it
         entered, so that u_i, x_o and y are nearly in line.

Directions d from x_o to u_i stand for u_i in all densities, so that they are per solid angle at x_o times solid angle at
u_i: path q_d(d) q(w | u), light q_d(d) p_e(w | u), lobe g(d | a) p_e'(w | u), where p_e' is the density of w when y is
sampled from x_o.  Below they are all divided by q_d.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import drjit as dr
import mitsuba as mi


def power_heuristic(a: mi.Float, b: mi.Float) -> mi.Float:
    """Weight of technique a against b, exponent 2 (Veach and Guibas 1995), as Mitsuba's path tracer uses it."""
    return dr.select(a > 0, 1 / (1 + dr.square(b / a)), 0)


@dataclass(frozen=True)
class Techniques:
    """Which techniques are in use."""

    path: bool = True
    light: bool = True
    lobe: bool = True

    @classmethod
    def parse(cls, text: str) -> Techniques:
        """From names with commas between them.

        Raises:
            ValueError: an unknown name, or none.
        """
        names = {name.strip() for name in text.split(",")}
        if not names <= {"path", "light", "lobe"}:
            raise ValueError(f'nap_path: "techniques" is a list of path, light, lobe with commas between them, got {text!r}')
        return cls(*(name in names for name in ("path", "light", "lobe")))

    def share(self, name: str, path: mi.Float, light: mi.Float, lobe: mi.Float) -> mi.Float:
        """Weight of one technique given the densities of all: the balance heuristic, or the power heuristic (exponent 2,
        Veach and Guibas 1995) without the lobe; zero for a technique that is not in use."""
        density = {"path": path, "light": light, "lobe": lobe}
        own = density.pop(name)
        if not getattr(self, name):
            return dr.zeros(mi.Float, dr.width(own))
        others = sum((value for other, value in density.items() if getattr(self, other)), mi.Float(0))
        return dr.select(own > 0, 1 / (1 + others / own), 0) if self.lobe else power_heuristic(own, others)


def interaction(p: mi.Point3f, time: mi.Float, wavelengths: mi.Spectrum) -> mi.SurfaceInteraction3f:
    """A reference point for questions to emitters."""
    result = dr.zeros(mi.SurfaceInteraction3f, dr.width(p))
    result.p, result.time, result.wavelengths = p, time, wavelengths
    return result


def is_infinite(emitter: mi.EmitterPtr) -> mi.Bool:
    """Lights that are seen in the same direction from everywhere."""
    return mi.has_flag(emitter.flags(), mi.EmitterFlags.Infinite)


def has_lobe(emitter: mi.EmitterPtr) -> mi.Bool:
    """Whether lobe sampling is used for a light: all but those that look the same in every direction, where it is a waste."""
    flags = emitter.flags()
    featureless = mi.has_flag(flags, mi.EmitterFlags.Infinite) & ~mi.has_flag(flags, mi.EmitterFlags.SpatiallyVarying)
    return (emitter != None) & (~featureless | mi.has_flag(flags, mi.EmitterFlags.DeltaDirection))  # noqa: E711 -- of arrays


def scene_has_lobe(scene: mi.Scene) -> bool:
    """Whether any light of the scene is one for the lobe."""
    flags = [emitter.flags() for emitter in scene.emitters()]
    infinite, varying, delta = mi.EmitterFlags.Infinite, mi.EmitterFlags.SpatiallyVarying, mi.EmitterFlags.DeltaDirection
    return any(not mi.has_flag(f, infinite) or mi.has_flag(f, varying) or mi.has_flag(f, delta) for f in flags)


def seen_from(ds: mi.DirectionSample3f, p: mi.Point3f) -> mi.DirectionSample3f:
    """The same point of a light (or the same direction, if it is infinite) from another place."""
    result = dr.zeros(mi.DirectionSample3f, dr.width(p))
    infinite = is_infinite(ds.emitter)
    way = ds.p - p
    length = dr.norm(way)
    result.p, result.n, result.uv, result.time, result.emitter = ds.p, ds.n, ds.uv, ds.time, ds.emitter
    result.delta, result.pdf = ds.delta, ds.pdf
    result.dist = dr.select(infinite, dr.inf, length)
    result.d = dr.select(infinite, ds.d, way / length)
    return result


def lobe_ray_density(
    scene: mi.Scene, lobe: Callable[[mi.Vector3f, mi.Vector3f], mi.Float], x_o: mi.SurfaceInteraction3f,
    ds_o: mi.DirectionSample3f, ds_u: mi.DirectionSample3f, d: mi.Vector3f,
) -> mi.Float:  # fmt: skip
    """g(d | a) p_e'(w | u): density with which the lobe finds a light point and an exit in direction d from x_o.

    lobe: g of a and d (see `lobe`); ds_o, ds_u: see `carried_density`.  Zero for lights that the lobe leaves out.
    """
    density = lobe(ds_o.d, d) * carried_density(scene, x_o, ds_o, ds_u)
    return dr.select(has_lobe(ds_o.emitter), density, 0)


def emitter_density(scene: mi.Scene, reference: mi.SurfaceInteraction3f, ds: mi.DirectionSample3f) -> mi.Float:
    """Density of sampling ds from a reference, per solid angle; of delta lights, the probability of choosing the light."""
    return dr.select(ds.delta, ds.pdf, scene.pdf_emitter_direction(reference, ds, ~ds.delta))


def carried_density(scene: mi.Scene, x_o: mi.SurfaceInteraction3f, ds_o: mi.DirectionSample3f, ds_u: mi.DirectionSample3f) -> mi.Float:
    """p_e'(w | u): density per solid angle at u_i of a light point that was sampled from x_o.

    ds_o, ds_u: the point as seen from x_o and from u_i.  Of delta lights, the probability of choosing the light.
    """
    cos_o, cos_u = dr.dot(ds_o.n, -ds_o.d), dr.dot(ds_u.n, -ds_u.d)
    area = cos_o / dr.square(ds_o.dist)
    ratio = dr.select((cos_o > 0) & (cos_u > 0), area * dr.square(ds_u.dist) / cos_u, 0)
    density = emitter_density(scene, x_o, ds_o)
    return density * dr.select(ds_o.delta | is_infinite(ds_o.emitter), 1, ratio)
