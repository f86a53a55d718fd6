"""Which hits belong to an asset: a table from Mitsuba's instance pointers to models and frames, built once per scene.

A `neural_asset` shape becomes a shape group, one instance of it and a *handle*, a small object that keeps the loaded
asset, shows up in `mi.traverse` and dies with the scene.  Inside a kernel `si.instance` is a registry index; the table says
which model and which frame that is.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from weakref import WeakKeyDictionary

import drjit as dr
import mitsuba as mi
import numpy as np

from ..model.far_field import FarField
from ..model.kinds import leaves_specular
from ..model.network import MLP
from ..specular import some_surface
from .choice import engine_for
from .engine import Networks
from .lobe import Lobe
from .passage import Passage
from .projection import Projection
from .shape import seen
from .volumes import Density


@dataclass
class Frames:
    """Per-lane similarity between normalised space and the world: p = origin + scale * R x_hat."""

    rotation: mi.Matrix3f
    origin: mi.Point3f
    scale: mi.Float

    def point_to_world(self, x: mi.Point3f) -> mi.Point3f:
        return mi.Point3f(self.rotation @ mi.Vector3f(x)) * self.scale + self.origin

    def point_to_asset(self, p: mi.Point3f) -> mi.Point3f:
        return mi.Point3f(self.rotation.T @ mi.Vector3f(p - self.origin)) / self.scale

    def to_world(self, w: mi.Vector3f) -> mi.Vector3f:
        return mi.Vector3f(self.rotation @ w)

    def to_asset(self, w: mi.Vector3f) -> mi.Vector3f:
        return mi.Vector3f(self.rotation.T @ w)


@dataclass
class Model:
    """One set of weights, shared by all of its instances."""

    kind: str
    engine: Networks
    projection: Projection
    separate_direct: bool
    specular: bool  # the renderer follows mirror reflections by the boundary, whatever they meet
    deep: bool  # light goes in through surfaces, or there is none: nearly all of it is learned
    inputs: int  # numbers that the networks are told of a hit
    find_lobe: Callable[[], Lobe]  # looks for it: takes a third of a second
    density: Density | None = None  # of a volume without boundary
    passage: Passage | None = None  # what passes unscattered, where the renderer follows that

    @cached_property
    def lobe(self) -> Lobe:
        """Around lights, in the shape of the model's exits."""
        return self.find_lobe()


_models: WeakKeyDictionary = WeakKeyDictionary()  # asset -> {(variant, device, engine, precision): Model}


def prepared(asset, device: str, engine: str = "auto", precision: str = "single") -> Model:  # noqa: ANN001
    """The asset made ready for rendering with the current variant: built once, shared by instances and scenes.

    Args:
        device: torch device that evaluates the networks.
        engine, precision: see `choice.engine_for`.
    """
    cache = _models.setdefault(asset, {})
    key = (mi.variant(), str(device), engine, precision)
    if key not in cache:
        module = asset.model()
        kind = "far_field" if isinstance(module, FarField) else "transport"
        projection = Projection(asset, module)
        density = Density(asset, projection.scene) if asset.is_volume else None
        direct, specular = module.config.separate_direct, leaves_specular(kind, module.config)
        passage = Passage.of(asset, projection.scene) if specular and not density else None
        deep = density is not None or _lets_in(projection.scene)
        own = module if str(device) == "cpu" else deepcopy(module)  # stays on the CPU
        lobe = Lobe if kind == "far_field" else partial(Lobe.of, own, projection, density)
        networks = engine_for(module, device, engine, precision)
        cache[key] = Model(kind, networks, projection, direct, specular, deep, _inputs(module), lobe, density, passage)
    return cache[key]


def _lets_in(boundary: mi.Scene) -> bool:
    """Whether light goes through some surface; through fibres it goes on, little of it to be learned."""
    flags = mi.BSDFFlags.DeltaTransmission, mi.BSDFFlags.GlossyTransmission, mi.BSDFFlags.DiffuseTransmission
    fibres = mi.ShapeType.BSplineCurve, mi.ShapeType.LinearCurve
    return some_surface(boundary, *flags, where=lambda shape: shape.shape_type() not in fibres)


def _inputs(module) -> int:  # noqa: ANN001
    """Widths of the first layers of all networks, and what surrounds a hit."""
    return sum(part.hidden[0].in_features for part in module.modules() if isinstance(part, MLP)) + module.config.surroundings


def find_handles(scene: mi.Scene) -> list:
    """The handles of all neural assets of a scene, in the order of traversal."""
    found = {}

    class Visitor(mi.TraversalCallback):
        def put(self, name, value, flags, *_) -> None:  # noqa: ANN001, ANN002
            if getattr(value, "is_neural_asset_handle", False):
                found[id(value)] = value
            elif isinstance(value, mi.Object) and id(value) not in seen:
                seen[id(value)] = value
                value.traverse(Visitor())

    seen: dict[int, mi.Object] = {}
    scene.traverse(Visitor())
    return list(found.values())


class SceneAssets:
    """The assets of one scene.

    Args:
        scene: a loaded scene of a JIT variant.
        device: torch device that evaluates the networks.
        engine, precision: see `choice.engine_for`.
    """

    def __init__(self, scene: mi.Scene, device: str = "cpu", engine: str = "auto", precision: str = "single") -> None:
        self.handles = find_handles(scene)
        self.models: list[Model] = []
        model_of: dict[int, int] = {}
        rows = []
        for handle in self.handles:
            seen(handle)
            asset = handle.asset
            if id(asset) not in model_of:
                model_of[id(asset)] = len(self.models)
                self.models.append(prepared(asset, device, engine, precision))
            registry = int(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(handle.instance))[0])
            rows.append((registry, model_of[id(asset)], *self._frame(handle)))
        if not rows:
            return
        size = max(row[0] for row in rows) + 1
        instance = np.zeros(size, np.uint32)
        model = np.zeros(size, np.uint32)  # 0: not an asset
        for index, row in enumerate(rows):
            instance[row[0]], model[row[0]] = index, row[1] + 1
        self._size = size
        self._instance, self._model = mi.UInt32(instance), mi.UInt32(model)
        self._rotation = mi.Float(np.stack([row[2] for row in rows]).astype(np.float32).ravel())
        self._origin = mi.Float(np.stack([row[3] for row in rows]).astype(np.float32).ravel())
        self._scale = mi.Float(np.array([row[4] for row in rows], np.float32))

    def __len__(self) -> int:
        return len(self.handles)

    @staticmethod
    def _frame(handle) -> tuple[np.ndarray, np.ndarray, float]:  # noqa: ANN001
        matrix = np.array(handle.to_world.matrix, dtype=np.float64)
        factor = np.cbrt(np.linalg.det(matrix[:3, :3]))
        center = np.asarray(handle.asset.center, dtype=np.float64)
        return matrix[:3, :3] / factor, matrix[:3, :3] @ center + matrix[:3, 3], float(factor * handle.asset.scale)

    def lookup(self, si: mi.SurfaceInteraction3f) -> tuple[mi.UInt32, mi.UInt32]:
        """(model index + 1, or 0 where no asset was hit; instance index) of hits."""
        registry = dr.reinterpret_array(mi.UInt32, si.instance)
        inside = si.is_valid() & (registry < self._size)
        return dr.gather(mi.UInt32, self._model, registry, inside), dr.gather(mi.UInt32, self._instance, registry, inside)

    def frames(self, instance: mi.UInt32) -> Frames:
        """Frames of instances, one a lane."""
        r = [dr.gather(mi.Float, self._rotation, instance * 9 + k) for k in range(9)]
        o = [dr.gather(mi.Float, self._origin, instance * 3 + k) for k in range(3)]
        return Frames(mi.Matrix3f(*r), mi.Point3f(*o), dr.gather(mi.Float, self._scale, instance))
