"""From the plain representation back to Mitsuba: dicts for `mi.load_dict`, with meshes and media as objects."""

from __future__ import annotations

from typing import Any

import mitsuba as mi
import numpy as np
import torch

from . import curves
from .vocabulary import CURVES


def build_shapes(shapes: list[dict[str, Any]], media: dict[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    """Shapes as (id, dict; or object, for meshes and curves).

    A BSDF tree or a medium that several shapes name becomes one object.

    Args:
        shapes: as in `Description.shapes`.
        media: trees by name; a shape's medium that is not among them is left out.
    """
    media_objects = {name: build_tree(tree) for name, tree in media.items()}
    bsdfs: dict[int, mi.BSDF] = {}
    result = []
    for shape in shapes:
        key = id(shape["bsdf"])
        if key not in bsdfs:
            bsdfs[key] = build_tree(shape["bsdf"])
        children = {"bsdf": bsdfs[key]}
        for side in ("interior", "exterior"):
            if shape[side] in media_objects:
                children[side] = media_objects[shape[side]]
        geometry = shape["geometry"]
        if geometry["type"] == "mesh":
            result.append((shape["id"], build_mesh(shape["id"], geometry, children)))
        elif geometry["type"] in CURVES:
            result.append((shape["id"], curves.build(shape["id"], geometry, children)))
        else:
            result.append((shape["id"], {**_analytic(geometry), **children}))
    return result


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


def _analytic(geometry: dict[str, Any]) -> dict[str, Any]:
    return {**geometry, "to_world": transform(geometry["to_world"])}


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
