"""Cloud: a medium without boundary in a box; density from an fBm volume, thinning out towards the edge of a few puffs."""

from __future__ import annotations

import numpy as np

from . import files, xml
from .asset import Asset

LOW, HIGH = (-0.85, -0.6, 0.05), (0.85, 0.6, 1.15)
CELLS = (68, 48, 44)  # x, y, z
PUFFS = (  # centre, radius, in the box's units
    ((0.0, 0.0, 0.55), 0.36), ((-0.4, 0.05, 0.48), 0.27), ((0.38, -0.04, 0.5), 0.29),
    ((0.14, 0.1, 0.8), 0.24), ((-0.2, -0.12, 0.7), 0.2), ((0.6, 0.06, 0.42), 0.15),
)  # fmt: skip


def _noise(rng: np.random.Generator, p: np.ndarray, frequency: float) -> np.ndarray:
    """Smooth value noise in [-1, 1] at points [..., 3]."""
    q = p * frequency
    cell = np.floor(q).astype(int)
    f = q - cell
    f = f * f * f * (f * (6 * f - 15) + 10)
    table = rng.uniform(-1, 1, (64, 64, 64))
    value = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, f, 1 - f), -1)
        value = value + weight * table[tuple(np.moveaxis((cell + corner) % 64, -1, 0))]
    return value


def density() -> np.ndarray:
    """[Z, Y, X, 1], from 0 to 1, 0 at the faces of the box."""
    rng = np.random.default_rng(11)
    axes = [np.linspace(low, high, n) for low, high, n in zip(LOW, HIGH, CELLS, strict=True)]
    p = np.stack(np.meshgrid(*axes, indexing="ij"), -1).transpose(2, 1, 0, 3)
    distance = np.min([np.linalg.norm(p - np.array(c), axis=-1) - r for c, r in PUFFS], 0)
    turbulence = sum(0.5**k * _noise(rng, p + 7.3, 4.5 * 2.03**k) for k in range(5))
    inside = np.clip((-distance + 0.16 * turbulence + 0.01) / 0.1, 0, 1)
    away = np.min([np.minimum(p[..., k] - LOW[k], HIGH[k] - p[..., k]) for k in range(3)], 0)
    return (inside**2 * (3 - 2 * inside) * np.clip(away / 0.05, 0, 1))[..., None]


def box() -> tuple[np.ndarray, np.ndarray]:
    """The faces of the box as triangles that look outwards."""
    corners = np.array([[(LOW, HIGH)[b][k] for k, b in enumerate(bits)] for bits in np.ndindex(2, 2, 2)], float)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    return corners, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def make() -> Asset:
    """The cloud, 1.7 units wide, above the table."""
    body = (
        '    <bsdf type="null" id="cloud_surface"/>\n'
        + xml.heterogeneous("vapour", 45, "cloud_albedo.vol", "cloud_density.vol", g=0.3)
        + xml.shape("ply", "cloud", "cloud.ply", "cloud_surface", "vapour", flat=True)
    )
    albedo = np.broadcast_to(np.array([0.995, 0.992, 0.985]), (2, 2, 2, 3))
    volumes = {"cloud_albedo.vol": files.volume(albedo, LOW, HIGH), "cloud_density.vol": files.volume(density(), LOW, HIGH)}
    return Asset(body, {"cloud.ply": files.ply(box()), **volumes})
