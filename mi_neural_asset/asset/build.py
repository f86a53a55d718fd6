"""From the plain representation back to Mitsuba: dicts for `mi.load_dict`, with meshes and media as objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mitsuba as mi
import numpy as np
import torch

from . import curves
from .vocabulary import CURVES, DescriptionError


def build_shapes(shapes: list[dict[str, Any]], media: dict[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    """Shapes as (id, dict; or object, for meshes and curves).

    A BSDF tree or a medium that several shapes name becomes one object.

    Args:
        shapes: as in `Description.shapes`.
        media: trees by name; a shape's medium that is not among them is left out.

    Raises:
        DescriptionError: Mitsuba refuses a tree or a geometry; the message names it and says why.
    """
    media_objects = {name: _built(f"medium {name!r}: Mitsuba refuses it", build_tree, tree) for name, tree in media.items()}
    bsdfs: dict[int, mi.BSDF] = {}
    result = []
    for shape in shapes:
        key, name, geometry = id(shape["bsdf"]), shape["id"], shape["geometry"]
        if key not in bsdfs:
            bsdfs[key] = _built(f"shape {name!r}: Mitsuba refuses its bsdf", build_tree, shape["bsdf"])
        children = {"bsdf": bsdfs[key]}
        for side in ("interior", "exterior"):
            if shape[side] in media_objects:
                children[side] = media_objects[shape[side]]
        build = build_mesh if geometry["type"] == "mesh" else curves.build if geometry["type"] in CURVES else _analytic
        result.append((name, _built(f"shape {name!r}: Mitsuba refuses its geometry", build, name, geometry, children)))
    return result


def _built(failure: str, build: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    try:
        return build(*arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[-300:]
        raise DescriptionError(f"{failure} ({reason}); correct the scene, and bake it again") from error


def build_tree(tree: dict[str, Any]) -> mi.Object:
    """The object that a tree describes."""
    return mi.load_dict(tree_dict(tree), parallel=False)


def tree_dict(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree as a dict for `mi.load_dict`."""
    kind = tree["type"]
    if kind == "bitmap":
        rest = {k: v for k, v in tree.items() if k not in ("data", "srgb_gamma")}
        return {**_values(rest), "bitmap": _bitmap(tree["data"], tree["srgb_gamma"])}
    if kind == "gridvolume":
        rest = {k: v for k, v in tree.items() if k != "data"}
        return {**_values(rest), "grid": mi.VolumeGrid(np.ascontiguousarray(tree["data"].numpy()))}
    if kind == "spectrum" and isinstance(tree["value"], list):
        return {"type": kind, "value": [tuple(pair) for pair in tree["value"]]}
    return _values(tree)


def _values(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: _value(value) for key, value in tree.items()}


def _value(value: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        return value
    return transform(value["matrix"]) if value["type"] == "transform" else tree_dict(value)


def transform(matrix: list[list[float]]) -> Any:  # noqa: ANN401
    """A transform in double precision, as Mitsuba's parser holds them."""
    return mi.ScalarAffineTransform4d(matrix)


def _bitmap(data: torch.Tensor, srgb_gamma: bool) -> mi.Bitmap:
    bitmap = mi.Bitmap(np.ascontiguousarray(data.numpy()))
    bitmap.set_srgb_gamma(srgb_gamma)
    return bitmap


def _analytic(name: str, geometry: dict[str, Any], children: dict[str, Any]) -> dict[str, Any]:
    return {**geometry, "to_world": transform(geometry["to_world"]), **children}


def build_mesh(name: str, geometry: dict[str, Any], children: dict[str, Any]) -> mi.Mesh:
    """A mesh with its vertices already in world space; the one place that constructs meshes.

    Args:
        name: id of the mesh.
        geometry: as in `Description`.
        children: objects under 'bsdf', 'interior', 'exterior'.
    """
    properties = mi.Properties()
    properties.set_id(name)
    properties["face_normals"] = geometry["face_normals"]
    properties["flip_normals"] = geometry["flip_normals"]
    for key, child in children.items():
        properties[key] = child
    vertices, faces, normals, texcoords = (geometry[k] for k in ("vertices", "faces", "normals", "texcoords"))
    mesh = mi.Mesh(name, len(vertices), len(faces), props=properties, has_vertex_normals=normals is not None,
                   has_vertex_texcoords=texcoords is not None)  # fmt: skip
    for key, values in geometry.get("attributes", {}).items():
        mesh.add_attribute(key, values.shape[1], values.reshape(-1).tolist())
    params = mi.traverse(mesh)
    buffers = {"vertex_positions": vertices, "faces": faces, "vertex_normals": normals, "vertex_texcoords": texcoords}
    for key, values in buffers.items():
        if values is not None:
            params[key] = type(params[key])(
                values.reshape(-1).numpy().astype(np.uint32 if key == "faces" else np.float32)
            )
    params.update()
    return mesh
