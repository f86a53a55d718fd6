"""Asset files: what is saved comes back bit for bit; everything else is refused, with the field by name."""

from __future__ import annotations

import copy
import io
import os
import zipfile

import numpy as np
import pytest
import torch
from conftest import ROOT

from mi_neural_asset.asset import info, schema, vocabulary
from mi_neural_asset.asset.asset import NeuralAsset, load
from mi_neural_asset.asset.description import Description, describe
from mi_neural_asset.asset.schema import VERSION, AssetFileError, check_content
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.kinds import KINDS
from mi_neural_asset.model.transport import Transport

SMALL = {"features": 2, "width": 8, "depth": 1, "knots": 4, "triplane": 4, "cubemap": 4, "line": 4, "albedo_width": 8}


def description():
    """One of everything that a description holds."""
    generator = torch.Generator().manual_seed(0)
    mesh = {
        "type": "mesh",
        "vertices": torch.rand(4, 3, generator=generator),
        "normals": torch.rand(4, 3, generator=generator),
        "faces": torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=torch.int32),
        "texcoords": torch.rand(4, 2, generator=generator),
        "face_normals": False,
        "flip_normals": True,
        "attributes": {
            "vertex_color": torch.rand(4, 3, generator=generator),
            "face_id": torch.rand(4, 1, generator=generator),
        },
    }
    place = {"type": "transform", "matrix": [[2.0, 0, 0, 1], [0, 2.0, 0, 1], [0, 0, 2.0, 1], [0, 0, 0, 1]]}
    paint = {
        "type": "bitmap",
        "data": (torch.rand(3, 2, 3, generator=generator) * 255).to(torch.uint8),
        "srgb_gamma": True,
        "to_uv": place,
    }
    grid = {
        "type": "gridvolume",
        "data": torch.rand(2, 3, 4, 1, generator=generator),
        "filter_type": "nearest",
        "to_world": place,
    }
    sphere = {
        "type": "sphere",
        "to_world": torch.eye(4).tolist(),
        "flip_normals": False,
        "center": [0.0, 1.0, 2.0],
        "radius": 0.5,
    }
    colour = {"type": "spectrum", "value": [[400.0, 0.1], [700.0, 0.3]]}
    return Description(
        [
            {
                "id": "mesh",
                "geometry": mesh,
                "bsdf": {"type": "diffuse", "reflectance": paint},
                "interior": "smoke",
                "exterior": None,
            },
            {
                "id": "ball",
                "geometry": sphere,
                "bsdf": {
                    "type": "roughdielectric",
                    "alpha": 0.1,
                    "int_ior": "water",
                    "specular_transmittance": {"type": "rgb", "value": [0.9, 0.8, 0.7]},
                },
                "interior": "wax",
                "exterior": "smoke",
            },
        ],
        {
            "smoke": {"type": "heterogeneous", "sigma_t": grid, "scale": 3.0},
            "wax": {"type": "homogeneous", "albedo": colour, "nested_0": {"type": "hg", "g": 0.5}},
        },
    )


@pytest.fixture
def asset():
    torch.manual_seed(0)
    config = ModelConfig(**SMALL)
    whole = description()
    return NeuralAsset(
        boundary=whole.without_media(),
        source=whole,
        center=[0.1, 0.2, 0.3],
        scale=2.0,
        config=config,
        weights=dict(Transport(config).state_dict()),
        units="metres",
        provenance={
            "seed": 1,
            "versions": {"torch": "2"},
            "validation": {"nll": -0.1, "ratio": [1.0, float("nan"), None]},
        },
    )


@pytest.fixture
def content(asset):
    return copy.deepcopy(asset.to_content())


def equal(a, b, where=""):
    """Same types, same values, same bits."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            equal(x, y, f"{where}[{k}]")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes(), where
    else:
        assert repr(a) == repr(b), where


def test_save_and_load_is_bit_exact(asset, tmp_path):
    asset.save(tmp_path / "a.pt")
    loaded = load(tmp_path / "a.pt")
    equal(loaded.to_content(), asset.to_content())
    assert loaded.config == asset.config


def test_without_source(asset, tmp_path):
    asset.replace(source=None).save(tmp_path / "a.pt")
    loaded = NeuralAsset.load(tmp_path / "a.pt")
    assert loaded.source is None
    with pytest.raises(ValueError, match="does not embed its source.*--no-source"):
        loaded.source_scene()


def test_model_has_the_weights_and_shares_their_memory(asset):
    state = torch.get_rng_state()
    model = asset.model()
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert value.data_ptr() == asset.weights[name].data_ptr()
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_notes_of_odd_types_are_made_plain(asset, tmp_path):
    """A bake is never lost over a note."""
    notes = {"torch": torch.__version__, "nll": np.float64(0.5), "steps": np.int64(3), "size": (1, 2), "path": tmp_path}
    asset.replace(provenance=notes).save(tmp_path / "a.pt")
    expected = {"torch": str(torch.__version__), "nll": 0.5, "steps": 3, "size": [1, 2], "path": str(tmp_path)}
    equal(load(tmp_path / "a.pt").provenance, expected)


def test_any_model_size_loads(tmp_path, asset):
    box, hull = ModelConfig(proxy="box", **{**SMALL, "depth": 2}), ModelConfig(proxy="hull", **SMALL)
    for config in (ModelConfig(), ModelConfig.paper(triplane=16), box, hull):
        for kind, network in KINDS.items():
            asset.replace(kind=kind, config=config, weights=dict(network(config).state_dict())).save(tmp_path / "a.pt")
            loaded = NeuralAsset.load(tmp_path / "a.pt")
            assert loaded.config == config and loaded.kind == kind and type(loaded.model()) is network


def test_loading_an_asset_touches_no_file(llvm, asset, tmp_path, monkeypatch):
    """Building the scene of a loaded asset opens nothing."""
    asset.save(tmp_path / "a.pt")
    loaded = NeuralAsset.load(tmp_path / "a.pt")
    before = set(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.open", lambda *a, **k: pytest.fail(f"opened {a}"))
    scene = llvm.load_dict(loaded.source_scene())
    assert len(scene.shapes()) == 2 and set(tmp_path.iterdir()) == before


def test_boundary_in_a_scalar_variant(scalar, asset):
    (name, mesh), (_, ball) = asset.boundary_shapes().items()
    assert name == "mesh" and ball["type"] == "sphere"
    positions = np.array(scalar.traverse(mesh)["vertex_positions"]).reshape(-1, 3)
    np.testing.assert_array_equal(positions, asset.boundary.shapes[0]["geometry"]["vertices"].numpy())


def test_described_scene_survives_the_file(llvm, asset, tmp_path):
    box = {
        "type": "cube",
        "bsdf": {"type": "roughdielectric", "distribution": "ggx"},
        "interior": {"type": "homogeneous"},
    }
    described = describe({"type": "scene", "box": box})
    asset.replace(boundary=described.without_media(), source=described).save(tmp_path / "a.pt")
    loaded = load(tmp_path / "a.pt")
    equal(loaded.source.to_plain(), described.to_plain())


# -- writing --------------------------------------------------------------------------------------------------------


def test_failing_write_leaves_the_old_file(asset, tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    asset.save(path)
    old = path.read_bytes()

    def full(content, stream):
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"a\.pt was not written \(No space left on device\); the file that was there is whole"):
        asset.replace(units="feet").save(path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failure_at_any_step_leaves_the_old_file(asset, tmp_path, monkeypatch, step):
    path = tmp_path / "a.pt"
    asset.save(path)
    old = path.read_bytes()

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, step, broken)
    with pytest.raises(OSError, match="Input/output"):
        asset.replace(units="feet").save(path)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_unsound_asset_is_not_written(asset, tmp_path):
    with pytest.raises(AssetFileError, match="scale: expected a positive number, got -1.*nothing was written"):
        asset.replace(scale=-1.0).save(tmp_path / "a.pt")
    assert not list(tmp_path.iterdir())


def test_bad_places(asset, tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        asset.save(tmp_path)
    with pytest.raises(FileNotFoundError):
        asset.save(tmp_path / "nowhere" / "a.pt")


def test_permissions_are_kept(asset, tmp_path):
    path = tmp_path / "a.pt"
    mask = os.umask(0o022)
    try:
        asset.save(path)
        assert path.stat().st_mode & 0o777 == 0o644
        path.chmod(0o640)
        asset.save(path)
        assert path.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(mask)


# -- files that are no assets ---------------------------------------------------------------------------------------


def refused(path, match):
    with pytest.raises(AssetFileError, match=match) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.pt.*does not exist.*bake it with"):
        load(tmp_path / "a.pt")
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not an asset file"),
        (b"<scene/>" * 30, "is not an asset file"),
    ],
)
def test_other_files(tmp_path, data, match):
    (tmp_path / "a.pt").write_bytes(data)
    refused(tmp_path / "a.pt", match)


def test_foreign_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("word/document.xml", "x")
    refused(tmp_path / "a.pt", "entry 'word/document.xml' is not one that torch writes")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"weight": torch.zeros(3)}, "magic: this is not a neural asset; it is a plain torch state dict"),
        ({"magic": "mi_neural_asset checkpoint"}, "magic:.*checkpoint of an unfinished bake"),
        ([1, 2], "magic: this is not a neural asset"),
        (torch.zeros(3), "magic: this is not a neural asset"),
    ],
)
def test_foreign_torch_files(tmp_path, content, match):
    torch.save(content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", match)


class Evil:
    def __reduce__(self):
        return os.system, ("echo owned > owned.txt",)


def test_code_in_a_file_is_not_run(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**content, "provenance": Evil()}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"provenance: holds more than tensors and plain values, so it is not opened \(posix\.system\)")
    assert not (tmp_path / "owned.txt").exists()


def test_old_torch_format_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "a.pt", "is not an asset file")


def test_truncated_at_every_length(asset, tmp_path):
    asset.save(tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    for length in np.linspace(1, len(data) - 1, 60).astype(int):
        (tmp_path / "b.pt").write_bytes(data[:length])
        refused(tmp_path / "b.pt", "is cut off or damaged|is not an asset file")


def test_flipped_bits_never_give_another_asset(asset, tmp_path):
    """Flipped bytes: an error, or the very same asset (padding).  Torch alone would read wrong weights."""
    asset.save(tmp_path / "a.pt")
    data = bytearray((tmp_path / "a.pt").read_bytes())
    generator = np.random.default_rng(0)
    errors = 0
    for position in generator.integers(0, len(data), 150):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        (tmp_path / "b.pt").write_bytes(damaged)
        try:
            equal(load(tmp_path / "b.pt").to_content(), asset.to_content())
        except AssetFileError:
            errors += 1
    assert errors > 75


# -- containers -----------------------------------------------------------------------------------------------------


def repack(source, target, change, compression=zipfile.ZIP_STORED):
    """Copy a zip file; `change(name, data)` gives the (name, data) pairs that replace an entry."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            for name, data in change(entry.filename, old.read(entry.filename)):
                new.writestr(name, data)


@pytest.fixture
def saved(asset, tmp_path):
    asset.save(tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_repacking_alone_is_harmless(saved, tmp_path, asset):
    repack(saved, tmp_path / "b.pt", lambda name, data: [(name, data)])
    equal(load(tmp_path / "b.pt").to_content(), asset.to_content())


def test_compressed_entries_are_refused(saved, tmp_path):
    repack(saved, tmp_path / "b.pt", lambda name, data: [(name, data)], zipfile.ZIP_DEFLATED)
    refused(tmp_path / "b.pt", "is compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_entries_are_refused(saved, tmp_path):
    repack(saved, tmp_path / "b.pt", lambda name, data: [(name, data)] * (1 + name.endswith("data.pkl")))
    refused(tmp_path / "b.pt", "occurs twice")


@pytest.mark.parametrize(
    "name", ["../evil", "archive/../../evil", "/etc/passwd", "archive/data/../0", "archive/code/x.py", "other/data/0"]
)
def test_paths_and_strange_entries_are_refused(saved, tmp_path, name):
    extra = [(name, b"x")]
    repack(
        saved,
        tmp_path / "b.pt",
        lambda n, data: [(n, data), *(extra if n.endswith("version") and "format" not in n else [])],
    )
    refused(tmp_path / "b.pt", "not one that torch")


def test_records_shorter_than_their_tensors_are_refused(saved, tmp_path):
    repack(saved, tmp_path / "b.pt", lambda name, data: [(name, data[:-4] if name.endswith("data/0") else data)])
    refused(tmp_path / "b.pt", r"\w: takes \d+ bytes, its record in the container has \d+")


def test_unused_records_are_refused(saved, tmp_path):
    def change(name, data):
        return [(name, data), *([(name.split("/")[0] + "/data/999", bytes(64))] if name.endswith("data/0") else [])]

    repack(saved, tmp_path / "b.pt", change)
    refused(tmp_path / "b.pt", "the tensors do not take the record data/999")


# -- fields ---------------------------------------------------------------------------------------------------------


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


# -- info -----------------------------------------------------------------------------------------------------------


def test_info_says_everything(saved, capsys):
    assert info.main(saved) == 0
    text = capsys.readouterr().out
    for words in (
        str(saved),
        "kind                     transport",
        "metres, y",
        "mesh, 4 vertices, 4 triangles",
        "diffuse(reflectance bitmap(",
        "sphere, interior wax, exterior smoke",
        "source (embedded)",
        "proxy",
        "nll                  -0.1",
        "torch",
    ):
        assert words in text, words


def test_info_without_source(asset):
    assert "not embedded" in asset.replace(source=None).summary()


def test_repr_is_short(asset):
    assert (
        repr(asset).startswith("NeuralAsset(kind='transport', shapes=[mesh, ball], parameters=")
        and len(repr(asset)) < 300
    )


def test_format_is_written_down():
    """docs/file_format.md names every field and every plugin that a file may hold."""
    text = (ROOT / "docs/file_format.md").read_text()
    names = {*schema.FIELDS, *schema._MESH, *schema._BITMAP, *schema._GRID, *vocabulary.ROLE, *vocabulary.ANALYTIC}
    assert not [name for name in sorted(names) if f"`{name}`" not in text]


def test_container_check_needs_no_torch_load(saved, monkeypatch):
    """A container that torch did not write never reaches torch."""
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("reached torch.load"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
        archive.writestr("archive/evil", b"x")
    saved.write_bytes(stream.getvalue())
    refused(saved, "not one that torch writes")
