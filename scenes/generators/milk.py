"""Milk in a glass: liquid that touches the glass, so that each of the three interfaces is a surface of its own."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset

HEIGHT, LEVEL, WALL, BASE = 1.35, 0.98, 0.035, 0.09


def _outside(z: np.ndarray) -> np.ndarray:
    """Outer radius at a height: a tumbler that widens."""
    return 0.36 + 0.1 * (z / HEIGHT) ** 1.3


def make() -> Asset:
    """The tumbler, its milk, and the free surface of the milk."""
    z = np.linspace(0.05, HEIGHT - 0.02, 40)
    foot = [(0.0, 0.0), (0.2, 0.0), (0.31, 0.0), *[(0.31 + 0.053 * np.sin(a), 0.05 * (1 - np.cos(a))) for a in np.linspace(0.2, 1.4, 6)]]
    outer = np.column_stack([_outside(z), z])
    top = _outside(np.array(HEIGHT)) - WALL / 2
    rim = [(top + WALL / 2 * np.cos(a), HEIGHT - 0.015 + WALL / 2 * np.sin(a)) for a in np.linspace(0.3, np.pi - 0.3, 9)]
    above = np.linspace(HEIGHT - 0.02, LEVEL, 14)
    inner = np.column_stack([_outside(above) - WALL, above])
    below = np.linspace(LEVEL, BASE + 0.06, 34)
    bottom = _outside(np.array(BASE)) - WALL
    bend = [(bottom - 0.06 * (1 - np.cos(a)), BASE + 0.06 * (1 - np.sin(a))) for a in np.linspace(0.15, np.pi / 2, 8)]
    side = np.concatenate([np.column_stack([_outside(below) - WALL, below]), bend, [(0.15, BASE), (0.0, BASE)]])
    glass = mesh.lathe(np.concatenate([foot, outer, rim, inner]), 128)
    contact = mesh.lathe(side[::-1], 128)  # seen from the glass: outside of the milk
    edge = side[0, 0]
    meniscus = [(edge * s, LEVEL - 0.03 * (1 - np.exp(-(1 - s) * edge / 0.03))) for s in (1, 0.98, 0.95, 0.9, 0.8, 0.6, 0.3, 0)]
    free = mesh.lathe(meniscus, 128)
    body = (
        xml.bsdf("dielectric", "glass_in_air", int_ior=1.5, ext_ior=1.0)
        + xml.bsdf("dielectric", "milk_in_glass", int_ior=1.35, ext_ior=1.5)
        + xml.bsdf("dielectric", "milk_in_air", int_ior=1.35, ext_ior=1.0)
        + xml.homogeneous("milk", (0.9985, 0.997, 0.989), 40)
        + xml.shape("ply", "tumbler", "milk_tumbler.ply", "glass_in_air")
        + xml.shape("ply", "milk_side", "milk_side.ply", "milk_in_glass", "milk")
        + xml.shape("ply", "milk_top", "milk_top.ply", "milk_in_air", "milk")
    )
    parts = {"milk_tumbler.ply": glass, "milk_side.ply": contact, "milk_top.ply": free}
    return Asset(body, {name: files.ply(part) for name, part in parts.items()})
