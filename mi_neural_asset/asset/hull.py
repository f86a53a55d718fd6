"""A convex polytope around all shapes, with a bounded number of faces: half-spaces n . x <= h, each of which touches the shapes.

Offsets are values of the support function h(n) = max n . x, so that everything lies inside however few directions are taken
(a discrete oriented polytope: Klosowski et al., Efficient Collision Detection Using Bounding Volume Hierarchies of k-DOPs, 1998).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .bounds import support

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .description import Description

CANDIDATES = 1024  # directions among which those of the faces are chosen
AXES = np.concatenate([np.eye(3), -np.eye(3)])


def spiral(count: int) -> np.ndarray:
    """Unit directions spread evenly over the sphere, [count, 3]."""
    z = 1 - (2 * np.arange(count) + 1) / count
    phi = np.arange(count) * np.pi * (3 - 5**0.5)
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(phi), r * np.sin(phi), z], -1)


def half_spaces(description: Description, center: Sequence[float], scale: float, count: int, least: float = 0.05) -> np.ndarray:
    """The asset's hull in normalised space, x_hat = (x - center) / scale.

    The six axis directions come first; then, one by one, the direction that takes most volume away.

    Args:
        description: the shapes.
        center, scale: of the bounding sphere, [3] and a number, scene units.
        count: number of half-spaces, at least 6.
        least: smallest offset: the centre lies so deep inside, also where the shapes leave it outside their hull.

    Returns:
        [count, 4]: unit normal and offset.
    """
    if not 6 <= count <= CANDIDATES:
        raise ValueError(f"half_spaces: count must be from 6 to {CANDIDATES}, got {count}")
    normals = np.concatenate([AXES, spiral(CANDIDATES)])
    offsets = np.maximum((support(description, normals) - normals @ np.asarray(center)) / scale, least)
    rays = spiral(2 * CANDIDATES)
    cosine = normals @ rays.T
    reach = np.where(cosine > 1e-3, offsets[:, None] / np.maximum(cosine, 1e-3), np.inf)  # [directions, rays]: way to each plane
    chosen = list(range(6))
    radius = reach[:6].min(0)
    while len(chosen) < count:
        volumes = (np.minimum(reach, radius) ** 3).sum(1)
        volumes[chosen] = np.inf
        chosen.append(int(volumes.argmin()))
        radius = np.minimum(radius, reach[chosen[-1]])
    return np.concatenate([normals[chosen], offsets[chosen, None]], 1)
