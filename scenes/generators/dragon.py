"""Dragon: a scaled serpent with legs, horns and a crest, coiled around itself; jade behind a smooth boundary."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset
from .implicit import blend, capsule, ellipsoid

LOW, HIGH = (-0.82, -0.82, -0.05), (0.82, 0.82, 1.72)
STATIONS = 1200


def spine() -> tuple[np.ndarray, np.ndarray]:
    """Points along the middle of the body [STATIONS, 3], from the tail's tip to the neck, and their radii."""
    way = [
        (0.5, -0.56, 0.05), (0.66, -0.25, 0.08), (0.68, 0.14, 0.1), (0.42, 0.5, 0.12), (-0.02, 0.6, 0.13), (-0.46, 0.42, 0.14),
        (-0.58, 0.0, 0.18), (-0.36, -0.36, 0.24), (0.04, -0.42, 0.36), (0.32, -0.18, 0.5), (0.3, 0.16, 0.62), (0.04, 0.32, 0.74),
        (-0.2, 0.16, 0.9), (-0.17, -0.08, 1.08), (-0.03, -0.2, 1.2),
    ]  # fmt: skip
    t = np.linspace(0, 1, STATIONS)
    return mesh.smooth(way, STATIONS), 0.012 + 0.128 * np.sin(np.pi * 0.86 * t) ** 0.75


def _body(p: np.ndarray, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Distance to the body with rows of scales and a crest along its back."""
    from scipy.spatial import cKDTree

    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    away, nearest = cKDTree(points).query(p.reshape(-1, 3), distance_upper_bound=0.35)
    found = np.isfinite(away)
    away, k = np.where(found, away, 0.35), np.where(found, nearest, 0)
    along = length[k]
    height = np.where(found, (p.reshape(-1, 3)[:, 2] - points[k, 2]) / np.maximum(away, 1e-6), 0)
    turn = np.arccos(np.clip(height, -1, 1))
    row = along / 0.055
    thick = np.clip(radii[k] / 0.1, 0, 1)
    scales = 0.007 * thick * np.abs(np.sin(np.pi * row + turn * 3)) * np.abs(np.sin(np.pi * row - turn * 3))
    spikes = 0.05 * thick * np.clip(height - 0.8, 0, 0.2) / 0.2 * (1 - np.mod(row / 1.6, 1))
    return (away - radii[k] - scales - spikes).reshape(p.shape[:-1]).astype(p.dtype)


def _leg(p: np.ndarray, hip: tuple, knee: tuple, foot: tuple) -> list[np.ndarray]:
    toes = [np.array(foot) + 0.1 * np.array([np.cos(a), np.sin(a), -0.05]) for a in (-2.4, -1.6, -0.8)]
    return [capsule(p, hip, knee, 0.075, 0.05), capsule(p, knee, foot, 0.05, 0.035), *(capsule(p, foot, toe, 0.028, 0.01) for toe in toes)]


def distance(p: np.ndarray) -> np.ndarray:
    """The dragon's implicit function."""
    points, radii = spine()
    body = _body(p, points, radii)
    legs = [
        blend(_leg(p, (-0.58, 0.0, 0.2), (-0.72, -0.16, 0.17), (-0.66, -0.32, 0.035)), 0.03),
        blend(_leg(p, (0.1, 0.6, 0.14), (0.24, 0.72, 0.16), (0.32, 0.7, 0.035)), 0.03),
        blend(_leg(p, (0.2, -0.32, 0.4), (0.42, -0.44, 0.36), (0.4, -0.56, 0.2)), 0.03),
        blend(_leg(p, (-0.1, -0.4, 0.34), (-0.22, -0.6, 0.26), (-0.1, -0.66, 0.035)), 0.03),
    ]
    q = p - np.array([0.03, -0.28, 1.27], p.dtype)
    q = (q @ mesh.rotation("z", 0.35).astype(p.dtype)) @ mesh.rotation("x", 0.1).astype(p.dtype)
    side = np.concatenate([np.abs(q[..., :1]), q[..., 1:]], -1)
    skull = blend([ellipsoid(q, (0, 0, 0), (0.12, 0.15, 0.11)), capsule(q, (0, -0.1, 0.0), (0, -0.3, -0.02), 0.085, 0.06)], 0.05)
    jaw = capsule(q, (0, -0.04, -0.09), (0, -0.25, -0.15), 0.055, 0.035)
    brow = capsule(side, (0.06, 0.02, 0.09), (0.075, -0.14, 0.085), 0.035, 0.02)
    nose = ellipsoid(side, (0.035, -0.33, 0.03), (0.03, 0.035, 0.03))
    horn = [(0.06, 0.06, 0.09), (0.1, 0.16, 0.17), (0.13, 0.24, 0.26), (0.12, 0.26, 0.34)]
    horns = [capsule(side, a, b, 0.03 - 0.008 * k, 0.022 - 0.008 * k) for k, (a, b) in enumerate(zip(horn[:-1], horn[1:], strict=True))]
    whisker = capsule(side, (0.06, -0.3, -0.02), (0.22, -0.3, -0.1), 0.016, 0.008)
    mane = [capsule(side, (0.08, 0.05, 0.02), (0.22, 0.16 + 0.03 * k, 0.1 - 0.11 * k), 0.045, 0.008) for k in range(3)]
    head = blend([skull, jaw, brow, nose, *horns, whisker, *mane], 0.022)
    head = -blend([-head, ellipsoid(side, (0.1, -0.1, 0.045), (0.03, 0.035, 0.025))], 0.01)
    dragon = blend([body, blend(legs, 0.01), head], 0.045)
    return np.maximum(dragon, 0.004 - p[..., 2])


def make() -> Asset:
    """The dragon, about a unit and a half tall."""
    figure = mesh.standing(mesh.level_set(distance, LOW, HIGH, 0.0135))
    body = (
        xml.bsdf("dielectric", "dragon_surface", int_ior=1.5, ext_ior=1.0)
        + xml.homogeneous("dragon_jade", (0.93, 0.99, 0.95), 70)
        + xml.shape("ply", "dragon", "dragon.ply", "dragon_surface", "dragon_jade")
    )
    return Asset(body, {"dragon.ply": files.ply(figure)})
