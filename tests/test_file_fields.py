"""Every field of an asset file is checked, and an error names it."""

from __future__ import annotations

import pytest
import torch
from examples import refused

from mi_neural_asset.asset.description import Description
from mi_neural_asset.asset.schema import VERSION, AssetFileError, check_content


def put(content, path, value):
    """Set content[path], path like 'boundary.shapes.0.id'; a callable value changes what is there."""
    *parents, last = path.split("/")
    for key in parents:
        content = content[int(key)] if isinstance(content, list) else content[key]
    last = int(last) if isinstance(content, list) else last
    content[last] = value(content[last]) if callable(value) else value


def without(key):
    return lambda d: {k: v for k, v in d.items() if k != key}


def nan(t):
    t = t.clone()
    t.view(-1)[0] = float("nan")
    return t


MESH, BALL = "boundary/shapes/0", "boundary/shapes/1"
PAINT = f"{MESH}/bsdf/reflectance"
WEIGHT = "albedo_net"


CASES = [
    ("version", VERSION + 1, rf"version: the file has format {VERSION + 1}.*upgrade mi_neural_asset"),
    ("version", VERSION - 1, rf"version: the file has format {VERSION - 1}.*bake it again"),
    ("version", "1", f"version: expected {VERSION}"),
    ("version", True, f"version: expected {VERSION}"),
    ("kind", "near_field", r"kind: expected one of transport, far_field, got 'near_field'"),
    ("kind", "far_field", r"weights\.incident_grid\.table: is missing"),
    ("units", "", r"units: expected"),
    ("up_axis", "w", r"up_axis: expected x, y or z, got 'w'"),
    ("center", [0.0, 1.0], r"center: expected a list of 3 numbers"),
    ("center", [0.0, float("nan"), 1.0], r"center\[1\]: expected a finite number, got nan"),
    ("scale", float("inf"), r"scale: expected a finite number"),
    ("scale", 0.0, r"scale: expected a positive number"),
    ("extra", 1, r"asset: unknown field 'extra'.*newer version"),
    ("provenance", [1], r"provenance: expected a dict"),
    ("provenance/seed", torch.zeros(1), r"provenance\.seed: expected plain values"),
    ("config", without("width"), r"config: config: missing field 'width'|config: missing field 'width'"),
    ("config/width", 4096, r"config:.*width: expected 1 to 1024, got 4096"),
    ("config/width", 9, r"weights\.flow.*expected float32 \[.*9.*\], got \[.*8.*\]"),
    ("weights/extra", torch.zeros(1), r"weights: unknown field 'extra'"),
    ("weights/position_grid.table", nan, r"weights\.position_grid\.table: 1 of \d+ values are NaN"),
    (
        "weights/position_grid.table",
        lambda t: t.double(),
        r"weights\.position_grid\.table: expected float32 \[48, 10\], got float64",
    ),
    (
        "weights/position_grid.table",
        lambda t: t[:, :9].contiguous(),
        r"table: expected float32 \[48, 10\], got \[48, 9\]",
    ),
    ("weights/position_grid.table", lambda t: t.tolist(), r"table: expected a tensor"),
    (
        "weights/position_grid.table",
        lambda t: t.to_sparse(),
        r"^.*: weights\.position_grid\.table: holds more than tensors and plain values",
    ),
    ("weights/position_grid.table", lambda t: t[:1, :1].expand(48, 10), r"table: expected a dense, contiguous"),
    ("weights/proxy.extent", lambda t: -t, r"weights\.proxy\.extent: expected positive"),
    ("boundary", without("media"), r"boundary\.media: is missing"),
    ("boundary/shapes", [], r"boundary\.shapes: expected a list of 1 to"),
    (f"{BALL}/id", "mesh", r"boundary\.shapes\[1\]\.id: expected a unique name.*, got 'mesh'"),
    (f"{BALL}/interior", "gas", r"shapes\[1\]\.interior: expected None or the name of a medium, got 'gas'"),
    (f"{BALL}/emitter", None, r"shapes\[1\]: unknown field 'emitter'"),
    (f"{BALL}/geometry/type", "ply", r"geometry\.type: expected mesh, sphere.*got 'ply'"),
    (f"{BALL}/geometry/filename", "x.ply", r"geometry: unknown field 'filename'"),
    (f"{BALL}/geometry/radius", -1.0, r"geometry\.radius: expected a positive number"),
    (f"{BALL}/geometry/to_world", [[1.0] * 4] * 4, r"geometry\.to_world\[3\]: expected 0 0 0 1"),
    (f"{BALL}/geometry/to_world", [[0.0] * 4] * 3 + [[0.0, 0.0, 0.0, 1.0]], r"to_world: expected an invertible matrix"),
    (f"{MESH}/geometry/faces", lambda t: t + 1, r"geometry\.faces: expected indices from 0 to 3, got '1 to 4'"),
    (f"{MESH}/geometry/faces", lambda t: t.long(), r"faces: expected int32 \[any, 3\], got int64"),
    (f"{MESH}/geometry/vertices", nan, r"vertices: 1 of 12 values are NaN"),
    (f"{MESH}/geometry/vertices", lambda t: t[:0], r"vertices: expected float32 \[any, 3\], got \[0, 3\]"),
    (f"{MESH}/geometry/normals", lambda t: t[:3], r"normals: expected float32 \[4, 3\], got \[3, 3\]"),
    (f"{MESH}/geometry/face_normals", 1, r"face_normals: expected True or False"),
    (
        f"{MESH}/geometry/attributes",
        {"weight": torch.zeros(4, 1)},
        r"attributes: expected names that begin with vertex_ or face_",
    ),
    (f"{BALL}/bsdf/type", "measured", r"bsdf\.type: expected one of diffuse.*got 'measured'"),
    (f"{BALL}/bsdf/type", "homogeneous", r"bsdf\.type: expected one of diffuse"),
    (f"{BALL}/bsdf/type", "measured", r"bsdf\.type: expected one of"),
    (f"{BALL}/bsdf/type", "null", r"boundary\.shapes: expected a medium in each"),
    (f"{BALL}/bsdf/alpha", float("nan"), r"bsdf\.alpha: expected a finite number"),
    (f"{BALL}/bsdf/filename", "secret", r"bsdf: expected names of properties, got 'filename'"),
    (f"{BALL}/bsdf/int_ior", "/etc/passwd", r"int_ior: expected a short string.*no path"),
    (f"{BALL}/bsdf/int_ior", torch.zeros(3), r"int_ior: expected a finite number"),
    (f"{BALL}/bsdf/specular_transmittance/value", [1.0, 2.0], r"value: expected a list of 3 numbers"),
    (f"{BALL}/bsdf/specular_transmittance/filename", "x.spd", r"unknown field 'filename'"),
    (f"{PAINT}/filename", "x.png", r"reflectance: unknown field 'filename'"),
    (f"{PAINT}/data", lambda t: t.to(torch.int64), r"data: expected uint8 or uint16 or float16 or float32"),
    (f"{PAINT}/data", lambda t: torch.cat([t, t], 2), r"data: expected 1 to 4 channels"),
    (f"{PAINT}/type", "volume", r"reflectance\.type: expected one of"),
    ("source/media/smoke/sigma_t/data", nan, r"source\.media\.smoke\.sigma_t\.data: 1 of 24 values are NaN"),
    ("source/media/smoke/sigma_t/grid", 1, r"sigma_t: unknown field 'grid'"),
    (
        "source/media/wax/albedo/value",
        [[700.0, 1.0], [400.0, 1.0]],
        r"value: expected at least two pairs of rising wavelengths",
    ),
    ("source/media/wax/nested_0", {"type": "diffuse"}, r"nested_0\.type: expected one of isotropic"),
]


@pytest.mark.parametrize(("path", "value", "match"), CASES, ids=[f"{k}-{case[0]}" for k, case in enumerate(CASES)])
def test_every_field_is_checked(content, tmp_path, path, value, match):
    check_content(content)
    put(content, path, value)
    torch.save(content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", match)


def test_error_says_what_to_do(content, tmp_path):
    put(content, "scale", 0.0)
    torch.save(content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "bake it again, or get a fresh copy")


def test_every_missing_field_is_named(content):
    for key in content:
        if key != "magic":
            with pytest.raises(AssetFileError, match=f"asset.{key}: is missing|^{key}: expected"):
                check_content(without(key)(content))


def test_deep_and_cyclic_notes_are_refused(content):
    cyclic: list = []
    cyclic.append(cyclic)
    with pytest.raises(AssetFileError, match="nested too deeply"):
        check_content({**content, "provenance": {"x": cyclic}})
    wide = [0]
    for _ in range(14):
        wide = [wide] * 16
    with pytest.raises(AssetFileError, match="too many values"):
        check_content({**content, "provenance": {"x": wide}})


def test_deep_trees_are_refused(content):
    tree = {"type": "twosided"}
    tree["nested_0"] = tree
    put(content, f"{BALL}/bsdf", tree)
    with pytest.raises(AssetFileError, match="nested too deeply"):
        check_content(content)


def test_from_plain_checks(content):
    put(content, f"{BALL}/bsdf/type", "measured")
    with pytest.raises(AssetFileError, match=r"description\.shapes\[1\]\.bsdf\.type"):
        Description.from_plain(content["boundary"])
