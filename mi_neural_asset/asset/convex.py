"""The convex hull of an asset's boundary, as half-spaces; and surfaces as triangles, to ask whether they reach into it.

All is float64.  Round things are meshes with corners on them, so that they fall short of the true surface by at most
`SLACK` of their radius: what is called inside is inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .bounds import _SQUARE, rims
from .vocabulary import CURVES

if TYPE_CHECKING:
    from .description import Description

RING = 128  # points of a circle
SLACK = 1.2e-3  # how far the meshes of spheres and circles fall short of them, in radii
MAX_PRODUCTS = 1 << 22  # values of one block of tests
FIRST = 48  # half-spaces that are asked before all others
FLAT = 1e-9  # hulls thinner than this share of their size have no inside


class Hull:
    """Convex hull of points, {x: normals x <= offsets}.

    Args:
        points: [N, 3].

    Attributes:
        normals: [F, 3], unit, outwards.
        offsets: [F].
        vertices: corners, [V, 3].
        triangles: its surface, [T, 3, 3].

    A hull without volume has F = 0, and nothing is inside.
    """

    def __init__(self, points: np.ndarray) -> None:
        from scipy.spatial import ConvexHull

        points = np.asarray(points, dtype=np.float64)
        self.center = points.mean(0)
        extent = np.linalg.svd(points - self.center, compute_uv=False) if len(points) > 3 else np.zeros(3)
        if extent[-1] <= FLAT * max(extent[0], 1e-300):
            self.normals, self.offsets = np.zeros((0, 3)), np.zeros(0)
            self.vertices, self.triangles = points[:0], np.zeros((0, 3, 3))
            return
        size = np.abs(points - self.center).max()
        hull = ConvexHull((points - self.center) / size)
        planes, count = np.unique(hull.equations.round(12), axis=0, return_counts=True)
        planes = planes[np.argsort(-count)]
        planes = planes[_spread(planes[:, :3])]
        self.normals = planes[:, :3]
        self.offsets = -planes[:, 3] * size + self.normals @ self.center
        self.vertices, self.triangles = points[hull.vertices], points[hull.simplices]

    def contains(self, points: np.ndarray, depth: float) -> np.ndarray:
        """Whether points [N, 3] lie deeper than `depth` below every face: [N] bool."""
        if not len(self.normals):
            return np.zeros(len(points), bool)
        inside = np.ones(len(points), bool)
        for part in (slice(0, FIRST), slice(FIRST, None)):
            rows = inside.nonzero()[0]
            for block in np.array_split(rows, 1 + len(rows) * len(self.offsets[part]) // MAX_PRODUCTS):
                beyond = points[block] @ self.normals[part].T > self.offsets[part] - depth
                inside[block] = ~beyond.any(1)
        return inside

    def reached_by(self, triangles: np.ndarray, depth: float) -> np.ndarray | None:
        """A point of the triangles [T, 3, 3] that lies deeper than `depth` below every face, or None where there is none.

        Exact: triangles are cut by the faces until nothing or something is left.
        """
        if not len(self.normals):
            return None
        low, high = self.vertices.min(0) + depth, self.vertices.max(0) - depth
        rows = ((triangles.min(1) < high) & (triangles.max(1) > low)).all(1).nonzero()[0]
        for part in (slice(0, FIRST), slice(0, None)):
            kept = []
            for block in np.array_split(rows, 1 + 3 * len(rows) * len(self.offsets[part]) // MAX_PRODUCTS):
                corners = triangles[block].reshape(-1, 3)
                beyond = (corners @ self.normals[part].T > self.offsets[part] - depth).reshape(len(block), 3, self.offsets[part].size)
                if part.start == 0 and part.stop is None and (deep := ~beyond.any(2)).any():
                    return triangles[block][deep][0]
                kept.append(block[~beyond.all(1).any(1)])  # no face has the whole triangle beyond it
            rows = np.concatenate(kept)
        for triangle in triangles[rows]:
            found = self._cut(triangle, depth)
            if found is not None:
                return found
        return None

    def _cut(self, polygon: np.ndarray, depth: float) -> np.ndarray | None:
        """A point of a convex polygon [K, 3] inside all half-spaces, moved inwards by `depth`; None where there is none.

        The face that the polygon's middle violates most cuts it (Sutherland and Hodgman); each face cuts once.
        """
        limits = self.offsets - depth
        for _ in range(len(limits) + 1):
            middle = polygon.mean(0)
            excess = self.normals @ middle - limits
            face = int(excess.argmax())
            if excess[face] < 0:
                return middle
            height = polygon @ self.normals[face] - limits[face]
            after, next_height = np.roll(polygon, -1, 0), np.roll(height, -1)
            cut = (height > 0) != (next_height > 0)
            share = height[cut] / (height[cut] - next_height[cut])
            order = np.concatenate([np.arange(len(polygon))[height <= 0], np.arange(len(polygon))[cut] + 0.5])
            points = np.concatenate([polygon[height <= 0], polygon[cut] + share[:, None] * (after[cut] - polygon[cut])])
            if len(points) < 3:
                return None
            polygon = points[np.argsort(order)]
            if np.abs(polygon @ self.normals[face] - limits[face]).max() < 1e-12 * max(np.abs(polygon).max(), 1e-300):
                return None  # what is left lies in the face
        return None


def _spread(normals: np.ndarray) -> np.ndarray:
    """An order in which the first `FIRST` directions are far apart from each other."""
    chosen = [0]
    nearest = normals @ normals[0]
    for _ in range(min(FIRST, len(normals)) - 1):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, normals @ normals[chosen[-1]])
    rest = np.ones(len(normals), bool)
    rest[chosen] = False
    return np.concatenate([np.unique(chosen), rest.nonzero()[0]])


def hull_of(description: Description) -> Hull:
    """The hull of all shapes of a description."""
    return Hull(np.concatenate([_points(shape["geometry"]) for shape in description.shapes]))


def _points(geometry: dict[str, Any]) -> np.ndarray:
    """Points on a shape whose hull is that of the shape, [N, 3]."""
    if geometry["type"] not in CURVES:
        return geometry["vertices"].double().numpy() if geometry["type"] == "mesh" else np.unique(surface(geometry).reshape(-1, 3), axis=0)
    middle, radius = np.split(np.concatenate(_lines(geometry)), [3], 1)
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    return (middle[:, None] + radius[:, None] * axes).reshape(-1, 3)


def surface(geometry: dict[str, Any]) -> np.ndarray:
    """A shape as triangles, [T, 3, 3]; curves as their centre lines."""
    if geometry["type"] == "mesh":
        return geometry["vertices"].double().numpy()[geometry["faces"].numpy()]
    if geometry["type"] in CURVES:
        lines = [line[:, :3] for line in _lines(geometry)]
        a, b = (np.concatenate([line[part] for line in lines]) for part in (slice(None, -1), slice(1, None)))
        return np.stack([a, b, b], 1)
    matrix = np.array(geometry["to_world"], dtype=np.float64)
    kind = geometry["type"]
    if kind == "rectangle":
        corners = _SQUARE @ matrix[:3, :3].T + matrix[:3, 3]
        return corners[[[0, 1, 2], [1, 3, 2]]]
    if kind == "sphere":
        ball = geometry.get("center", [0.0, 0.0, 0.0]) + float(geometry.get("radius", 1.0)) * _ball()
        return ball @ matrix[:3, :3].T + matrix[:3, 3]
    t = np.arange(RING) * (2 * np.pi / RING)
    rings = [c + np.cos(t)[:, None] * u + np.sin(t)[:, None] * v for c, u, v in rims(geometry)]
    nexts = [np.roll(ring, -1, 0) for ring in rings]
    if kind == "disk":
        return np.stack([rings[0], nexts[0], np.broadcast_to(rings[0].mean(0), rings[0].shape)], 1)
    return np.concatenate([np.stack([rings[0], nexts[0], nexts[1]], 1), np.stack([rings[0], nexts[1], rings[1]], 1)])


def _lines(geometry: dict[str, Any]) -> list[np.ndarray]:
    """The centre lines of curves with their radii, as polylines of points on them: [N, 4] each."""
    points = np.split(geometry["control_points"].double().numpy(), np.cumsum(geometry["counts"].tolist())[:-1])
    return points if geometry["type"] == "linearcurve" else [_spline(p) for p in points]


def _spline(p: np.ndarray) -> np.ndarray:
    """Points at the knots and in the middles of a uniform cubic B-spline."""
    knots = (p[:-2] + 4 * p[1:-1] + p[2:]) / 6
    line = np.empty((2 * len(knots) - 1, p.shape[1]))
    line[::2], line[1::2] = knots, (p[:-3] + 23 * p[1:-2] + 23 * p[2:-1] + p[3:]) / 48
    return line


def _ball() -> np.ndarray:
    """The unit sphere as 5120 triangles with corners on it."""
    g = (1 + 5**0.5) / 2
    corners = np.array([(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g), (0, -1, -g), (0, 1, -g),
                        (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)], dtype=np.float64)  # fmt: skip
    faces = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6), (7, 1, 8),
             (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1)]  # fmt: skip
    triangles = corners[faces]
    for _ in range(4):
        a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
        ab, bc, ca = a + b, b + c, c + a
        triangles = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        triangles /= np.linalg.norm(triangles, axis=-1, keepdims=True)
    return triangles
