"""Bounds of a description, in float64, without Mitsuba."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .vocabulary import CURVES

if TYPE_CHECKING:
    from .description import Description

_SQUARE = np.array([[-1, -1, 0], [1, -1, 0], [-1, 1, 0], [1, 1, 0]], dtype=np.float64)


def bounding_box(description: Description) -> tuple[list[float], list[float]]:
    """Smallest axis-aligned box around all shapes: (minimum [3], maximum [3])."""
    boxes = [part.box() for shape in description.shapes for part in _parts(shape["geometry"])]
    if not boxes:
        raise ValueError("the description holds no shape")
    return np.min([low for low, _ in boxes], 0).tolist(), np.max([high for _, high in boxes], 0).tolist()


def bounding_sphere(description: Description) -> tuple[list[float], float]:
    """A sphere around all shapes: (centre [3], radius).

    Exact for a single sphere.  Otherwise around the centre of the bounding box, through the farthest point of any shape
    (for disks and cylinders up to 1e-5 of their radius beyond it, for curves through that of their control polygon).
    """
    parts = [part for shape in description.shapes for part in _parts(shape["geometry"])]
    if len(parts) == 1 and isinstance(parts[0], _Ball):
        return parts[0].center.tolist(), parts[0].radius
    low, high = bounding_box(description)
    center = (np.array(low) + np.array(high)) / 2
    return center.tolist(), float(max(part.reach(center) for part in parts))


def support(description: Description, directions: np.ndarray) -> np.ndarray:
    """max over all shapes of n . x, for directions n [D, 3]: [D]."""
    parts = [part for shape in description.shapes for part in _parts(shape["geometry"])]
    if not parts:
        raise ValueError("the description holds no shape")
    return np.max([part.support(directions) for part in parts], 0)


def _farthest(points: np.ndarray, directions: np.ndarray, beyond: np.ndarray | float = 0.0) -> np.ndarray:
    """max over points [N, 3] of n . p, plus `beyond` (number or [N]), in parts that fit the memory: [D]."""
    beyond = np.broadcast_to(beyond, len(points))
    parts = [(points[k : k + 4096] @ directions.T + beyond[k : k + 4096, None]).max(0) for k in range(0, len(points), 4096)]
    return np.max(parts, 0)


class _Points:
    def __init__(self, points: np.ndarray) -> None:
        self.points = points

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.points.min(0), self.points.max(0)

    def reach(self, center: np.ndarray) -> float:
        return float(np.sqrt(((self.points - center) ** 2).sum(-1).max()))

    def support(self, directions: np.ndarray) -> np.ndarray:
        return _farthest(self.points, directions)


class _Ball:
    def __init__(self, center: np.ndarray, radius: float) -> None:
        self.center, self.radius = center, radius

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.center - self.radius, self.center + self.radius

    def reach(self, center: np.ndarray) -> float:
        return float(np.linalg.norm(self.center - center)) + self.radius

    def support(self, directions: np.ndarray) -> np.ndarray:
        return directions @ self.center + self.radius


class _Rim:
    """The ellipse center + cos(t) u + sin(t) v."""

    def __init__(self, center: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
        self.center, self.u, self.v, self.half = center, u, v, np.sqrt(u**2 + v**2)
        self.radius = float(np.linalg.norm(np.stack([u, v]), 2))  # the longer half axis

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return self.center - self.half, self.center + self.half

    def reach(self, center: np.ndarray) -> float:
        """Distance of the farthest point.

        f^2 = |p(t) - center|^2 has |(f^2)''| <= 2 (r^2 + f r), and its maximum is at least r^2; so the best of points
        that are 2 d apart falls short by at most r d^2.
        """
        t, d = np.linspace(0, 2 * np.pi, 1024, endpoint=False), np.pi / 1024
        points = self.center - center + np.cos(t)[:, None] * self.u + np.sin(t)[:, None] * self.v
        return float(np.sqrt((points**2).sum(-1).max())) + self.radius * d**2

    def support(self, directions: np.ndarray) -> np.ndarray:
        return directions @ self.center + np.hypot(directions @ self.u, directions @ self.v)


class _Balls:
    """Balls [N, 4]: x, y, z, radius."""

    def __init__(self, balls: np.ndarray) -> None:
        self.centers, self.radii = balls[:, :3], balls[:, 3:]

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        return (self.centers - self.radii).min(0), (self.centers + self.radii).max(0)

    def reach(self, center: np.ndarray) -> float:
        return float((np.linalg.norm(self.centers - center, axis=1) + self.radii[:, 0]).max())

    def support(self, directions: np.ndarray) -> np.ndarray:
        return _farthest(self.centers, directions, self.radii[:, 0])


def _hull(geometry: dict[str, Any]) -> np.ndarray:
    """Balls whose convex hull holds the curves, a hull for each segment: [N, 4].

    Of a B-spline the control points of the same segment as a Bezier curve, which lie nearer to it than its own.
    """
    points, counts = geometry["control_points"].double().numpy(), geometry["counts"].tolist()
    if geometry["type"] == "linearcurve":
        return points
    parts = []
    for p in np.split(points, np.cumsum(counts)[:-1]):
        middle = np.concatenate([(2 * p[1:-2] + p[2:-1]) / 3, (p[1:-2] + 2 * p[2:-1]) / 3])
        parts += [(p[:-2] + 4 * p[1:-1] + p[2:]) / 6, middle]
    return np.concatenate(parts)


def _parts(geometry: dict[str, Any]) -> Iterator[_Points | _Ball | _Balls | _Rim]:
    if geometry["type"] == "mesh":
        yield _Points(geometry["vertices"].double().numpy())
        return
    if geometry["type"] in CURVES:
        yield _Balls(_hull(geometry))
        return
    matrix = np.array(geometry["to_world"], dtype=np.float64)
    linear, offset = matrix[:3, :3], matrix[:3, 3]
    kind = geometry["type"]
    if kind == "sphere":
        center = linear @ np.array(geometry.get("center", [0.0, 0.0, 0.0]), dtype=np.float64) + offset
        yield _Ball(center, float(np.linalg.norm(linear, 2)) * float(geometry.get("radius", 1.0)))
    elif kind == "rectangle":
        yield _Points(_SQUARE @ linear.T + offset)
    elif kind in ("disk", "cylinder"):
        for rim in rims(geometry):
            yield _Rim(*rim)
    else:
        raise ValueError(f"no bounds for geometry of type {kind!r}")


def rims(geometry: dict[str, Any]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The ellipses center + cos(t) u + sin(t) v at the ends of a cylinder, or the one around a disk: (center, u, v) [3] each."""
    matrix = np.array(geometry["to_world"], dtype=np.float64)
    linear, offset = matrix[:3, :3], matrix[:3, 3]
    if geometry["type"] == "disk":
        return [(offset, linear[:, 0], linear[:, 1])]
    p0, p1 = (np.array(geometry.get(k, v), dtype=np.float64) for k, v in (("p0", [0, 0, 0]), ("p1", [0, 0, 1])))
    radius, axis = float(geometry.get("radius", 1.0)), p1 - p0
    axis /= np.linalg.norm(axis)
    u = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    u /= np.linalg.norm(u)
    return [(linear @ p + offset, radius * linear @ u, radius * linear @ np.cross(axis, u)) for p in (p0, p1)]
