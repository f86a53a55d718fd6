"""Is anything inside an asset?  Its paths were baked without it, so that the picture would be wrong (the paper's Figure 14).

Geometry, lights and the camera must stay out of the convex hull of every asset, and hulls out of each other.  What only
touches is outside: it has to reach `DEPTH` of the asset's radius below the surface.  Meshes, spheres, rectangles, disks,
cylinders, the centre lines of curves and other assets are tested exactly; shapes whose surface cannot be read (instances,
signed distance grids) are probed by `CHORDS` segments within the hull.  Environments and directional lights are never inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import drjit as dr
import mitsuba as mi
import numpy as np

from ..asset import curves
from ..asset.convex import Hull, hull_of, surface

if TYPE_CHECKING:
    from .instances import SceneAssets

DEPTH = 2e-3  # of the asset's radius: how deep something has to reach to count as inside
CHORDS = 1 << 16
BLOCK = 1 << 19  # triangles tested at once
CAMERA_GRID = 9  # rays along each edge of the picture, where the camera's rays may begin

Point = tuple[float, float, float]

_hulls: WeakKeyDictionary = WeakKeyDictionary()  # asset -> Hull


class InsideAsset(ValueError):
    """Something is inside an asset, and the integrator is strict."""


@dataclass(frozen=True)
class Finding:
    """One thing inside one asset."""

    asset: int  # index of the instance
    what: str  # as it is told
    where: Point  # a point of it inside, world space


def hull_of_asset(asset) -> Hull:  # noqa: ANN001
    """The hull of a NeuralAsset's boundary, in asset space; computed once."""
    if asset not in _hulls:
        _hulls[asset] = hull_of(asset.boundary)
    return _hulls[asset]


class _Place:
    """One instance of an asset in the world."""

    def __init__(self, handle) -> None:  # noqa: ANN001
        self.handle, self.asset, self.instance = handle, handle.asset, handle.instance
        self.name = handle.id().removesuffix("_asset") or handle.weights
        self._matrix = np.array(handle.to_world.matrix, dtype=np.float64)
        self.inverse = np.linalg.inv(self._matrix)
        self.depth = DEPTH * float(self.asset.scale)

    @property
    def hull(self) -> Hull:
        return hull_of_asset(self.asset)

    def to_asset(self, points: np.ndarray) -> np.ndarray:
        return points @ self.inverse[:3, :3].T + self.inverse[:3, 3]

    def to_world(self, points: np.ndarray) -> np.ndarray:
        return points @ self._matrix[:3, :3].T + self._matrix[:3, 3]

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Box around what counts as inside, world space, without the hull."""
        box = self.instance.bbox()
        depth = self.depth * np.cbrt(np.linalg.det(self._matrix[:3, :3]))
        return np.array(box.min) + depth, np.array(box.max) - depth

    def near(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Whether a box may reach inside."""
        own_low, own_high = self.box()
        return bool((low < own_high).all() and (high > own_low).all())

    def known(self, shape: mi.Shape, look: Callable[[], Point | None]) -> Point | None:
        """What `look` finds of a shape; it is asked once as long as the shape and its box are the same."""
        key = (shape.id(), shape.class_name(), *np.array(shape.bbox().min), *np.array(shape.bbox().max))
        if key not in self.handle.known:
            self.handle.known[key] = look()
        return self.handle.known[key]

    def point_of(self, triangles: np.ndarray) -> Point | None:
        """A point of triangles [T, 3, 3], world space, that is inside."""
        for begin in range(0, len(triangles), BLOCK):
            found = self.hull.reached_by(self.to_asset(triangles[begin : begin + BLOCK]), self.depth)
            if found is not None:
                return tuple(self.to_world(found).tolist())
        return None

    def first_of(self, points: np.ndarray) -> Point | None:
        """The first of points [N, 3], world space, that is inside."""
        inside = self.hull.contains(self.to_asset(points), self.depth)
        return tuple(points[inside][0].tolist()) if inside.any() else None


def _triangles(shape: mi.Shape) -> np.ndarray | None:
    """The surface of a shape, [T, 3, 3], world space; None where it cannot be read."""
    if shape.is_mesh():
        params = mi.traverse(shape)
        if "vertex_positions" in params:
            vertices = np.array(params["vertex_positions"], dtype=np.float64).reshape(-1, 3)
            return vertices[np.array(params["faces"], dtype=np.int64).reshape(-1, 3)]
    kind = shape.class_name()
    if kind in ("Sphere", "Rectangle", "Disk", "Cylinder"):
        matrix = np.array(mi.traverse(shape)["to_world"].matrix, dtype=np.float64).reshape(4, 4)
        return surface({"type": kind.lower(), "to_world": matrix})
    if curves.plugin_of(shape):
        return surface(curves.geometry(shape, shape.id()))
    return None


def _name(shape: mi.Shape) -> str:
    lamp = "the light of shape" if shape.is_emitter() else "shape"
    if shape.id():
        return f"{lamp} {shape.id()!r}"
    return f"{lamp} without id ({shape.class_name().lower()}; loading merges meshes of one BSDF)"


def _probe(shape: mi.Shape, place: _Place, groups: list) -> Point | None:
    """Look for a shape that cannot be read, along chords between points of the hull, which is shrunk by what counts as touching."""
    hull, rng = place.hull, np.random.default_rng(0)
    if not len(hull.vertices):
        return None
    center = hull.vertices.mean(0)
    shrink = 1 - place.depth / (hull.offsets - hull.normals @ center).min()
    if shrink <= 0:
        return None
    weights = rng.exponential(size=(2, CHORDS, 4))
    corners = center + shrink * (hull.vertices[rng.integers(len(hull.vertices), size=(2, CHORDS, 4))] - center)
    ends = (corners * (weights / weights.sum(-1, keepdims=True))[..., None]).sum(2)
    near = np.clip(place.to_world(center[None]), np.array(shape.bbox().min), np.array(shape.bbox().max))
    if place.first_of(near) is not None:  # half of the chords lead there
        half = CHORDS // 2
        ends[1, :half] += (place.to_asset(near) - ends[1, :half]) * rng.uniform(size=(half, 1))
    a, b = place.to_world(ends[0]), place.to_world(ends[1])
    parts, names = [shape, *groups], [part.id() for part in (shape, *groups)]
    scene = mi.load_dict({"type": "scene", **{f"part_{k}": part for k, part in enumerate(parts)}}, parallel=False)
    for part, name in zip(parts, names, strict=True):
        part.set_id(name)  # loading has given them others
    length = np.linalg.norm(b - a, axis=-1)
    ray = mi.Ray3f(mi.Point3f(a.T), mi.Vector3f(((b - a) / length[:, None]).T), mi.Float(length), mi.Float(0), [])
    hit = scene.ray_intersect_preliminary(ray)
    t = np.array(hit.t)
    found = np.isfinite(t)
    return tuple((a + t[:, None] * (b - a) / length[:, None])[found][0].tolist()) if found.any() else None


class Guard:
    """Watches over one scene.

    Args:
        scene: the scene.
        assets: its assets.
    """

    def __init__(self, scene: mi.Scene, assets: SceneAssets) -> None:
        self._scene = scene
        self._places = [_Place(handle) for handle in assets.handles]

    def look(self, sensor: mi.Sensor | None = None) -> list[Finding]:
        """All that is inside, each thing once an asset; as the scene stands."""
        return [*self._shapes(), *self._others(), *self._lights(), *(self._camera(sensor) if sensor else [])]

    def _shapes(self) -> list[Finding]:
        own = [place.instance for place in self._places]
        found = []
        for shape in self._scene.shapes():
            if any(shape == instance for instance in own):
                continue
            low, high = np.array(shape.bbox().min), np.array(shape.bbox().max)
            for k, place in enumerate(self._places):
                if not place.near(low, high):
                    continue
                point = place.known(shape, lambda shape=shape, place=place: self._reach(shape, place))
                if point is not None:
                    found.append(Finding(k, _name(shape), point))
        return found

    def _reach(self, shape: mi.Shape, place: _Place) -> Point | None:
        """A point of a shape inside an asset."""
        triangles = _triangles(shape)
        return _probe(shape, place, self._groups()) if triangles is None else place.point_of(triangles)

    def _groups(self) -> list:
        found: list = []

        class Visitor(mi.TraversalCallback):
            def put(self, name, value, flags, *_) -> None:  # noqa: ANN001, ANN002
                if isinstance(value, mi.Shape) and value.class_name().startswith("ShapeGroup"):
                    found.append(value)

        self._scene.traverse(Visitor())
        return found

    def _others(self) -> list[Finding]:
        """Assets whose hulls overlap: told of both."""
        found = []
        for k, place in enumerate(self._places):
            for j, other in enumerate(self._places):
                if j == k or not place.near(*other.box()):
                    continue
                point = place.point_of(other.to_world(other.hull.triangles))
                if point is not None:
                    found += [Finding(a, f"asset {self._places[b].name!r}", point) for a, b in ((k, j), (j, k))]
        return list({(f.asset, f.what): f for f in found}.values())

    def _lights(self) -> list[Finding]:
        found = []
        for emitter in self._scene.emitters():
            if emitter.get_shape() is not None or not mi.has_flag(emitter.flags(), mi.EmitterFlags.DeltaPosition):
                continue
            params = mi.traverse(emitter)
            point = np.array(params["position"]).reshape(3) if "position" in params else \
                np.array(params["to_world"].matrix, dtype=np.float64).reshape(4, 4)[:3, 3]  # fmt: skip
            found += self._points(np.asarray(point, dtype=np.float64)[None], f"light {emitter.id() or emitter.class_name()!r}")
        return found

    def _camera(self, sensor: mi.Sensor) -> list[Finding]:
        grid = dr.linspace(mi.Float, 0, 1, CAMERA_GRID)
        x, y = dr.meshgrid(grid, grid)
        rays, _ = sensor.sample_ray(mi.Float(sensor.shutter_open()), mi.Float(0.5), mi.Point2f(x, y), mi.Point2f(y, x))
        return self._points(np.array(rays.o, dtype=np.float64).T, f"the camera {sensor.id()!r}" if sensor.id() else "the camera")

    def _points(self, points: np.ndarray, name: str) -> list[Finding]:
        low, high = points.min(0), points.max(0)
        near = [(k, place) for k, place in enumerate(self._places) if place.near(low, high)]
        return [Finding(k, name, point) for k, place in near if (point := place.first_of(points)) is not None]

    def text(self, findings: list[Finding]) -> str:
        """What is wrong, and what to do."""
        lines = []
        for k, place in enumerate(self._places):
            inside = [f"{f.what} at [{', '.join(f'{x:.4g}' for x in f.where)}]" for f in findings if f.asset == k]
            if inside:
                lines.append(f"inside asset {place.name!r}: {'; '.join(inside)}")
        return (
            f"nap_path: {'. '.join(lines)}. An asset was baked alone, so its light is wrong where something is within its convex hull: "
            'move it out, or bake both as one asset; aovs="bad:neural_invalid" shows where'
        )

    def marks(self, findings: list[Finding], rays: mi.Ray3f, assets: SceneAssets) -> mi.Float:
        """1 for rays that meet an asset with something inside, or something within such an asset's hull; else 0."""
        invalid = sorted({f.asset for f in findings})
        if not invalid:
            return dr.zeros(mi.Float, dr.width(rays))
        si = self._scene.ray_intersect(mi.Ray3f(rays))
        model, instance = assets.lookup(si)
        flags = np.isin(np.arange(len(self._places)), invalid)
        on_asset = si.is_valid() & (model > 0)
        marked = on_asset & dr.gather(mi.Bool, mi.Bool(flags), instance, on_asset)
        for k in invalid:
            place = self._places[k]
            marked |= _within(place, si.p, si.is_valid() & ~on_asset)
        return dr.select(marked, mi.Float(1), mi.Float(0))


def _within(place: _Place, p: mi.Point3f, active: mi.Bool) -> mi.Bool:
    """Whether points, world space, are inside an asset."""
    hull, p = place.hull, mi.Transform4f(place.inverse.tolist()) @ p
    count = len(hull.offsets)
    rows = mi.Float(np.concatenate([hull.normals, hull.offsets[:, None] - place.depth], 1).astype(np.float32).ravel())

    def unfinished(i: mi.UInt32, inside: mi.Bool) -> mi.Bool:
        return inside & (i < count)

    def step(i: mi.UInt32, inside: mi.Bool) -> tuple[mi.UInt32, mi.Bool]:
        nx, ny, nz, offset = (dr.gather(mi.Float, rows, 4 * i + k, inside) for k in range(4))
        return i + 1, inside & (nx * p.x + ny * p.y + nz * p.z <= offset)

    _, inside = dr.while_loop((dr.zeros(mi.UInt32, dr.width(p)), active & mi.Bool(count > 0)), unfinished, step)
    return inside


def watch(scene: mi.Scene, assets: SceneAssets, sensor: mi.Sensor, strict: bool) -> Callable[[mi.Ray3f], mi.Float]:
    """Look for what is inside an asset, and tell it once; returns what marks the rays that are concerned.

    Raises:
        InsideAsset: there is something, and `strict` is set.
    """
    guard = Guard(scene, assets)
    findings = guard.look(sensor)
    if findings:
        text = guard.text(findings)
        if strict:
            raise InsideAsset(text)
        first = assets.handles[0]
        if first.told != text:
            mi.Log(mi.LogLevel.Warn, text)
            first.told = text
    return lambda rays: guard.marks(findings, rays, assets)
