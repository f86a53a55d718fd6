"""Triangle meshes of the generated scenes: surfaces of revolution, tubes, sheets, level sets; all in numpy.

Meshes are pairs of vertices, float [V, 3], and faces, int [F, 3], counter-clockwise as seen from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray]


def join(meshes: Sequence[Mesh]) -> Mesh:
    """All meshes as one."""
    first = np.cumsum([0] + [len(v) for v, _ in meshes])
    return np.concatenate([v for v, _ in meshes]), np.concatenate([f + k for (_, f), k in zip(meshes, first, strict=False)])


def moved(mesh: Mesh, matrix: np.ndarray, offset: Sequence[float] = (0, 0, 0)) -> Mesh:
    """matrix [3, 3] times vertices, plus an offset; no mirrors."""
    return mesh[0] @ np.asarray(matrix, float).T + np.asarray(offset, float), mesh[1]


def rotation(axis: str, angle: float) -> np.ndarray:
    """About a coordinate axis, in radians: [3, 3]."""
    c, s = np.cos(angle), np.sin(angle)
    turn = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]], "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}
    return np.array(turn[axis], float)


def smooth(points: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """Catmull-Rom curve through points [K, D], `count` points on it, evenly in the parameter."""
    p = np.asarray(points, float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, len(p) - 3, count)
    k = np.minimum(t.astype(int), len(p) - 4)
    t = (t - k)[:, None]
    a, b, c, d = (p[k + j] for j in range(4))
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def grid(points: np.ndarray, closed: bool = False) -> Mesh:
    """A sheet of points [M, N, 3]; with `closed` its last row along N meets the first."""
    m, n = points.shape[:2]
    i, j = np.meshgrid(np.arange(m - 1), np.arange(n if closed else n - 1), indexing="ij")
    corner = [(i * n + j), (i + 1) * n + j, (i + 1) * n + (j + 1) % n, i * n + (j + 1) % n]
    a, b, c, d = (q.reshape(-1) for q in corner)
    return points.reshape(-1, 3), np.concatenate([np.stack([a, d, c], -1), np.stack([a, c, b], -1)])


def lathe(profile: Sequence[Sequence[float]], segments: int = 64, shape: Callable[[np.ndarray], np.ndarray] | None = None) -> Mesh:
    """A profile (radius, z), from below to above on the outside, turned about the z axis; ends on the axis are closed.

    Args:
        profile: [K, 2]; radius 0 at an end makes a pole.
        segments: around the axis.
        shape: moves the points [K, segments, 3] before they become a mesh.
    """
    profile = np.asarray(profile, float)
    phi = np.arange(segments) * 2 * np.pi / segments
    ring = np.stack([np.cos(phi), np.sin(phi)], -1)
    points = np.concatenate([profile[:, None, :1] * ring, np.broadcast_to(profile[:, None, 1:], (len(profile), segments, 1))], -1)
    vertices, faces = grid(points if shape is None else shape(points), closed=True)
    return weld(vertices, faces)


def weld(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Equal vertices become one, triangles without area go."""
    unique, index = np.unique(np.round(vertices, 9) + 0.0, axis=0, return_inverse=True)
    faces = index.reshape(-1)[faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return unique, faces[whole]


def tube(path: np.ndarray, radius: np.ndarray | float, sides: int = 16, flat: float = 1.0) -> Mesh:
    """A closed tube along points [N, 3]; `flat` squeezes its section in the second direction."""
    path = np.asarray(path, float)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    u = np.cross(tangent[0], np.eye(3)[np.argmin(np.abs(tangent[0]))])
    frames = []
    for t in tangent:  # carried along without twisting
        u = u - t * (u @ t)
        u /= np.linalg.norm(u)
        frames.append((u, np.cross(t, u)))
    u, v = (np.array([f[k] for f in frames])[:, None] for k in range(2))
    phi = (np.arange(sides) * 2 * np.pi / sides)[None, :, None]
    radius = np.broadcast_to(radius, len(path))[:, None, None]
    rings = path[:, None] + radius * (np.cos(phi) * u + flat * np.sin(phi) * v)
    ends = [np.broadcast_to(path[k], (1, sides, 3)) for k in (0, -1)]
    return weld(*grid(np.concatenate([ends[0], rings, ends[1]]), closed=True))


def volume(mesh: Mesh) -> float:
    """Signed volume of a closed mesh; positive if its faces look outwards."""
    a, b, c = (mesh[0][mesh[1][:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def level_set(distance: Callable[[np.ndarray], np.ndarray], low: Sequence[float], high: Sequence[float], step: float) -> Mesh:
    """The surface distance = 0 of points [..., 3] within a box, by marching cubes; the largest piece alone."""
    from skimage.measure import label, marching_cubes

    axes = [np.arange(a, b, step) + 0.37 * step for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
    coarse = distance(points[2::4, 2::4, 2::4])
    nearest = [np.minimum(np.arange(len(a)) // 4, n - 1) for a, n in zip(axes, coarse.shape, strict=True)]
    field = coarse[np.ix_(*nearest)].astype(np.float32)
    close = np.abs(field) < 6 * step  # elsewhere the sign of the nearest coarse point will do
    field[close] = distance(points[close])
    pieces = label(field < 0)
    field[(pieces > 0) & (pieces != np.bincount(pieces[pieces > 0]).argmax())] = 0.5 * step
    vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=(step,) * 3)
    vertices, faces = weld(vertices + [a[0] for a in axes], faces)
    return (vertices, faces) if volume((vertices, faces)) > 0 else (vertices, faces[:, ::-1])


def standing(mesh: Mesh) -> Mesh:
    """The mesh with its lowest point at z = 0."""
    return mesh[0] - [0, 0, mesh[0][:, 2].min()], mesh[1]
