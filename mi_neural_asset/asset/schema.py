"""What an asset file may hold: every field's type, shape, size and finiteness.  In words: docs/file_format.md."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .vocabulary import ANALYTIC, CHILDREN, CURVES, NAME, ROLE, TEXT

MAGIC, VERSION, KINDS = "mi_neural_asset asset", 1, ("transport",)
FIELDS = (
    "magic", "version", "kind", "units", "up_axis", "boundary", "source", "center", "scale", "config", "weights",
    "provenance",
)  # fmt: skip
MAX_SHAPES, MAX_DEPTH, MAX_VALUES = 4096, 16, 1_000_000
REBAKE = "the file is damaged or not an asset: bake it again, or get a fresh copy"

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


class AssetFileError(ValueError):
    """An asset file, or what should become one, is unsound; the message names the field and says what to do."""


def fail(where: str, expected: str, got: object) -> AssetFileError:
    """The error for a field."""
    return AssetFileError(f"{where}: expected {expected}, got {_short(got)}; {REBAKE}")


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{_dtype(value.dtype)} {list(value.shape)}"
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else value[:77] + "...")
    return f"{value!r:.80}" if isinstance(value, (int, float)) or value is None else f"a {type(value).__name__}"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# -- plain values -------------------------------------------------------------------------------------------------


def fields(value: Any, where: str, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    """Check that a value is a dict with these keys and no others."""
    if type(value) is not dict:
        raise fail(where, "a dict", value)
    required = tuple(required)
    for key in required:
        if key not in value:
            raise AssetFileError(f"{where}.{key}: is missing; {REBAKE}")
    known = {*required, *optional}
    for key in value:
        if not isinstance(key, str) or key not in known:
            raise AssetFileError(
                f"{where}: unknown field {_short(key)}; if a newer version wrote the file, upgrade mi_neural_asset; "
                f"else {REBAKE}"
            )
    return value


def number(value: Any, where: str) -> float:
    """A finite int or float."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise fail(where, "a finite number", value)
    return value


def numbers(value: Any, where: str, count: int) -> list[float]:
    """A list of finite numbers."""
    if type(value) is not list or len(value) != count:
        raise fail(where, f"a list of {count} numbers", f"{len(value)} of them" if type(value) is list else value)
    return [number(item, f"{where}[{k}]") for k, item in enumerate(value)]


def flag(value: Any, where: str) -> bool:
    """A bool."""
    if type(value) is not bool:
        raise fail(where, "True or False", value)
    return value


def text(value: Any, where: str, pattern: re.Pattern = TEXT) -> str:
    """A string that matches."""
    if type(value) is not str or not pattern.match(value):
        raise fail(where, "a short string of letters, digits and ,.+:-_ (no path)", value)
    return value


def matrix(value: Any, where: str) -> None:
    """An invertible 4x4 matrix, as a list of rows, whose last row is 0 0 0 1."""
    if type(value) is not list or len(value) != 4:
        raise fail(where, "a 4x4 matrix as a list of rows", value)
    rows = [numbers(row, f"{where}[{k}]", 4) for k, row in enumerate(value)]
    if rows[3] != [0, 0, 0, 1]:
        raise fail(f"{where}[3]", "0 0 0 1", str(rows[3]))
    if not abs(torch.linalg.det(torch.tensor(rows, dtype=torch.float64)).item()) > 0:
        raise fail(where, "an invertible matrix", "a singular one")


def tensor(
    value: Any, where: str, shape: Sequence[int | None], dtypes: Sequence[torch.dtype] = (torch.float32,)
) -> Tensor:
    """A plain, dense, finite CPU tensor of a shape (None: any positive size) and one of some types."""
    wanted = f"{' or '.join(map(_dtype, dtypes))} [{', '.join('any' if n is None else str(n) for n in shape)}]"
    if type(value) is not Tensor:
        raise fail(where, f"a tensor, {wanted}", value)
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or not value.is_contiguous():
        raise fail(where, "a dense, contiguous tensor on the CPU", value)
    matches = value.ndim == len(shape) and all(
        size > 0 if n is None else size == n for size, n in zip(value.shape, shape, strict=True)
    )
    if value.dtype not in dtypes or not matches:
        got = str(list(value.shape)) if value.dtype in dtypes else f"{_dtype(value.dtype)} {list(value.shape)}"
        raise AssetFileError(f"{where}: expected {wanted}, got {got}; {REBAKE}")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise fail(where, "as many values as its shape says", value)
    if value.is_floating_point() and not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise AssetFileError(f"{where}: {bad} of {value.numel()} values are NaN or infinite; {REBAKE}")
    return value


def plain(value: Any, where: str, depth: int = 0, budget: list[int] | None = None) -> None:
    """Plain values only: str, bool, int, float (NaN allowed: these are notes), None, lists and dicts of these."""
    budget = [MAX_VALUES] if budget is None else budget
    budget[0] -= 1
    if depth > MAX_DEPTH or budget[0] < 0:
        raise AssetFileError(f"{where}: holds too many values, or is nested too deeply; {REBAKE}")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise fail(where, "names as keys", key)
            plain(item, f"{where}.{key[:40]}", depth + 1, budget)
    elif type(value) is list:
        for k, item in enumerate(value):
            plain(item, f"{where}[{k}]", depth + 1, budget)
    elif value is not None and type(value) not in (str, bool, int, float):
        raise fail(where, "plain values", value)


# -- descriptions -------------------------------------------------------------------------------------------------


def check_description(value: Any, where: str) -> None:
    """A `Description.to_plain()`.

    Raises:
        AssetFileError: it is not one; the message names the field.
    """
    fields(value, where, ("shapes", "media"))
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
        if type(shape["id"]) is not str or not 0 < len(shape["id"]) <= 256 or shape["id"] in names:
            raise fail(f"{here}.id", "a unique name", shape["id"])
        names.add(shape["id"])
        check_geometry(shape["geometry"], f"{here}.geometry")
        check_tree(shape["bsdf"], f"{here}.bsdf", ("BSDF",))
        for side in ("interior", "exterior"):
            if shape[side] is not None and (type(shape[side]) is not str or shape[side] not in media):
                raise fail(f"{here}.{side}", "None or the name of a medium", shape[side])


def check_geometry(value: Any, where: str) -> None:
    """Geometry of a shape, as in `Description`."""
    kind = value.get("type") if type(value) is dict else value
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


def check_tree(value: Any, where: str, roles: Sequence[str], depth: int = 0) -> None:
    """A plugin as plain values: only plugins of the allow-list, in their places, and no file names."""
    if depth > MAX_DEPTH:
        raise AssetFileError(f"{where}: is nested too deeply; {REBAKE}")
    kind = value.get("type") if type(value) is dict else None
    if type(kind) is not str or ROLE.get(kind) not in roles:
        allowed = ", ".join(name for name, role in ROLE.items() if role in roles)
        raise fail(f"{where}.type" if type(value) is dict else where, f"one of {allowed}", kind if kind else value)
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
            check_tree(item, here, CHILDREN[ROLE[kind]], depth + 1)
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
        raise fail("version", f"a number from 1 to {VERSION}", version)
    if version > VERSION:
        raise AssetFileError(
            f"version: the file has format {version}, this mi_neural_asset reads up to {VERSION}; "
            "upgrade mi_neural_asset"
        )
    fields(content, "asset", FIELDS)
    if content["kind"] not in KINDS:
        raise fail("kind", f"one of {', '.join(KINDS)}", content["kind"])
    if type(content["units"]) is not str or not 0 < len(content["units"]) <= 64:
        raise fail("units", "a short string", content["units"])
    if type(content["up_axis"]) is not str or not re.fullmatch("[+-]?[xyz]", content["up_axis"]):
        raise fail("up_axis", "x, y or z", content["up_axis"])
    numbers(content["center"], "center", 3)
    if not number(content["scale"], "scale") > 0:
        raise fail("scale", "a positive number", content["scale"])
    plain(content["provenance"], "provenance")
    if type(content["provenance"]) is not dict:
        raise fail("provenance", "a dict", content["provenance"])
    check_description(content["boundary"], "boundary")
    if content["source"] is not None:
        check_description(content["source"], "source")
    _check_weights(content["config"], content["weights"])


def _guess(content: Any) -> str:  # noqa: ANN401
    if isinstance(content, dict) and content.get("magic") == "mi_neural_asset checkpoint":
        return "it is a checkpoint of an unfinished bake: continue that with --resume, or "
    if isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values()):
        return "it is a plain torch state dict; "
    return ""


def _check_weights(config: Any, weights: Any) -> None:  # noqa: ANN401
    """Names and shapes are those of a model of this configuration."""
    from ..model.config import ModelConfig
    from ..model.transport import Transport

    plain(config, "config")
    try:
        parsed = ModelConfig.from_dict(config)
    except (TypeError, ValueError) as error:
        raise AssetFileError(f"config: {error}; {REBAKE}") from error
    with torch.device("meta"):
        expected = Transport(parsed).state_dict()
    fields(weights, "weights", expected)
    for name, value in expected.items():
        tensor(weights[name], f"weights.{name}", tuple(value.shape), (value.dtype,))
    if "proxy.extent" in weights and not (weights["proxy.extent"] > 0).all():
        raise fail("weights.proxy.extent", "positive half-extents", str(weights["proxy.extent"].tolist()))
