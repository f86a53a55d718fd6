"""The scenes that come along: listed, written, sound, within their frame, and with paths that can be sampled."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import mi_neural_asset
from mi_neural_asset import catalogue, cli
from mi_neural_asset.asset.asset import NeuralAsset
from mi_neural_asset.asset.description import bounding_box, bounding_sphere, describe, scene_dict
from mi_neural_asset.asset.validate import check
from mi_neural_asset.baking import presets
from mi_neural_asset.baking.bake import bake
from mi_neural_asset.baking.sampler import PathSampler

GENERATED = [name for name in catalogue.scenes() if name not in ("seal", "composition")]
CURVES = {"curl_hair": 1400, "hair": 3600, "fabric": 3072}
MODEL = {"width": 16, "depth": 1, "knots": 4, "triplane": 8, "cubemap": 4, "line": 4, "features": 2, "albedo_width": 8, "albedo_depth": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes")
    for name in catalogue.scenes():
        if name not in ("candle", "milk", "dragon"):  # these come with the composition
            catalogue.write(name, path)
    return path


@pytest.fixture
def few_paths(monkeypatch):
    small = presets.BakeConfig(batch=384, buffer=2048, validation=1024)
    monkeypatch.setitem(presets.PRESETS, "preview", small)


def test_command_lists_and_writes(tmp_path, capsys):
    assert cli.main(["scenes"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(catalogue.scenes()) and len(listed) == 14
    assert all(len(line) < 100 and len(line.split()) > 4 for line in listed)
    assert cli.main(["scenes", "seal", "candle", "--write", str(tmp_path / "new")]) == 0
    written = {str(file.relative_to(tmp_path / "new")) for file in (tmp_path / "new").rglob("*") if file.is_file()}
    scenes = {f"{name}{part}" for name in ("seal", "candle") for part in (".xml", "_asset.xml", "_lit.xml", "_lit_reference.xml", ".ply")}
    assert written == scenes | {"candle_wick.ply", *(f"lit/{name}.xml" for name in ("ball", "lamp", "point", "room"))}
    assert cli.main(["scenes", "unicorn"]) == 1
    assert "no scene is called 'unicorn'; there are seal, candle" in capsys.readouterr().err


@pytest.mark.parametrize("name", GENERATED)
def test_scene_can_be_baked(llvm, folder, name):
    """Described without a doubt, in the frame of the room, and its paths end as they should."""
    description = describe(folder / f"{name}.xml", params={"spp": 1})
    assert [issue.code for issue in check(description)] == ["emitter"]  # the lamp of the preview
    low, high = np.array(bounding_box(description))
    assert -1e-6 < low[2] < 0.1 and 0.3 < high[2] < 1.7 and np.abs([low[:2], high[:2]]).max() < 1.0
    curves = sum(len(shape["geometry"].get("counts", ())) for shape in description.shapes)
    assert curves == CURVES.get(name, 0)

    scene, volume = llvm.load_dict(scene_dict(description), parallel=False), description.is_volume
    sampler = PathSampler(scene, *bounding_sphere(description), lanes=2048, volume=volume)
    paths = sampler.sample(2048, seed=1)
    assert paths.truncated <= 4 and paths.invalid == 0
    assert (paths.status == 0).float().mean() > 0.25
    assert all(np.isfinite(getattr(paths, field).numpy()).all() for field in ("x_o", "w_o", "n", "x_i", "w_i", "beta"))
    assert paths.beta.mean() > 0.03 and not paths.direct.all()


def test_missing_library_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    assert cli.main(["scenes", "bunny", "--write", str(tmp_path)]) == 1
    assert "'bunny' needs skimage" in (error := capsys.readouterr().err) and "mi-neural-asset[scenes]" in error


@pytest.mark.parametrize("name", ["candle", "bunny", "hair", "bricks"])
def test_generators_are_deterministic(folder, name):
    for file, content in catalogue.generate(name).files.items():
        assert (folder / file).read_bytes() == content


@pytest.mark.parametrize(("name", "meshes"), [("hair", 1), ("fabric", 0)])
def test_curves_are_baked_and_rendered(llvm, few_paths, folder, name, meshes):
    """From the scene file over a few steps and the asset file to a picture in the room; fabric has no surface but its curves."""
    baked = bake(folder / f"{name}.xml", folder / f"{name}.pt", steps=2, progress=False, certify=False, **MODEL)
    assert baked.config.occlusion == 4  # where nobody gives a number
    shapes = NeuralAsset.load(folder / f"{name}.pt").boundary.shapes
    curves = [shape["geometry"] for shape in shapes if shape["geometry"]["type"].endswith("curve")]
    assert len(shapes) == len(curves) + meshes and sum(len(geometry["counts"]) for geometry in curves) == CURVES[name]
    assert f"{curves[0]['type']}, {len(curves[0]['counts']):,} curves" in baked.summary()
    scene = mi_neural_asset.load_file(folder / f"{name}_lit.xml", parallel=False, width=16, height=16, spp=2)
    image = np.asarray(llvm.render(scene))
    assert np.isfinite(image).all() and image.mean() > 0.01
    assert scene.integrator().statistics.events > 10 and scene.integrator().statistics.invalid == 0


def test_composition_takes_its_weights_as_parameters(llvm, few_paths, folder):
    """Four shapes of three assets, in the same places as those of the path-traced twin; all wear the candle's weights here."""
    bake(folder / "candle.xml", folder / "one.pt", steps=1, progress=False, certify=False, **MODEL)
    weights = {f"{part}_weights": "one.pt" for part in ("candle", "milk", "dragon")}
    neural = mi_neural_asset.load_file(folder / "composition_lit.xml", parallel=False, width=8, height=8, **weights)
    traced = llvm.load_file(str(folder / "composition_lit_reference.xml"), parallel=False)
    assert np.isfinite(np.asarray(llvm.render(neural, spp=1))).all()
    boxes = [
        {s.id().removesuffix("_instance"): s.bbox() for s in scene.shapes() if s.class_name() == "Instance"} for scene in (neural, traced)
    ]
    assert set(boxes[0]) == set(boxes[1]) == {"candle_left", "candle_right", "dragon_in_front", "milk_beside"}
    for name in ("candle_left", "candle_right"):
        assert np.allclose(boxes[0][name].min, boxes[1][name].min, atol=1e-5)
        assert np.allclose(boxes[0][name].max, boxes[1][name].max, atol=1e-5)
