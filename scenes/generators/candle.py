"""Candle: wax behind a smooth boundary, with a burnt-in hollow, drips and a wick."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset

HEIGHT, RADIUS = 1.25, 0.36
DRIPS = ((0.3, 0.62), (1.35, 0.3), (2.3, 0.8), (3.5, 0.45), (4.35, 0.95), (5.5, 0.35))  # angle, length


def _drips(points: np.ndarray) -> np.ndarray:
    """Wax that has run down from the rim."""
    angle = np.arctan2(points[..., 1], points[..., 0])
    radius, z = np.hypot(points[..., 0], points[..., 1]), points[..., 2]
    swell = np.zeros_like(z)
    for at, length in DRIPS:
        away = np.angle(np.exp(1j * (angle - at))) * RADIUS
        down = (HEIGHT - z) / length
        width = 0.035 * (1 + 0.5 * np.exp(-((down - 0.93) ** 2) / 0.01))
        run = 1 / (1 + np.exp((down - 1) * length / 0.018))
        swell = np.maximum(swell, 0.042 * run * (1 + 0.7 * np.exp(-((down - 0.92) ** 2) / 0.008)) * np.exp(-((away / width) ** 2)))
    rim = np.clip((radius - 0.3 * RADIUS) / (0.6 * RADIUS), 0, 1)
    lip = 0.03 * np.sin(2 * angle + 0.7) + 0.02 * np.sin(5 * angle)
    top = np.clip((z - 0.75 * HEIGHT) / (0.25 * HEIGHT), 0, 1)
    outside = np.where(z > 0.02, rim, 0)
    grown = 1 + swell * outside / np.maximum(radius, 1e-6)
    return np.stack([points[..., 0] * grown, points[..., 1] * grown, z + lip * top * rim], -1)


def make() -> Asset:
    """The candle, one and a quarter units tall."""
    rounded = [(RADIUS - 0.03 * (1 - np.cos(a)), HEIGHT - 0.03 * (1 - np.sin(a))) for a in np.linspace(0, np.pi / 2, 8)]
    rounded = [(r - 0.015 * k / 8, z) for k, (r, z) in enumerate(rounded)]
    side = [(RADIUS, z) for z in np.linspace(0.02, HEIGHT - 0.03, 90)]
    foot = [(0, 0), (0.5 * RADIUS, 0), (RADIUS - 0.02, 0), (RADIUS - 0.006, 0.006)]
    hollow = mesh.smooth([rounded[-1], (0.78 * RADIUS, HEIGHT - 0.055), (0.45 * RADIUS, HEIGHT - 0.13), (0.02, HEIGHT - 0.15)], 28)[1:]
    wax = mesh.lathe([*foot, *side, *rounded, *hollow, (0, HEIGHT - 0.15)], 160, _drips)
    wick = mesh.smooth([(0, 0, HEIGHT - 0.145), (0.005, 0, HEIGHT - 0.06), (0.03, 0.01, HEIGHT + 0.04), (0.075, 0.02, HEIGHT + 0.08)], 24)
    body = (
        xml.bsdf("dielectric", "candle_surface", int_ior=1.43, ext_ior=1.0)
        + xml.diffuse("candle_wick", (0.03, 0.025, 0.02))
        + xml.homogeneous("wax", (0.997, 0.982, 0.93), 45)
        + xml.shape("ply", "candle", "candle.ply", "candle_surface", "wax")
        + xml.shape("ply", "wick", "candle_wick.ply", "candle_wick")
    )
    return Asset(body, {"candle.ply": files.ply(wax), "candle_wick.ply": files.ply(mesh.tube(wick, 0.013, 12))})
