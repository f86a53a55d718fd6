"""CurlHair: a tuft of curls on a round base; helices that open towards their tips; the hair BSDF."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset

CURLS, STRANDS, POINTS = 70, 20, 44


def strands() -> list[np.ndarray]:
    """Control points [POINTS, 4] of every hair, from the base outwards and down."""
    rng = np.random.default_rng(11)
    t = np.linspace(0, 1, POINTS)
    result = []
    for k in range(CURLS):
        z = 1 - 1.15 * (k + 0.5) / CURLS  # a spiral of equal areas over the upper part of a ball
        azimuth = k * np.pi * (3 - np.sqrt(5))
        out = np.array([np.sqrt(1 - z * z) * np.cos(azimuth), np.sqrt(1 - z * z) * np.sin(azimuth), z])
        reach = rng.uniform(0.42, 0.55)
        root = 0.3 * out + [0, 0, 0.85]
        path = root + np.outer(reach * (t - 0.25 * t**2), out) - np.outer(0.52 * t**2 * rng.uniform(0.8, 1.2), [0, 0, 1])
        tangent = np.gradient(path, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        u = np.cross(tangent, [0.31, 0.2, 0.93])
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        v = np.cross(tangent, u)
        turns, phase = rng.uniform(3.2, 4.4) * rng.choice([-1, 1]), rng.uniform(0, 6.3)
        for _ in range(STRANDS):
            angle = 2 * np.pi * turns * t + phase + rng.normal() * 0.22
            width = (0.02 + 0.052 * t**0.6) * (1 + 0.1 * rng.normal())
            loose = rng.normal(size=3) * 0.009 * (0.4 + t[:, None])
            way = path + width[:, None] * (np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * v) + loose
            way = way + np.outer(0.02 * rng.normal() * t, tangent[-1])
            result.append(np.column_stack([way, 0.0026 * (1 - 0.7 * t**2)]))
    return result


def make() -> Asset:
    """The tuft, about one and a half units wide, on its base."""
    ball = [(0.29 * np.sin(a), 0.85 - 0.29 * np.cos(a)) for a in np.linspace(0.35, np.pi, 40)]
    neck = [(0, 0), (0.2, 0), (0.21, 0.012), (0.2, 0.03), (0.1, 0.06), (0.07, 0.14), (0.065, 0.4)]
    base = mesh.lathe([*neck, *ball], 72)
    body = (
        xml.bsdf("hair", "red_hair", eumelanin=0.15, pheomelanin=1.1, longitudinal_roughness=0.25, azimuthal_roughness=0.3)
        + xml.diffuse("base_paint", (0.55, 0.42, 0.34))
        + xml.shape("bsplinecurve", "curls", "curl_hair.txt", "red_hair")
        + xml.shape("ply", "base", "curl_hair_base.ply", "base_paint")
    )
    return Asset(body, {"curl_hair.txt": files.curves(strands()), "curl_hair_base.ply": files.ply(base)})
