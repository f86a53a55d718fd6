"""A loaded asset as a Mitsuba shape: group of boundary shapes, one instance of it, and the handle.

Mitsuba collects shape groups from the direct children of a scene alone; the plugin `merge`, returned unexpanded, brings
several objects in as one shape.

Copies of an asset share one group: every group has BSDFs of its own, and Mitsuba traces each of them for each instance, which takes
a time that goes with the square of the number of copies.  Once somebody has rendered or looked into a scene (`mi.traverse`), its
groups are its own: what is changed there does not change scenes that are loaded later.
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary, WeakSet

import mitsuba as mi
import numpy as np

_lock = threading.RLock()  # a nested parallel load may run a second factory on the same thread
_unseen: WeakKeyDictionary = WeakKeyDictionary()  # asset -> handles whose groups may be shared


def similarity(transform) -> mi.ScalarTransform4f:  # noqa: ANN001
    """`transform` as a Mitsuba transform, if it is a rotation, translation and uniform positive scale.

    Raises:
        ValueError: it mirrors, shears or scales the axes differently.
    """
    matrix = np.array(transform.matrix, dtype=np.float64)
    linear = matrix[:3, :3]
    determinant = float(np.linalg.det(linear))
    if not np.isfinite(matrix).all() or abs(determinant) < 1e-30:
        raise ValueError("neural_asset: to_world is singular or not finite; give a rotation, translation and uniform scale")
    if determinant < 0:
        raise ValueError("neural_asset: to_world mirrors the asset; a baked asset cannot be mirrored: bake the mirrored scene")
    factor = np.cbrt(determinant)
    if not np.allclose(linear @ linear.T, factor**2 * np.eye(3), atol=1e-4 * factor**2):
        raise ValueError(
            "neural_asset: to_world scales the axes differently or shears; a baked asset takes rotation, translation and "
            "uniform scale: bake the deformed scene instead"
        )
    return mi.ScalarTransform4f(matrix.astype(float).tolist())


def build_shape(asset, weights: str, to_world: mi.ScalarTransform4f, bsdf, handle, name: str) -> mi.Object:  # noqa: ANN001
    """The `merge` of shape group, instance and handle.

    Args:
        asset: a NeuralAsset.
        weights: what the scene calls it.
        to_world: checked by `similarity`.
        bsdf: a BSDF that replaces those of the boundary, or None.
        handle: the object that will keep the asset.
        name: the shape's id in the scene, may be empty.
    """
    with _lock:
        prefix = name or "neural_asset"
        group = _shared_group(asset) if bsdf is None else None
        if group is None:
            shapes = dict(asset.boundary_shapes())
            if bsdf is not None:
                shapes = {key: _with_bsdf(shape, bsdf) for key, shape in shapes.items()}
            group = mi.load_dict({"type": "shapegroup", **shapes}, parallel=False)
            group.set_id(f"{prefix}_boundary")
        instance = mi.load_dict({"type": "instance", "to_world": to_world, "group": group}, parallel=False)
        handle.asset, handle.instance, handle.to_world, handle.weights = asset, instance, to_world, weights
        if bsdf is None:
            handle.group, handle.variant = group, mi.variant()
            _unseen.setdefault(asset, WeakSet()).add(handle)
        for part, suffix in ((instance, "instance"), (handle, "asset")):
            part.set_id(f"{prefix}_{suffix}")
        merge = mi.Properties("merge")
        merge["group"], merge["instance"], merge["handle"] = group, instance, handle
        return mi.PluginManager.instance().create_object(merge)


def _shared_group(asset) -> mi.Object | None:  # noqa: ANN001
    return next((handle.group for handle in _unseen.get(asset, ()) if handle.variant == mi.variant()), None)


def seen(handle) -> None:  # noqa: ANN001
    """Somebody renders or changes the scene of this handle: later shapes get a group of their own."""
    if handle.asset is not None:
        with _lock:
            _unseen.get(handle.asset, set()).discard(handle)


def _with_bsdf(shape, bsdf):  # noqa: ANN001, ANN202
    """A boundary shape, dict or mesh object, with another BSDF."""
    if isinstance(shape, dict):
        return {**shape, "bsdf": bsdf}
    shape.set_bsdf(bsdf)
    return shape
