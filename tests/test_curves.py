"""Curves as boundaries: read, kept, bounded, rebuilt and scaled as Mitsuba does it.  How they scatter: test_surfaces.py."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import drjit as dr
import numpy as np
import pytest
import torch
from oracle import uniform_asset

import mi_neural_asset
from mi_neural_asset.asset import curves
from mi_neural_asset.asset.description import Description, bounding_box, bounding_sphere, describe, scene_dict
from mi_neural_asset.asset.schema import AssetFileError
from mi_neural_asset.asset.validate import CannotBake, check

KINDS = ("bsplinecurve", "linearcurve")
DIFFUSE = {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.8, 0.5, 0.3]}}


def tuft(kind="bsplinecurve", count=60, points=7, seed=1):
    """Crooked tapering curves about the origin, the first with one point more."""
    rng = np.random.default_rng(seed)
    counts = np.full(count, points)
    counts[0] += 1
    parts = []
    for n in counts:
        way = np.cumsum(rng.normal(size=(n, 3)) * 0.12, 0)
        parts.append(np.column_stack([way - way.mean(0) + rng.normal(size=3) * 0.2, np.linspace(0.03, 0.01, n)]))
    return {
        "type": kind,
        "control_points": torch.tensor(np.concatenate(parts), dtype=torch.float32),
        "counts": torch.tensor(counts, dtype=torch.int32),
    }


def asset(geometry, bsdf=DIFFUSE, **media):
    return Description([{"id": "tuft", "geometry": geometry, "bsdf": bsdf, "interior": None, "exterior": None, **media}])


def rays(mi, reach, count=20000, seed=0):
    """Lines through a ball about the origin."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, count, 3))
    origin = 3 * reach * a / np.linalg.norm(a, axis=1, keepdims=True)
    toward = reach * b / np.linalg.norm(b, axis=1, keepdims=True) * rng.random((count, 1)) - origin
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    return mi.Ray3f(mi.Point3f(origin.T), mi.Vector3f(toward.T))


@pytest.mark.parametrize("kind", KINDS)
def test_scene_file_is_read_as_mitsuba_reads_it(llvm, tmp_path, kind):
    """Points are moved and scaled by to_world, radii are not; a loaded scene gives the same description."""
    lines = "\n0 0 0 .1\n 0 0 1 .1\r\n0 1e0 2 .1\n0 0 3 .05\n\n\n1 0 0 .2\n1 0 1 .2\n1 0 2 .2\n1 0 3 .2\n1 1 4 .2"
    (tmp_path / "hair.txt").write_text(lines)
    (tmp_path / "scene.xml").write_text(
        f'<scene version="3.0.0"><shape type="{kind}" id="lock"><string name="filename" value="hair.txt"/><bsdf type="hair">'
        '<float name="eumelanin" value="0.3"/></bsdf><transform name="to_world"><scale value="2"/><translate x="1"/></transform>'
        "</shape></scene>"
    )
    description = describe(tmp_path / "scene.xml")
    (shape,) = description.shapes
    assert shape["id"] == "lock" and shape["bsdf"] == {"type": "hair", "eumelanin": pytest.approx(0.3)}
    assert shape["geometry"]["type"] == kind and shape["geometry"]["counts"].tolist() == [4, 5]
    points = shape["geometry"]["control_points"]
    assert points[2].tolist() == pytest.approx([1, 2, 4, 0.1]) and points[-1].tolist() == pytest.approx([3, 2, 8, 0.2])
    assert check(description) == []

    plain = asset(shape["geometry"])
    (again,) = describe(llvm.load_dict(scene_dict(plain))).shapes
    assert torch.equal(again["geometry"]["control_points"], points)
    assert torch.equal(again["geometry"]["counts"], shape["geometry"]["counts"])


def test_file_of_curves_must_exist(llvm):
    with pytest.raises(FileNotFoundError, match="'nowhere.txt' does not exist"):
        describe({"type": "bsplinecurve", "filename": "nowhere.txt"})


@pytest.mark.parametrize("kind", KINDS)
def test_rebuilt_curves_are_the_same_and_leave_no_files(llvm, kind):
    """Numbers of any size come back bit for bit; nothing is left in the folder of temporary files."""
    geometry = tuft(kind)
    geometry["control_points"][:, :3] *= 10.0 ** torch.randint(-6, 3, (len(geometry["control_points"]), 1))
    before = set(Path(tempfile.gettempdir()).glob("mi_neural_asset_*"))
    shape = curves.build("tuft", geometry, {})
    again = curves.geometry(shape, "tuft")
    assert shape.id() == "tuft" and again["type"] == kind
    assert torch.equal(again["control_points"], geometry["control_points"]) and torch.equal(again["counts"], geometry["counts"])
    assert set(Path(tempfile.gettempdir()).glob("mi_neural_asset_*")) == before


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_every_hit_and_little_more(llvm, kind):
    description = asset(tuft(kind))
    scene = llvm.load_dict(scene_dict(description))
    (low, high), (center, radius) = bounding_box(description), bounding_sphere(description)
    p = np.concatenate([hits[:, ok] for hits, ok in (hit_points(llvm, scene, radius, seed) for seed in range(10))], 1).T
    assert (p >= np.array(low) - 1e-5).all() and (p <= np.array(high) + 1e-5).all()
    distance = np.linalg.norm(p - center, axis=1)
    assert distance.max() <= radius + 1e-5 and distance.max() > 0.95 * radius
    assert (p.max(0) - p.min(0) > 0.9 * (np.array(high) - low)).all()


def hit_points(mi, scene, reach, seed):
    si = scene.ray_intersect(rays(mi, reach, seed=seed))
    return np.array(si.p), np.array(si.is_valid())


@pytest.mark.parametrize("kind", KINDS)
def test_instances_scale_radii(llvm, kind):
    """An asset of curves, twice as large: each hit is twice as far, from rays that are scaled alike."""
    mi, geometry = llvm, tuft(kind)
    weights = uniform_asset(f"curves-{kind}", boundary={"tuft": curves.build("tuft", geometry, {})})
    turned = mi.Transform4f().rotate([0, 0.6, 0.8], 50).scale(2)
    plain = mi.load_dict(scene_dict(asset(geometry)))
    shape = {"type": "neural_asset", "weights": weights, "to_world": mi.ScalarTransform4f(np.array(turned.matrix)[..., 0])}
    large = mi.load_dict({"type": "scene", "asset": shape}, parallel=False)
    ray = rays(mi, 0.8)
    there = mi.Ray3f(turned @ ray.o, (turned @ ray.d) / 2)
    a, b = plain.ray_intersect(ray), large.ray_intersect(there)
    hit = np.array(a.is_valid())
    assert hit.sum() > 1000 and (hit == np.array(b.is_valid())).mean() > 0.999
    both = hit & np.array(b.is_valid())
    assert np.quantile(np.abs(np.array(b.t)[both] - 2 * np.array(a.t)[both]), 0.99) < 1e-4
    n = np.array(turned @ mi.Vector3f(a.n)) / 2
    assert np.quantile(np.linalg.norm(n - np.array(b.n), axis=0)[both], 0.99) < 0.01


def test_curves_with_a_medium_are_refused():
    medium = {"type": "homogeneous", "sigma_t": 1.0}
    for side in ("interior", "exterior"):
        with pytest.raises(CannotBake, match=r"'tuft': curves cannot hold or border a medium \('fog'\).*closed mesh"):
            check(asset(tuft(), **{side: "fog"}).replace(media={"fog": medium}))


def test_points_that_are_not_finite_are_refused():
    geometry = tuft()
    geometry["control_points"][3, 1] = math.nan
    with pytest.raises(CannotBake, match="'tuft': 1 of 421 control points are NaN or infinite"):
        check(asset(geometry))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": torch.tensor([3, 418], dtype=torch.int32)}, "counts: expected at least 4 control points for each curve, got 3"),
        ({"counts": torch.tensor([4, 5], dtype=torch.int32)}, "counts: expected 421 control points in all, got 9"),
        ({"counts": torch.tensor([421.0])}, "counts: expected int32"),
        ({"control_points": torch.ones(421, 3)}, r"control_points: expected float32 \[any, 4\]"),
        ({"control_points": torch.zeros(421, 4)}, "control_points: expected positive radii, got 0"),
        ({"filename": "hair.txt"}, "unknown field 'filename'"),
    ],
)
def test_files_hold_sound_curves_only(change, message):
    Description.from_plain(asset(tuft()).to_plain())
    with pytest.raises(AssetFileError, match=message):
        Description.from_plain(asset({**tuft(), **change}).to_plain())


@pytest.mark.parametrize("kind", KINDS)
def test_rays_that_meet_the_last_end_read_no_foreign_memory(llvm, tmp_path, kind):
    """Behind the segments' numbers lies a sound one, of an asset's curves and of those that a scene file names; v = 1 asks for it."""
    geometry = tuft(kind)
    described = asset(geometry)
    (tmp_path / "tuft.txt").write_text(curves.text(geometry))
    xml = f'<scene version="3.0.0"><shape type="{kind}" id="tuft"><string name="filename" value="tuft.txt"/></shape></scene>'
    (tmp_path / "scene.xml").write_text(xml)
    for scene in (llvm.load_dict(scene_dict(described), parallel=False), mi_neural_asset.load_file(tmp_path / "scene.xml", parallel=False)):
        params = llvm.traverse(scene)
        numbers = params["tuft.segment_indices"]
        count = dr.width(numbers)
        assert count == 60 * (7 - (3 if kind == "bsplinecurve" else 1)) + 1
        assert dr.gather(llvm.UInt32, numbers, llvm.UInt32([count - 1, count])).numpy().tolist() == [numbers[count - 1]] * 2
        points = np.array(params["tuft.control_points"]).reshape(-1, 4)
        end = points[-1] if kind == "linearcurve" else points[-4:].T @ [0, 1 / 6, 4 / 6, 1 / 6]
        rng = np.random.default_rng(3)
        target = end[:3] + 1e-3 * rng.normal(size=(200000, 3))
        toward = rng.normal(size=target.shape)
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        si = scene.ray_intersect(llvm.Ray3f(llvm.Point3f((target - 3 * toward).T), llvm.Vector3f(toward.T)))
        v = si.uv.y.numpy()[si.is_valid().numpy()]
        assert len(v) > 1000 and np.isfinite(si.dp_du.numpy()).all()
