"""Scenes that use an asset wrongly: each gets an error that says what is wrong and what to do."""

from __future__ import annotations

import re

import pytest
from fuzz.mutations import CHECKPOINT
from fuzz.sample import pack, sample

from mi_neural_asset import load_string
from mi_neural_asset.asset.schema import VERSION

ASSET = '<shape type="neural_asset" id="a">{weights}{more}</shape>'
WRONG = {
    "no weights": ({"weights": ""}, '"weights" is missing: <string name="weights"'),
    "another name": ({"weights": '<string name="filename" value="$w"/>'}, '"weights" is missing'),
    "a number": ({"weights": '<float name="weights" value="1"/>'}, '"weights" must be the name of a file'),
    "a transform": ({"weights": '<transform name="weights"/>'}, '"weights" must be the name of a file'),
    "an empty name": ({"weights": '<string name="weights" value=""/>'}, '"weights" must be the name of a file'),
    "no file": ({"weights": '<string name="weights" value="none.pt"/>'}, "'none.pt' does not exist .*Bake it first"),
    "place is a text": ({"more": '<string name="to_world" value="here"/>'}, '"to_world" must be a transform'),
    "place is a number": ({"more": '<float name="to_world" value="2"/>'}, '"to_world" must be a transform'),
    "mirrored": ({"more": '<transform name="to_world"><scale x="-1"/></transform>'}, "mirrors the asset.*bake the mirrored scene"),
    "mirrored twice": ({"more": '<transform name="to_world"><scale x="-1" y="-1" z="-1"/></transform>'}, "mirrors the asset"),
    "flattened": ({"more": '<transform name="to_world"><scale z="0"/></transform>'}, "singular or not finite"),
    "stretched": ({"more": '<transform name="to_world"><scale z="2"/></transform>'}, "scales the axes differently"),
    "a lamp": ({"more": '<emitter type="area"/>'}, "an asset emits no light: take the emitter away"),
    "a medium": ({"more": '<medium type="homogeneous" name="interior"/>'}, "a medium is part of what was baked: take it away"),
    "a sensor": ({"more": '<sensor type="perspective"/>'}, "takes one nested BSDF and nothing else"),
    "a texture": ({"more": '<texture type="checkerboard" name="reflectance"/>'}, "takes one nested BSDF and nothing else.*'reflectance'"),
    "two BSDFs": ({"more": '<bsdf type="diffuse"/><bsdf type="conductor"/>'}, "takes one nested BSDF and nothing else"),
    "unknown": ({"more": '<float name="scale" value="2"/>'}, '(?s)unreferenced property.*"scale"'),
}


@pytest.fixture
def weights(tmp_path) -> str:
    (tmp_path / "a.pt").write_bytes(sample().data)
    return str(tmp_path / "a.pt")


def scene(path: str, count: int = 1, **parts: str):
    whole = {"weights": f'<string name="weights" value="{path}"/>', "more": "", **parts}
    return load_string(f'<scene version="3.0.0">{ASSET.format(**whole) * count}</scene>'.replace("$w", path))


def error(*arguments, **parts) -> str:
    with pytest.raises(RuntimeError) as caught:
        scene(*arguments, **parts)
    return " ".join([str(caught.value), str(caught.value.__cause__)])


def test_sound_scenes_load(llvm, weights):
    """The checks below can fail: the same scene without the mistake, with a BSDF of its own or a shared one."""
    assert len(scene(weights).shapes()) == len(scene(weights, more='<bsdf type="diffuse"/>').shapes()) == 1
    shared = f'<bsdf type="diffuse" id="m"/><shape type="neural_asset" weights="{weights}"><ref id="m"/></shape>'
    assert len(load_string(f'<scene version="3.0.0">{shared}</scene>').shapes()) == 1


@pytest.mark.parametrize("name", WRONG)
def test_wrong_properties(llvm, weights, name):
    parts, message = WRONG[name]
    assert re.search(message, text := error(weights, **parts)), text


def test_two_assets_of_one_id(llvm, weights):
    assert 'duplicate ID: "a"' in error(weights, 2)


FILES = {
    "an unknown kind": ({**sample().content, "kind": "near_field"}, "kind: expected one of transport, far_field, got 'near_field'"),
    "another kind": ({**sample().content, "kind": "far_field"}, "weights.incident_grid.table: is missing"),
    "a checkpoint": ({"magic": CHECKPOINT}, "it is a checkpoint of an unfinished bake: continue that with --resume"),
    "weights alone": (sample().content["weights"], "it is a plain torch state dict"),
    "a newer version": ({**sample().content, "version": VERSION + 1}, f"the file has format {VERSION + 1}.*upgrade mi_neural_asset"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_another_kind(llvm, tmp_path, name):
    content, message = FILES[name]
    (tmp_path / "a.pt").write_bytes(pack(content))
    text = error(str(tmp_path / "a.pt"))
    assert re.search(message, text) and str(tmp_path / "a.pt") in text


def test_weights_that_are_a_scene(llvm, tmp_path):
    (tmp_path / "a.pt").write_text('<?xml version="1.0"?><!DOCTYPE s [<!ENTITY e SYSTEM "file:///etc/passwd">]><scene>&e;</scene>')
    text = error(str(tmp_path / "a.pt"))
    assert "is not an asset file" in text and "root:" not in text


def test_asset_within_a_group(llvm, weights):
    inner = ASSET.format(weights=f'<string name="weights" value="{weights}"/>', more="")
    with pytest.raises(RuntimeError, match="Nested ShapeGroup is not permitted"):
        load_string(f'<scene version="3.0.0"><shape type="shapegroup" id="g">{inner}</shape></scene>')
