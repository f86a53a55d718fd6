"""Cat: a sitting figure cut from slabs of coloured wax; albedo from a volume grid, rough boundary.  It looks along -y."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset
from .implicit import blend, capsule, ellipsoid, mirrored

SLABS = (  # albedo, from below to above
    (0.97, 0.62, 0.45),
    (0.985, 0.95, 0.86),
    (0.55, 0.8, 0.97),
    (0.98, 0.88, 0.5),
    (0.62, 0.93, 0.66),
    (0.985, 0.95, 0.88),
    (0.93, 0.55, 0.75),
)
LOW, HIGH = (-0.66, -0.62, -0.05), (0.66, 0.6, 1.5)


def distance(p: np.ndarray) -> np.ndarray:
    """The figure's implicit function."""
    q = mirrored(p)
    body = blend([ellipsoid(p, (0, 0.06, 0.38), (0.33, 0.35, 0.4)), ellipsoid(p, (0, -0.02, 0.7), (0.23, 0.22, 0.32))], 0.15)
    haunch = ellipsoid(q, (0.25, -0.02, 0.2), (0.15, 0.26, 0.21))
    foot = capsule(q, (0.24, -0.12, 0.06), (0.23, -0.34, 0.055), 0.07, 0.065)
    arm = capsule(q, (0.13, -0.17, 0.6), (0.1, -0.3, 0.06), 0.085, 0.06)
    paw = ellipsoid(q, (0.1, -0.35, 0.05), (0.075, 0.095, 0.06))
    head = ellipsoid(p, (0, -0.1, 1.08), (0.27, 0.24, 0.22))
    cheek = ellipsoid(q, (0.09, -0.3, 1.02), (0.1, 0.08, 0.07))
    ear = capsule(q, (0.15, -0.08, 1.2), (0.22, -0.05, 1.42), 0.1, 0.012)
    tail = mesh.smooth([(0.15, 0.36, 0.08), (0.42, 0.3, 0.07), (0.52, 0.02, 0.08), (0.42, -0.26, 0.07)], 9)
    bends = [capsule(p, a, b, 0.07, 0.07) for a, b in zip(tail[:-1], tail[1:], strict=True)]
    figure = blend([body, haunch, foot, arm, paw], 0.05)
    figure = blend([figure, blend([head, ear], 0.05), blend(bends, 0.03)], 0.06)
    figure = blend([figure, cheek, ellipsoid(p, (0, -0.36, 1.07), (0.035, 0.03, 0.025))], 0.02)
    eye = ellipsoid(q, (0.115, -0.325, 1.13), (0.045, 0.03, 0.03), mesh.rotation("y", 0.3))
    figure = -blend([-figure, eye], 0.012)  # sunk into the head
    return np.maximum(figure, 0.004 - p[..., 2])  # feet are flat


def slabs(count: int = 96) -> np.ndarray:
    """Albedo in tilted slabs: [count, 12, 12, 3], z y x."""
    z, y, x = np.meshgrid(np.linspace(0, 1, count), np.linspace(-1, 1, 12), np.linspace(-1, 1, 12), indexing="ij")
    level = len(SLABS) * (0.97 * z + 0.02 + 0.05 * x + 0.04 * y)
    return np.array(SLABS)[np.clip(level, 0, len(SLABS) - 1).astype(int)]


def make() -> Asset:
    """The cat, 1.4 units tall."""
    figure = mesh.standing(mesh.level_set(distance, LOW, HIGH, 0.0135))
    body = (
        xml.bsdf("roughdielectric", "cat_surface", int_ior=1.45, ext_ior=1.0, alpha=0.12)
        + xml.heterogeneous("slabs", 60, "cat_albedo.vol", "cat_density.vol")
        + xml.shape("ply", "cat", "cat.ply", "cat_surface", "slabs")
    )
    box = (-0.7, -0.7, -0.02), (0.7, 0.7, 1.48)
    volumes = {"cat_albedo.vol": files.volume(slabs(), *box), "cat_density.vol": files.volume(np.ones((2, 2, 2, 1)), *box)}
    return Asset(body, {"cat.ply": files.ply(figure), **volumes})
