"""What an asset file may hold: every field's type, shape, size and finiteness.  In words: docs/file_format.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .values import MAX_VALUES, REBAKE, AssetFileError, fail, fields, flag, matrix, number, numbers, plain, tensor, text
from .vocabulary import ANALYTIC, CHILDREN, CURVES, NAME, ROLE

MAGIC, VERSION, KINDS = "mi_neural_asset asset", 7, ("transport", "far_field")
FIELDS = (
    "magic", "version", "kind", "units", "up_axis", "boundary", "source", "center", "scale", "config", "weights",
    "provenance",
)  # fmt: skip
MAX_SHAPES, MAX_DEPTH, MAX_PLUGINS = 1024, 16, 1000  # a description's shapes; a tree's levels and plugins
MAX_COPIES, FREE_BYTES = 8, 16 * 2**20  # how often tensors may be used on average, beyond a size that harms nobody
SHAPE_ID = re.compile(r"(?!(?:type|id)\Z)[^.]{1,256}\Z", re.DOTALL)  # what Mitsuba takes as the name of a scene's part
REACH = 1e18  # coordinates whose squares are finite in single precision

_MESH = ("type", "vertices", "faces", "normals", "texcoords", "face_normals", "flip_normals", "attributes")
_ANALYTIC = {
    "sphere": {"center": 3, "radius": 1},
    "cylinder": {"p0": 3, "p1": 3, "radius": 1},
    "rectangle": {},
    "disk": {},
}
_BITMAP = ("type", "data", "srgb_gamma", "raw", "filter_type", "wrap_mode", "to_uv", "format")
_GRID = ("type", "data", "raw", "filter_type", "wrap_mode", "to_world", "accel")
_PIXELS = (torch.uint8, torch.uint16, torch.float16, torch.float32)


# -- descriptions -------------------------------------------------------------------------------------------------


def check_description(value: Any, where: str) -> None:
    """A `Description.to_plain()`.

    Raises:
        AssetFileError: it is not one; the message names the field.
    """
    fields(value, where, ("shapes", "media"))
    _check_use(value, where)
    media, shapes = value["media"], value["shapes"]
    if type(media) is not dict:
        raise fail(f"{where}.media", "a dict", media)
    for key, tree in media.items():
        if type(key) is not str or not 0 < len(key) <= 256:
            raise fail(f"{where}.media", "names as keys", key)
        check_tree(tree, f"{where}.media.{key}", ("medium",))
    if type(shapes) is not list or not 1 <= len(shapes) <= MAX_SHAPES:
        raise fail(
            f"{where}.shapes", f"a list of 1 to {MAX_SHAPES} shapes", len(shapes) if type(shapes) is list else shapes
        )
    names = set()
    for k, shape in enumerate(shapes):
        here = f"{where}.shapes[{k}]"
        fields(shape, here, ("id", "geometry", "bsdf", "interior", "exterior"))
        if type(shape["id"]) is not str or not SHAPE_ID.match(shape["id"]) or shape["id"] in names:
            raise fail(f"{here}.id", "a unique name without '.', other than 'type' and 'id'", shape["id"])
        names.add(shape["id"])
        check_geometry(shape["geometry"], f"{here}.geometry")
        check_tree(shape["bsdf"], f"{here}.bsdf", ("BSDF",))
        for side in ("interior", "exterior"):
            if shape[side] is not None and (type(shape[side]) is not str or shape[side] not in media):
                raise fail(f"{here}.{side}", "None or the name of a medium", shape[side])


def _check_use(value: dict[str, Any], where: str) -> None:
    """Tensors that are referred to again and again cannot multiply what the file takes in memory."""
    own: dict[int, int] = {}
    total, left, seen = 0, MAX_VALUES, set()
    stack: list[Any] = [value]
    while stack and left:
        item, left = stack.pop(), left - 1
        if isinstance(item, dict) and "bsdf" in item:  # a shape; one tree that several shapes name is built once
            item = {key: child for key, child in item.items() if key != "bsdf" or id(child) not in seen}
            seen.add(id(item.get("bsdf")))
        if isinstance(item, (dict, list)):
            stack.extend(item.values() if isinstance(item, dict) else item)
        elif type(item) is Tensor and item.layout == torch.strided:
            there = item.untyped_storage().nbytes()
            total += min(item.numel() * item.element_size(), there)
            own[item.untyped_storage().data_ptr()] = there
    if total > max(FREE_BYTES, MAX_COPIES * sum(own.values())):
        raise AssetFileError(f"{where}: refers to the same values so often that they would take {total >> 20} MiB; {REBAKE}")


def check_geometry(value: Any, where: str) -> None:
    """Geometry of a shape, as in `Description`."""
    kind = value.get("type") if type(value) is dict else value
    if type(kind) is not str:
        raise fail(f"{where}.type", f"mesh, {', '.join((*ANALYTIC, *CURVES))}", kind)
    if kind == "mesh":
        _check_mesh(fields(value, where, _MESH), where)
        return
    if kind in CURVES:
        _check_curves(fields(value, where, ("type", "control_points", "counts")), where, CURVES[kind])
        return
    if kind not in ANALYTIC:
        raise fail(f"{where}.type", f"mesh, {', '.join((*ANALYTIC, *CURVES))}", kind)
    optional = _ANALYTIC[kind]
    fields(value, where, ("type", "to_world", "flip_normals"), optional)
    matrix(value["to_world"], f"{where}.to_world")
    flag(value["flip_normals"], f"{where}.flip_normals")
    for key, count in optional.items():
        if key in value:
            number(value[key], f"{where}.{key}") if count == 1 else numbers(value[key], f"{where}.{key}", count)
    if not value.get("radius", 1.0) > 0:
        raise fail(f"{where}.radius", "a positive number", value["radius"])


def _check_mesh(mesh: dict[str, Any], where: str) -> None:
    vertices = tensor(mesh["vertices"], f"{where}.vertices", (None, 3))
    faces = tensor(mesh["faces"], f"{where}.faces", (None, 3), (torch.int32,))
    low, high, count = int(faces.min()), int(faces.max()), len(vertices)
    if low < 0 or high >= count:
        raise fail(f"{where}.faces", f"indices from 0 to {count - 1}", f"{low} to {high}")
    for key, width in (("normals", 3), ("texcoords", 2)):
        if mesh[key] is not None:
            tensor(mesh[key], f"{where}.{key}", (count, width))
    flag(mesh["face_normals"], f"{where}.face_normals")
    flag(mesh["flip_normals"], f"{where}.flip_normals")
    if type(mesh["attributes"]) is not dict:
        raise fail(f"{where}.attributes", "a dict", mesh["attributes"])
    for key, values in mesh["attributes"].items():
        rows = {"vertex_": count, "face_": len(faces)}.get(str(key)[: str(key).find("_") + 1])
        if type(key) is not str or not NAME.match(key) or rows is None:
            raise fail(f"{where}.attributes", "names that begin with vertex_ or face_", key)
        tensor(values, f"{where}.attributes.{key}", (rows, None))


def _check_curves(curves: dict[str, Any], where: str, least: int) -> None:
    points = tensor(curves["control_points"], f"{where}.control_points", (None, 4))
    if not (points[:, 3] > 0).all():
        raise fail(f"{where}.control_points", "positive radii", float(points[:, 3].min()))
    counts = tensor(curves["counts"], f"{where}.counts", (None,), (torch.int32,))
    if int(counts.min()) < least:
        raise fail(f"{where}.counts", f"at least {least} control points for each curve", int(counts.min()))
    if int(counts.sum(dtype=torch.int64)) != len(points):
        raise fail(f"{where}.counts", f"{len(points)} control points in all", int(counts.sum(dtype=torch.int64)))


def check_tree(value: Any, where: str, roles: Sequence[str], depth: int = 0, left: list[int] | None = None) -> None:
    """A plugin as plain values: only plugins of the allow-list, in their places, and no file names."""
    left = [MAX_PLUGINS] if left is None else left
    left[0] -= 1
    if left[0] < 0:
        raise AssetFileError(f"{where}: is in a tree of more than {MAX_PLUGINS} plugins; {REBAKE}")
    if depth > MAX_DEPTH:
        raise AssetFileError(f"{where}: is nested too deeply; {REBAKE}")
    kind = value.get("type") if type(value) is dict else None
    if type(kind) is not str or ROLE.get(kind) not in roles:
        allowed = ", ".join(name for name, role in ROLE.items() if role in roles)
        raise fail(f"{where}.type" if type(value) is dict else where, f"one of {allowed}", value if kind is None else kind)
    special = {"rgb": _rgb, "spectrum": _spectrum, "transform": _transform, "bitmap": _bitmap, "gridvolume": _grid}.get(
        kind
    )
    if special:
        special(value, where)
        if kind not in ("bitmap", "gridvolume"):
            return
    for key, item in value.items():
        here = f"{where}.{key}"
        if type(key) is not str or not NAME.match(key) or key in ("filename", "id"):
            raise fail(where, "names of properties", key)
        if key == "data" and special:
            continue
        if type(item) is dict:
            check_tree(item, here, CHILDREN[ROLE[kind]], depth + 1, left)
        elif type(item) is str:
            text(item, here)
        elif type(item) is list:
            numbers(item, here, 3)
        elif type(item) is not bool:
            number(item, here)


def _rgb(value: dict, where: str) -> None:
    fields(value, where, ("type", "value"))
    numbers(value["value"], f"{where}.value", 3)


def _spectrum(value: dict, where: str) -> None:
    fields(value, where, ("type", "value"))
    values = value["value"]
    if type(values) is not list:
        number(values, f"{where}.value")
        return
    pairs = [numbers(pair, f"{where}.value[{k}]", 2) for k, pair in enumerate(values)]
    if len(pairs) < 2 or any(b[0] <= a[0] for a, b in zip(pairs, pairs[1:])):  # noqa: B905
        raise fail(f"{where}.value", "at least two pairs of rising wavelengths", f"{len(pairs)} pairs")


def _transform(value: dict, where: str) -> None:
    fields(value, where, ("type", "matrix"))
    matrix(value["matrix"], f"{where}.matrix")


def _bitmap(value: dict, where: str) -> None:
    fields(value, where, ("type", "data", "srgb_gamma"), _BITMAP)
    data = tensor(value["data"], f"{where}.data", (None, None, None), _PIXELS)
    if data.shape[2] > 4:
        raise fail(f"{where}.data", "1 to 4 channels", data)
    flag(value["srgb_gamma"], f"{where}.srgb_gamma")


def _grid(value: dict, where: str) -> None:
    fields(value, where, ("type", "data"), _GRID)
    tensor(value["data"], f"{where}.data", (None, None, None, None))


# -- the file -----------------------------------------------------------------------------------------------------


def check_content(content: Any) -> None:
    """Everything an asset file holds, before anything is made of it.

    Raises:
        AssetFileError: the message names the field.
    """
    if type(content) is not dict or content.get("magic") != MAGIC:
        raise AssetFileError(
            f"magic: this is not a neural asset; {_guess(content)}make one with: mi-neural-asset bake SCENE -o ASSET"
        )
    version = content.get("version")
    if type(version) is not int or version < 1:
        raise fail("version", f"{VERSION}", version)
    if version != VERSION:
        cure = "upgrade mi_neural_asset" if version > VERSION else "its networks read other inputs than today's: bake it again"
        raise AssetFileError(f"version: the file has format {version}, this mi_neural_asset reads format {VERSION}; {cure}")
    fields(content, "asset", FIELDS)
    if content["kind"] not in KINDS:
        raise fail("kind", f"one of {', '.join(KINDS)}", content["kind"])
    if type(content["units"]) is not str or not 0 < len(content["units"]) <= 64:
        raise fail("units", "a short string", content["units"])
    if type(content["up_axis"]) is not str or not re.fullmatch("[+-]?[xyz]", content["up_axis"]):
        raise fail("up_axis", "x, y or z", content["up_axis"])
    if max(map(abs, numbers(content["center"], "center", 3))) > REACH:
        raise fail("center", f"coordinates up to {REACH:g}", "larger ones")
    if not number(content["scale"], "scale") > 0:
        raise fail("scale", "a positive number", content["scale"])
    if not 1 / REACH <= content["scale"] <= REACH:
        raise fail("scale", f"a number from {1 / REACH:g} to {REACH:g}", content["scale"])
    plain(content["provenance"], "provenance")
    if type(content["provenance"]) is not dict:
        raise fail("provenance", "a dict", content["provenance"])
    check_description(content["boundary"], "boundary")
    _check_volume(content["boundary"])
    if content["source"] is not None:
        check_description(content["source"], "source")
    _check_weights(content["kind"], content["config"], content["weights"])


def _check_volume(boundary: dict[str, Any]) -> None:
    """Shapes with the BSDF 'null' are all there are, each around a medium."""
    empty = [shape["bsdf"]["type"] == "null" for shape in boundary["shapes"]]
    if any(empty) and not (all(empty) and all(shape["interior"] for shape in boundary["shapes"])):
        raise fail("boundary.shapes", "a medium in each shape with the BSDF 'null', and no shapes with others", "something else")


def _guess(content: Any) -> str:  # noqa: ANN401
    if isinstance(content, dict) and content.get("magic") == "mi_neural_asset checkpoint":
        return "it is a checkpoint of an unfinished bake: continue that with --resume, or "
    if isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values()):
        return "it is a plain torch state dict; "
    return ""


def _check_weights(kind: str, config: Any, weights: Any) -> None:  # noqa: ANN401
    """Names and shapes are those of a model of this kind and configuration."""
    from ..model.config import ModelConfig
    from ..model.kinds import build

    plain(config, "config")
    try:
        parsed = ModelConfig.from_dict(config)
    except (TypeError, ValueError) as error:
        raise AssetFileError(f"config: {error}; {REBAKE}") from error
    with torch.device("meta"):
        expected = build(kind, parsed).state_dict()
    fields(weights, "weights", expected)
    for name, value in expected.items():
        tensor(weights[name], f"weights.{name}", tuple(value.shape), (value.dtype,))
    if "proxy.extent" in weights and not (weights["proxy.extent"] > 0).all():
        raise fail("weights.proxy.extent", "positive half-extents", str(weights["proxy.extent"].tolist()))
    if "proxy.planes" in weights:
        _check_planes(weights["proxy.planes"])


def _check_planes(planes: Tensor) -> None:
    """Half-spaces [K, 4] around the origin, in number and direction enough to close a polytope."""
    if not ((planes[:, :3].norm(dim=-1) - 1).abs() < 1e-3).all() or not (planes[:, 3] > 0).all():
        raise fail("weights.proxy.planes", "unit normals and positive offsets", "others")
    steps = torch.tensor([-1.0, 0.0, 1.0])
    around = torch.cartesian_prod(steps, steps, steps)
    around = around[around.any(-1)]
    if not ((around @ planes[:, :3].T).amax(-1) > 0.1).all():
        raise fail("weights.proxy.planes", "half-spaces on all sides", "an open side")
