"""Flowers: a bunch in a pot; petals and leaves are single sheets that let light through (`principledthin`)."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset
from .mesh import Mesh

BLOOMS, LEAVES = 30, 190


def sheet(length: float, width: float, bend: float, cup: float, ruffle: float, rows: int = 8, columns: int = 5, point: float = 0.8) -> Mesh:
    """A petal or leaf from the origin along x, bent towards z (over its length) and cupped (across it)."""
    s, w = np.meshgrid(np.linspace(0, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    outline = width * np.sin(np.pi * np.clip(0.04 + 0.96 * s, 0, 1) ** point) ** 0.8
    angle = bend * s
    x = length * np.where(np.abs(bend) > 1e-3, np.sin(angle) / bend, s)
    z = (
        length * np.where(np.abs(bend) > 1e-3, (1 - np.cos(angle)) / bend, 0)
        + cup * outline * w**2
        + ruffle * np.sin(9 * s + 2 * w) * w**2 * s
    )
    return mesh.grid(np.stack([x, outline * w, z], -1))


def frame(direction: np.ndarray) -> np.ndarray:
    """A rotation whose third column is the direction: [3, 3]."""
    u = np.cross([0.3, 0.9, 0.1], direction)
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(direction, u), direction], 1)


def bloom(rng: np.random.Generator, size: float) -> tuple[Mesh, Mesh]:
    """A flower that faces z at the origin: petals in two whorls, and its eye."""
    petals = []
    for whorl, (count, lift, scale) in enumerate(((8, 0.35, 1.0), (6, 0.85, 0.72))):
        for k in range(count):
            petal = sheet(size * scale, 0.34 * size * scale, 0.5 + 0.3 * rng.random(), 0.35, 0.02 * size, point=0.62)
            tilt = mesh.rotation("y", -lift - 0.2 * rng.random())
            turn = mesh.rotation("z", 2 * np.pi * (k + 0.5 * whorl + 0.12 * rng.random()) / count)
            petals.append(mesh.moved(petal, turn @ tilt))
    eye = mesh.lathe(
        [(0.0, -0.02), *[(0.2 * size * np.sin(a), 0.03 * size - 0.13 * size * np.cos(a)) for a in np.linspace(0.6, np.pi, 9)]], 20
    )
    return mesh.join(petals), eye


def plants() -> dict[str, list[Mesh]]:
    """Meshes of each material."""
    rng = np.random.default_rng(2)
    parts: dict[str, list[Mesh]] = {name: [] for name in ("red", "yellow", "violet", "eye", "stem", "leaf")}
    for k in range(BLOOMS):
        z = 1 - 0.95 * (k + 0.5) / BLOOMS
        azimuth = 2.4 * k
        out = np.array([np.sqrt(1 - z * z) * np.cos(azimuth), np.sqrt(1 - z * z) * np.sin(azimuth), 0.25 + z])
        out /= np.linalg.norm(out)
        top = np.array([0, 0, 0.62]) + out * [0.62, 0.62, 0.72] * rng.uniform(0.88, 1.05)
        foot = np.array([*rng.uniform(-0.12, 0.12, 2), 0.4])
        way = mesh.smooth([foot, 0.5 * (foot + top) + [0, 0, 0.06] + 0.03 * rng.normal(size=3), top], 14)
        parts["stem"].append(mesh.tube(way, np.linspace(0.011, 0.007, 14), 7))
        petals, eye = bloom(rng, rng.uniform(0.15, 0.2))
        turn = frame(out) @ mesh.rotation("z", rng.uniform(0, 6.3))
        parts[("red", "yellow", "violet")[k % 3]].append(mesh.moved(petals, turn, top))
        parts["eye"].append(mesh.moved(eye, turn, top))
    for _ in range(LEAVES):
        azimuth, z = rng.uniform(0, 6.3), rng.uniform(-0.1, 0.8)
        out = np.array([np.cos(azimuth), np.sin(azimuth), z])
        out /= np.linalg.norm(out)
        root = np.array([0, 0, 0.52]) + out * rng.uniform(0.08, 0.42) * np.array([1, 1, 1.1])
        leaf = sheet(rng.uniform(0.2, 0.32), 0.05, -rng.uniform(0.4, 1.3), 0.3, 0.004)
        across = np.cross([0, 0, 1], out)
        across /= np.linalg.norm(across)
        turn = np.stack([out, across, np.cross(out, across)], 1) @ mesh.rotation("x", rng.normal() * 0.5)
        parts["leaf"].append(mesh.moved(leaf, turn, root))
    return parts


def make() -> Asset:
    """The bunch, about a unit and a half wide and high."""
    thin = {"red": (0.85, 0.1, 0.12), "yellow": (0.95, 0.72, 0.12), "violet": (0.55, 0.25, 0.8), "leaf": (0.22, 0.5, 0.12)}
    pot = mesh.lathe(
        [
            (0.0, 0.0),
            (0.19, 0.0),
            (0.2, 0.01),
            *[(0.2 + 0.12 * t, 0.02 + 0.4 * t) for t in np.linspace(0, 1, 20)],
            (0.335, 0.43),
            (0.34, 0.47),
            (0.33, 0.475),
            (0.3, 0.465),
            (0.29, 0.43),
            (0.0, 0.42),
        ],
        80,
    )
    body = (
        xml.diffuse("terracotta", (0.55, 0.25, 0.14))
        + xml.diffuse("eye_paint", (0.45, 0.28, 0.05))
        + xml.diffuse("stem_paint", (0.16, 0.34, 0.1))
    )
    parts = plants()
    data = {"flowers_pot.ply": files.ply(pot)}
    for name, colour in thin.items():
        body += xml.bsdf("principledthin", f"{name}_sheet", xml.rgb("base_color", colour), roughness=0.5, diff_trans=1.0, eta=1.3)
    for name, sheets in parts.items():
        data[f"flowers_{name}.ply"] = files.ply(mesh.join(sheets))
        body += xml.shape("ply", f"flower_{name}", f"flowers_{name}.ply", f"{name}_sheet" if name in thin else f"{name}_paint")
    return Asset(body + xml.shape("ply", "flower_pot", "flowers_pot.ply", "terracotta"), data)
