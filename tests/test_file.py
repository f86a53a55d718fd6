"""Asset files: what is saved comes back bit for bit; what fails leaves the old file; what `info` says of one."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from conftest import ROOT
from examples import SMALL, equal

from mi_neural_asset.asset import info, schema, vocabulary
from mi_neural_asset.asset.asset import NeuralAsset, load
from mi_neural_asset.asset.description import describe
from mi_neural_asset.asset.schema import AssetFileError
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.kinds import KINDS


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
