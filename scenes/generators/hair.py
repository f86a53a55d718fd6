"""Hair: a lock that hangs from a ring, in clumps with a slight wave; the hair BSDF."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset

CLUMPS, STRANDS, POINTS = 90, 40, 14
TOP = 1.42


def strands() -> list[np.ndarray]:
    """Control points [POINTS, 4] of every hair, from above the ring to the tip."""
    rng = np.random.default_rng(7)
    t = np.linspace(0, 1, POINTS)[:, None]
    result = []
    for _ in range(CLUMPS):
        angle, r = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        side = np.array([np.cos(angle), np.sin(angle)])
        width = 0.055 + 0.31 * np.sin(np.pi * np.clip(t * 0.72, 0, 1)) ** 1.1
        wave = 0.035 * t * np.stack([np.sin(5.2 * t[:, 0] + 1.1 * angle), np.cos(4.6 * t[:, 0] + angle)], -1)
        sway = np.concatenate([0.16 * np.sin(2.6 * t) * t, 0.05 * t**2], -1)
        middle = r * side * width * np.array([1.0, 0.6]) + wave + sway
        end = rng.uniform(0.86, 1.0)
        for _ in range(STRANDS):
            spread = rng.normal(size=2) * 0.5
            loose = 0.018 * (1 - 0.75 * t**0.7) * spread + 0.014 * t * np.sin(rng.uniform(4, 9) * t + rng.uniform(0, 6.3)) * rng.normal(
                size=2
            )
            reach = end * rng.uniform(0.93, 1.0)
            z = TOP - 1.53 * reach * t - 0.012 * np.abs(spread[:1]) * t
            radius = 0.0028 * (1 - 0.75 * t**2)
            result.append(np.concatenate([middle + loose, z, radius], -1))
    return result


def ring() -> mesh.Mesh:
    """The band that holds the hair, and a knob above it."""
    band = [(0.09 + 0.02 * np.cos(a), 1.36 + 0.045 * np.sin(a)) for a in np.linspace(-np.pi, np.pi, 25)]
    cap = [(0, 1.44), (0.05, 1.437), (0.075, 1.42), (0.075, 1.41), (0.0, 1.41)]
    return mesh.join([mesh.lathe(band, 64), mesh.lathe(cap[::-1], 64)])


def make() -> Asset:
    """The lock, one and a half units long."""
    body = (
        xml.bsdf("hair", "brown_hair", eumelanin=0.12, pheomelanin=0.3, longitudinal_roughness=0.3, azimuthal_roughness=0.35)
        + xml.bsdf("roughconductor", "gold", '<string name="material" value="Au"/>', alpha=0.15)
        + xml.shape("bsplinecurve", "hair", "hair.txt", "brown_hair")
        + xml.shape("ply", "ring", "hair_ring.ply", "gold")
    )
    return Asset(body, {"hair.txt": files.curves(strands()), "hair_ring.ply": files.ply(ring())})
