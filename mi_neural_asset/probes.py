"""Probes on an asset's surface: where they are, what each sees alone, and which of them a point lies between.

All shapes but curves become one triangle mesh that is fine enough for the tables and no finer than their number allows; its
vertices are the probes.  Mesh and numbers are a function of the boundary alone, so that a loaded asset finds its probes again.
"""

from __future__ import annotations

import math
from typing import Any

import drjit as dr
import mitsuba as mi
import torch
from torch import Tensor

from .asset.bounds import rims
from .asset.build import build_mesh
from .asset.vocabulary import ANALYTIC
from .interop import to_torch, to_vector
from .model.probes import CORNERS

LONGEST = 0.08  # longest edge, in radii
NEAREST = 0.01  # probes of one orientation are not closer than that, in radii
GRID_SHIFT = 0.3717  # of the cells in which they are counted: vertices at round numbers must not lie on borders, where rounding decides
AVOID_TIES = 1e-6  # added to a normal's y, and twice to its z, where its longest axis is asked
OFFSET = 2e-3  # rays of a probe start this far from the surface, in radii
REACH = 0.02  # a point is sought on the probes' mesh from this far along its normal, in radii
MOST_TRIANGLES = 1 << 20
COLUMNS = 64  # of numbers of the probes that are averaged at once


class ProbeMesh:
    """The probes of one asset.

    Args:
        shapes: of the boundary's `Description`.
        center, scale: the asset's frame.
        count: most probes.

    Attributes:
        center, scale: the asset's frame.
        corners: probes of each triangle, int64 [F, 3].
        points, normals: of the probes, normalised space, [P, 3].
        area: of the surface that each stands for, [P].
        scene: the mesh in scene units; None if nothing has a surface.
    """

    def __init__(self, shapes: list[dict[str, Any]], center: Any, scale: float, count: int) -> None:  # noqa: ANN401
        self.center, self.scale = torch.as_tensor(center, dtype=torch.float64), float(scale)
        self.count = count
        vertices, faces = _triangles(shapes)
        self.corners = torch.zeros(0, 3, dtype=torch.int64)
        self.points = self.normals = torch.zeros(0, 3, dtype=torch.float64)
        self.area = torch.zeros(0, dtype=torch.float64)
        self.scene = None
        if len(faces):
            self._build((vertices - self.center) / self.scale, faces)

    def _build(self, vertices: Tensor, faces: Tensor) -> None:
        vertices, faces = _subdivided(vertices, faces)
        _, same = torch.unique((vertices * 1e6).round().long(), dim=0, return_inverse=True)
        facing = torch.linalg.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
        normals = torch.zeros(int(same.max()) + 1, 3, dtype=torch.float64)
        for k in range(3):
            normals.index_add_(0, same[faces[:, k]], facing)
        normals = torch.nn.functional.normalize(normals, dim=-1)[same]
        probe, first = _clusters(vertices, normals, self.count)
        self.corners = probe[faces]
        self.points, self.normals = vertices[first], normals[first]
        area = facing.norm(dim=-1)
        self.area = torch.zeros(len(first), dtype=torch.float64)
        for k in range(3):
            self.area.index_add_(0, self.corners[:, k], area / 6)
        self.scene = mi.load_dict({"type": "scene", "probes": _mesh(vertices * self.scale + self.center, faces)}, parallel=False)

    def place(self, x: Tensor, n: Tensor) -> Tensor:
        """Numbers of the three probes around points and their weights, [N, 6]; zero where there are none.

        Args:
            x, n: points and normals, normalised space, [N, 3].
        """
        if self.scene is None or not len(x):
            return x.new_zeros(len(x), 2 * CORNERS)
        start = (x.cpu() + REACH * n.cpu()) * self.scale + self.center.float()
        ray = mi.Ray3f(to_vector(start, mi.Point3f), to_vector(-n))
        ray.maxt = 2 * REACH * self.scale
        pi = self.scene.ray_intersect_preliminary(ray)
        triangle, met, b, c = (dr.select(pi.is_valid(), v, 0) for v in (pi.prim_index, mi.Float(1), pi.prim_uv.x, pi.prim_uv.y))
        dr.eval(triangle, met, b, c)  # together: each evaluation traces the rays
        triangle, met, b, c = (to_torch(value) for value in (triangle, met, b, c))
        weights = torch.stack([1 - b - c, b, c], -1)
        return (torch.cat([self.corners[triangle].float(), weights], -1) * met[:, None]).to(x.device)


class Average:
    """Of numbers of the probes [P, ...]: half a value, half the mean of its neighbours along the mesh, weighted by area."""

    def __init__(self, mesh: ProbeMesh) -> None:
        corners, area = mesh.corners, mesh.area
        edges = torch.cat([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
        edges = torch.unique(torch.cat([edges, edges.flip(1)]), dim=0)
        a, b = edges[edges[:, 0] != edges[:, 1]].T
        weight = area.float()[b].clamp_min(1e-12)
        total = torch.zeros(len(area)).index_add_(0, a, weight)
        self._alone = total == 0
        self._a, self._b, self._weight = a, b, (0.5 * weight / total[a])[:, None]

    def __call__(self, values: Tensor) -> Tensor:
        """[P, K] to the same, K columns after each other: there are more neighbours than probes."""
        result = torch.empty_like(values)
        for some, own in zip(result.split(COLUMNS, 1), values.split(COLUMNS, 1), strict=True):
            mean = (0.5 * own).index_add_(0, self._a, self._weight * own[self._b])
            some.copy_(torch.where(self._alone[:, None], own, mean))
        return result


def _clusters(vertices: Tensor, normals: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Number of each vertex's probe [V], and a vertex of each probe [P], P at most `count`.

    Vertices in one cell of a grid that face the same way become one.
    """
    axis = (normals.abs() + AVOID_TIES * torch.arange(3)).argmax(-1)
    way = 2 * axis + (normals.gather(1, axis[:, None])[:, 0] < 0)
    size = NEAREST
    while True:
        key = torch.cat([(vertices / size + GRID_SHIFT).floor().long(), way[:, None]], -1)
        kept, probe = torch.unique(key, dim=0, return_inverse=True)
        if len(kept) <= count or size > 4:
            break
        size *= 1.15
    probe = probe % count
    first = torch.full((int(probe.max()) + 1,), len(probe)).scatter_reduce(0, probe, torch.arange(len(probe)), "amin")
    return probe, first


def _subdivided(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Triangles with long edges in four, again and again."""
    while len(faces) < MOST_TRIANGLES:
        p = vertices[faces]
        long = (p - p.roll(1, 1)).norm(dim=-1).amax(-1) > LONGEST
        if not long.any():
            break
        p, rest = p[long], faces[~long]
        m = (p + p.roll(-1, 1)) / 2  # of edges 01, 12, 20
        parts = torch.stack([p[:, 0], m[:, 0], m[:, 2], m[:, 0], p[:, 1], m[:, 1], m[:, 2], m[:, 1], p[:, 2], m[:, 0], m[:, 1], m[:, 2]], 1)
        faces = torch.cat([rest, len(vertices) + torch.arange(12 * len(p)).view(-1, 3)])
        vertices = torch.cat([vertices, parts.reshape(-1, 3)])
        vertices, same = torch.unique(vertices, dim=0, return_inverse=True)
        faces = same[faces]
    return vertices, faces


def _mesh(vertices: Tensor, faces: Tensor) -> mi.Mesh:
    plain = {"vertices": vertices, "faces": faces, "normals": None, "texcoords": None, "face_normals": True, "flip_normals": False}
    return build_mesh("probes", plain, {})


def _triangles(shapes: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] and faces [F, 3] of all shapes that have a surface to walk on: all but curves."""
    vertices, faces, first = [torch.zeros(0, 3, dtype=torch.float64)], [torch.zeros(0, 3, dtype=torch.long)], 0
    for shape in shapes:
        geometry = shape["geometry"]
        if geometry["type"] == "mesh":
            v, f = geometry["vertices"].double(), geometry["faces"].long()
        elif geometry["type"] in ANALYTIC:
            v, f = _patch(geometry)
        else:
            continue
        vertices.append(v)
        faces.append(f + first)
        first += len(v)
    return torch.cat(vertices), torch.cat(faces)


def _patch(geometry: dict[str, Any], size: int = 96) -> tuple[Tensor, Tensor]:
    """A grid of triangles on an analytic shape."""
    grid = torch.linspace(0, 1, size + 1, dtype=torch.float64)
    v, u = (values.flatten()[:, None] for values in torch.meshgrid(grid, grid, indexing="ij"))
    corner = (torch.arange(size)[:, None] * (size + 1) + torch.arange(size)).flatten()
    a, b, c, d = corner, corner + 1, corner + size + 1, corner + size + 2
    return _point(geometry, u, v), torch.cat([torch.stack([a, d, b], -1), torch.stack([a, c, d], -1)])


def _point(geometry: dict[str, Any], u: Tensor, v: Tensor) -> Tensor:
    """Points of an analytic shape for (u, v) in the unit square, [N, 1] each: [N, 3]."""
    phi = 2 * math.pi * u
    if geometry["type"] in ("disk", "cylinder"):
        ends = [center + phi.cos() * a + phi.sin() * b for center, a, b in (map(torch.as_tensor, rim) for rim in rims(geometry))]
        start, end = ends if len(ends) == 2 else (torch.tensor(geometry["to_world"], dtype=torch.float64)[:3, 3], ends[0])
        return start + v * (end - start)
    if geometry["type"] == "sphere":
        theta = math.pi * v
        local = torch.cat([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1) * geometry.get("radius", 1.0)
        local = local + torch.tensor(geometry.get("center", [0.0, 0.0, 0.0]), dtype=torch.float64)
    else:
        local = torch.cat([2 * u - 1, 2 * v - 1, 0 * u], -1)
    matrix = torch.tensor(geometry["to_world"], dtype=torch.float64)
    return local @ matrix[:3, :3].T + matrix[:3, 3]
