"""Free flights through media, balanced over colour channels; shared by training paths and by renders of what is never scattered.

Flights follow the extinction of one channel c, drawn uniformly per path.  With p_k the density that channel k would have given the
path, the throughput is beta = f / mean_k p_k: at most the number of channels times the product of albedos.  A loop carries beta
and balance_k = p_k / mean_j p_j; an event with contribution f_k and density q_k turns them into

    beta_k <- beta_k f_k / s,    balance_k <- balance_k q_k / s,    s = mean_k(balance_k q_k).
"""

from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import mitsuba as mi


@dataclass(frozen=True)
class Media:
    """What flights through a scene's media need; known before tracing, so that a kernel holds nothing else.

    some: a shape borders a medium; null_collisions: one is heterogeneous; coloured: the extinction of one differs between channels.
    """

    some: bool
    null_collisions: bool
    coloured: bool

    @staticmethod
    def of(scene: mi.Scene) -> Media:
        """Look at every medium that borders a shape of the scene."""
        media = [m for s in scene.shapes() for m in (s.interior_medium(), s.exterior_medium()) if m is not None]
        return Media(
            some=bool(media),
            null_collisions=any(not m.is_homogeneous() for m in media),
            coloured=any(_is_coloured(m) for m in media),
        )


def _is_coloured(medium: mi.Medium) -> bool:
    """Whether the extinction may differ between channels (True where that cannot be told)."""
    if dr.size_v(mi.UnpolarizedSpectrum) == 1:
        return False
    if medium.is_homogeneous():
        sigma_t = medium.get_scattering_coefficients(dr.zeros(mi.MediumInteraction3f), True)[2]
        return bool(dr.any(dr.min(sigma_t) != dr.max(sigma_t)))
    data = [v for k, v in mi.traverse(medium) if k.startswith("sigma_t") and k.endswith(("data", "value"))]
    return not all(dr.size_v(type(v)) <= 1 and (not dr.is_tensor_v(v) or v.shape[-1] == 1) for v in data)


def channel_of(number: mi.Float) -> mi.UInt32:
    """A channel, from a uniform number."""
    channels = dr.size_v(mi.UnpolarizedSpectrum)
    return dr.minimum(mi.UInt32(number * channels), channels - 1)


def pick(value: mi.UnpolarizedSpectrum, channel: mi.UInt32) -> mi.Float:
    """Component `channel` of a spectrum."""
    picked = value[0]
    for k in range(1, dr.size_v(value)):
        picked = dr.select(channel == k, value[k], picked)
    return picked


def first_collision(
    medium: mi.MediumPtr, ray: mi.Ray3f, number: mi.Float, channel: mi.UInt32, active: mi.Bool
) -> tuple[mi.MediumInteraction3f, mi.Bool]:
    """Where rays would collide first, from a uniform number, if no surface comes before: (the collision, which rays have one).

    Rays end there: `ray.maxt` is set, so that a surface found on the way comes first.
    """
    within = active & (medium != None)  # noqa: E711 -- an array comparison
    mei = medium.sample_interaction(ray, number, channel, within)
    within &= mei.is_valid()
    ray.maxt = dr.select(within, mei.t, ray.maxt)
    return mei, within


def mean(colour: mi.UnpolarizedSpectrum) -> mi.Float:
    """Of the channels.  `dr.mean` writes the number of lanes into the kernel: each wavefront would be compiled anew."""
    return dr.sum(colour) / len(colour)


def fly(
    coloured: bool, mei: mi.MediumInteraction3f, pi: mi.PreliminaryIntersection3f, beta: mi.UnpolarizedSpectrum,
    balance: mi.UnpolarizedSpectrum, flying: mi.Bool, collision: mi.Bool, scatter: mi.Bool,
) -> tuple[mi.UnpolarizedSpectrum, mi.UnpolarizedSpectrum]:  # fmt: skip
    """(beta, balance) after a flight through a medium that ends at a collision (which scatters, or is null) or at a surface.

    Transmittances are taken relative to the channel that sees most: common factors cancel, and nothing underflows.
    Without coloured extinction all densities agree, and what is left of the formula is the single-scattering albedo.
    """
    if not coloured:
        albedo = dr.select(mei.sigma_t > 0, mei.sigma_s / mei.sigma_t, 0)
        return dr.select(scatter, beta * albedo, beta), balance
    distance = dr.maximum(dr.minimum(mei.t, pi.t) - mei.mint, 0)
    flying = flying & (collision | pi.is_valid()) & dr.isfinite(distance)
    seen = dr.exp(-(mei.combined_extinction - dr.min(mei.combined_extinction)) * distance)
    density = dr.select(collision, seen * dr.select(scatter, mei.sigma_t, mei.sigma_n), seen)
    value = dr.select(collision, seen * dr.select(scatter, mei.sigma_s, mei.sigma_n), seen)
    average = mean(balance * density)
    scale = dr.select(average > 0, dr.rcp(average), 0)
    return dr.select(flying, beta * value * scale, beta), dr.select(flying, balance * density * scale, balance)
