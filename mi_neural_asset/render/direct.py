"""The direct lobe of an asset's surface: which ray goes on from a hit, beside the networks'."""

from __future__ import annotations

from collections.abc import Callable

import drjit as dr
import mitsuba as mi

from ..flights import mean
from .instances import Frames, Model
from .lanes import Lanes


def one_lobe(
    si: mi.SurfaceInteraction3f, ray: mi.Ray3f, β: mi.Spectrum, η: mi.Float, direct: Lanes, model: Model, frames: Frames,
    z: mi.Float, seed: Callable[[], mi.UInt32],
) -> Lanes:  # fmt: skip
    """Direct rays, [N] lanes at hits of one model.

    What meets the asset again is of the networks, but for mirror reflections; what passes through it unscattered is followed to where
    it leaves.  A smooth dielectric boundary has two lobes.  Both are tried, for hardly a ray passes through a dense asset; where
    both are free, one is chosen by its weight.

    Args:
        si, ray: the hits, and the rays that met them.
        β, η: of their paths.
        direct: the next rays, as the BSDF samples them; overwritten.
        model, frames: of the asset.
        z: a uniform number.
        seed: gives a new one for free flights.
    """

    def side(d: mi.Vector3f) -> mi.Float:
        return dr.dot(si.n, d) * dr.dot(si.n, ray.d)  # positive: behind the surface

    def sound(d: mi.Vector3f, weight: mi.Spectrum) -> mi.Bool:
        return dr.any(weight != 0) & dr.isfinite(dr.sum(weight) + dr.sum(d))  # Embree may crash on NaN

    def free(d: mi.Vector3f, weight: mi.Spectrum, delta: mi.Bool) -> mi.Spectrum:
        followed = delta & (side(d) < 0) if model.specular else mi.Bool(False)
        shadowed = model.projection.shadows_itself(x, frames.to_asset(d), frames.to_asset(si.n), sound(d, weight) & ~followed)
        return dr.select(shadowed, 0, weight)

    bsdf, ctx, x = si.bsdf(), mi.BSDFContext(), frames.point_to_asset(si.p)
    two = mi.has_flag(bsdf.flags(), mi.BSDFFlags.DeltaReflection) & mi.has_flag(bsdf.flags(), mi.BSDFFlags.DeltaTransmission)
    lobes = []
    for kind in (mi.BSDFFlags.DeltaReflection, mi.BSDFFlags.DeltaTransmission):
        ctx.type_mask = +kind
        bs, weight = bsdf.sample(ctx, si, 0.5, mi.Point2f(0.5), two)
        lobes.append((si.spawn_ray(si.to_world(bs.wo)), β * weight, η * bs.eta))
    (mirrored, β_1, η_1), (other, β_2, η_2) = lobes
    β_1 = free(mirrored.d, β_1, two)
    other.o, other.d = dr.select(two, other.o, direct.ray.o), dr.select(two, other.d, direct.ray.d)
    β_2, η_2, delta = dr.select(two, β_2, direct.β), dr.select(two, η_2, direct.η), two | direct.delta
    if model.passage:
        enters = delta & (side(other.d) > 0)
        passed = model.passage.follow(x, frames.to_asset(ray.d), frames.to_asset(other.d), enters & sound(other.d, β_2), seed())
        β_2 = dr.select(enters, β_2 * passed.weight, free(other.d, β_2, delta))
        other.o = dr.select(enters, frames.point_to_world(passed.o), other.o)
        other.d, η_2 = dr.select(enters, frames.to_world(passed.d), other.d), dr.select(enters, η_2 * passed.η, η_2)
        direct.straight &= ~(enters & passed.bent)
    else:
        β_2 = free(other.d, β_2, delta)
    weight_1, weight_2 = mean(β_1), mean(β_2)
    p = dr.select(two, dr.select(weight_2 > 0, weight_1 / (weight_1 + weight_2), 1), 0)
    first = z < p
    direct.β, direct.η = dr.select(first, β_1 / p, β_2 / (1 - p)), dr.select(first, η_1, η_2)
    direct.ray.o, direct.ray.d = dr.select(first, mirrored.o, other.o), dr.select(first, mirrored.d, other.d)
    direct.delta = delta
    return direct
