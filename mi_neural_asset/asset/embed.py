"""Properties, images, volume grids and meshes as plain values and tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mitsuba as mi
import numpy as np
import torch

from .vocabulary import DescriptionError

_BITMAP = ("raw", "filter_type", "wrap_mode", "to_uv", "format")
_GRID = ("raw", "filter_type", "wrap_mode", "to_world", "accel")
_MAX_CHANNELS = 4


def is_child(value: Any) -> bool:  # noqa: ANN401
    """Whether a property is an object or a reference to one."""
    return isinstance(value, (mi.Object, mi.Properties.ResolvedReference))


def value(item: Any) -> Any:  # noqa: ANN401
    """A property as a plain value."""
    if isinstance(item, (bool, int, float, str)):
        return item
    if type(item).__name__ == "Spectrum":
        wavelengths, values = list(item.wavelengths), list(item.values)
        if not wavelengths:
            return {"type": "spectrum", "value": float(values[0])}
        return {"type": "spectrum", "value": [[float(w), float(v)] for w, v in zip(wavelengths, values, strict=True)]}
    if "Transform" in type(item).__name__:
        return {"type": "transform", "matrix": [[float(x) for x in row] for row in np.array(item.matrix)]}
    if "Color" in type(item).__name__:
        return {"type": "rgb", "value": [float(x) for x in item]}
    if len(item) == 3:
        return [float(x) for x in item]
    raise DescriptionError(f"cannot describe a property of type {type(item).__name__}")


def bitmap(props: mi.Properties, find: Callable[[str], str], name: str) -> dict[str, Any]:
    """A bitmap texture with its pixels as they are stored: 8 or 16 bit integers, half or single precision."""
    if "filename" in props:
        image = mi.Bitmap(find(props["filename"]))
    elif "bitmap" in props:
        image = props["bitmap"]
    elif "data" in props:
        image = mi.Bitmap(np.array(props["data"], dtype=np.float32))
    else:
        raise DescriptionError(f"{name}: has neither a file name nor a bitmap")
    P, F = mi.Bitmap.PixelFormat, mi.Struct.Type
    if image.pixel_format() in (P.XYZ, P.XYZA):
        image = image.convert(P.RGBA if image.has_alpha() else P.RGB, F.Float32, False)
    if image.pixel_format() not in (P.RGB, P.RGBA, P.Y, P.YA):
        raise DescriptionError(
            f"{name}: images of pixel format {image.pixel_format()} cannot be embedded; convert it to RGB"
        )
    if image.component_format() not in (F.UInt8, F.UInt16, F.Float16, F.Float32):
        image = image.convert(image.pixel_format(), F.Float32, False)
    pixels = np.array(image)
    data = torch.from_numpy(np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1)))
    return {"type": "bitmap", "data": data, "srgb_gamma": bool(image.srgb_gamma()), **_kept(props, _BITMAP)}


def gridvolume(props: mi.Properties, find: Callable[[str], str], name: str) -> dict[str, Any]:
    """A grid volume; a bounding box that the file brings and the scene asks for goes into to_world."""
    tree = {"type": "gridvolume", **_kept(props, _GRID)}
    if "filename" in props:
        path = find(props["filename"])
        grid = np.array(mi.VolumeGrid(path))
        if props.get("use_grid_bbox", False):
            box = mi.load_dict({"type": "gridvolume", "filename": path, "use_grid_bbox": True}, parallel=False).bbox()
            inner = np.diag([*(np.array(box.max) - np.array(box.min)), 1.0])
            inner[:3, 3] = np.array(box.min)
            outer = np.array(tree.get("to_world", {"matrix": np.eye(4)})["matrix"])
            tree["to_world"] = {"type": "transform", "matrix": (outer @ inner).tolist()}
    elif "grid" in props or "data" in props:
        if props.get("use_grid_bbox", False):
            raise DescriptionError(
                f"{name}: use_grid_bbox with a grid in memory cannot be described; give to_world instead"
            )
        grid = np.array(props["grid"] if "grid" in props else props["data"])
    else:
        raise DescriptionError(f"{name}: has neither a file name nor a grid")
    grid = grid.astype(np.float32)
    return {**tree, "data": torch.from_numpy(np.ascontiguousarray(grid.reshape(*grid.shape[:3], -1)))}


def _kept(props: mi.Properties, names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value(props[key]) for key in names if key in props}


def mesh(shape: mi.Mesh, name: str) -> dict[str, Any]:
    """Geometry of a loaded mesh, in world space.

    Raises:
        DescriptionError: the mesh holds no triangles.
    """
    params = mi.traverse(shape)
    vertices, faces = shape.vertex_count(), shape.face_count()
    if not vertices or not faces:
        raise DescriptionError(
            f"shape {name!r}: the mesh holds {vertices} vertices and {faces} triangles; there is nothing to bake"
        )

    def read(key: str, width: int, dtype: type = np.float32) -> torch.Tensor:
        return torch.from_numpy(np.array(params[key]).astype(dtype).reshape(-1, width).copy())

    geometry = {
        "type": "mesh",
        "vertices": read("vertex_positions", 3),
        "faces": read("faces", 3, np.int32),
        "normals": read("vertex_normals", 3) if shape.has_vertex_normals() else None,
        "texcoords": read("vertex_texcoords", 2) if shape.has_vertex_texcoords() else None,
        "face_normals": bool(shape.has_face_normals()),
        "flip_normals": bool(shape.has_flipped_normals()),
        "attributes": {},
    }
    for key in params.keys():  # noqa: SIM118
        count = {"vertex_": vertices, "face_": faces}.get(key[: key.find("_") + 1])
        if count and key not in ("vertex_positions", "vertex_normals", "vertex_texcoords") and "." not in key:
            geometry["attributes"][key] = read(key, len(params[key]) // count)
    return geometry
