"""Bunny: a crouching hare of veined stone; albedo and density from volume grids, rough boundary.  It looks along -y."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset
from .implicit import blend, capsule, ellipsoid, mirrored

LOW, HIGH = (-0.55, -0.75, -0.05), (0.55, 0.75, 1.5)


def distance(p: np.ndarray) -> np.ndarray:
    """The hare's implicit function."""
    q = mirrored(p)
    trunk = blend([ellipsoid(p, (0, 0.2, 0.4), (0.33, 0.42, 0.38)), ellipsoid(p, (0, -0.15, 0.4), (0.24, 0.26, 0.34))], 0.12)
    thigh = ellipsoid(q, (0.24, 0.2, 0.28), (0.15, 0.28, 0.26))
    hind = capsule(q, (0.28, 0.24, 0.07), (0.26, -0.16, 0.055), 0.085, 0.065)
    fore = capsule(q, (0.12, -0.26, 0.36), (0.11, -0.38, 0.06), 0.085, 0.06)
    paw = ellipsoid(q, (0.11, -0.43, 0.05), (0.07, 0.1, 0.055))
    head = blend([ellipsoid(p, (0, -0.36, 0.8), (0.2, 0.24, 0.2)), ellipsoid(p, (0, -0.52, 0.74), (0.12, 0.14, 0.12))], 0.06)
    cheek = ellipsoid(q, (0.1, -0.47, 0.73), (0.09, 0.1, 0.09))
    lean = mesh.rotation("y", 0.22) @ mesh.rotation("x", -0.35)
    ear = ellipsoid(q, (0.13, -0.12, 1.17), (0.085, 0.05, 0.31), lean)
    hollow = ellipsoid(q, (0.128, -0.168, 1.18), (0.05, 0.04, 0.25), lean)
    ear = -blend([-ear, hollow], 0.02)
    tail = ellipsoid(p, (0, 0.62, 0.3), (0.12, 0.11, 0.12))
    figure = blend([trunk, thigh, hind, fore, paw], 0.045)
    figure = blend([figure, blend([head, cheek], 0.04), ear, tail], 0.05)
    eye = ellipsoid(q, (0.175, -0.46, 0.84), (0.03, 0.035, 0.035))
    nose = ellipsoid(p, (0, -0.655, 0.77), (0.03, 0.025, 0.02))
    figure = blend([-blend([-figure, eye], 0.012), nose], 0.015)
    return np.maximum(figure, 0.004 - p[..., 2])


def veins(count: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Albedo [Z, Y, X, 3] and density [Z, Y, X, 1] of dark veins in bright stone."""
    rng = np.random.default_rng(3)
    z, y, x = np.meshgrid(*[np.linspace(0, 1, count)] * 3, indexing="ij")
    noise, total = np.zeros_like(x), 0.0
    for octave in range(4):
        for _ in range(4):
            wave = rng.normal(size=3) * 4 * 2**octave
            noise += 0.5**octave * np.sin(wave[0] * x + wave[1] * y + wave[2] * z + rng.uniform(0, 6.3))
        total += 0.5**octave
    vein = np.exp(-((noise / total / 0.35) ** 2))[..., None]
    bright, dark = np.array([0.985, 0.94, 0.88]), np.array([0.9, 0.55, 0.42])
    return bright + (dark - bright) * vein, 0.35 + 0.65 * vein


def make() -> Asset:
    """The hare, 1.4 units tall."""
    figure = mesh.standing(mesh.level_set(distance, LOW, HIGH, 0.0135))
    albedo, density = veins()
    box = (-0.6, -0.8, -0.02), (0.6, 0.8, 1.52)
    body = (
        xml.bsdf("roughdielectric", "bunny_surface", int_ior=1.5, ext_ior=1.0, alpha=0.2)
        + xml.heterogeneous("stone", 70, "bunny_albedo.vol", "bunny_density.vol")
        + xml.shape("ply", "bunny", "bunny.ply", "bunny_surface", "stone")
    )
    volumes = {"bunny_albedo.vol": files.volume(albedo, *box), "bunny_density.vol": files.volume(density, *box)}
    return Asset(body, {"bunny.ply": files.ply(figure), **volumes})
