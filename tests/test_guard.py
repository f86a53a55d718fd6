"""What is inside an asset is found, exactly; what only touches it is not."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from oracle import SMALL, uniform_asset
from scipy.optimize import linprog

from mi_neural_asset.asset.convex import Hull, surface

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)


def deepest(hull: Hull, corners: np.ndarray) -> float:
    """How far the deepest point of a polytope lies below the faces: a linear programme over its corners' weights."""
    count = len(corners)
    rows = np.concatenate([hull.normals @ corners.T, np.ones((len(hull.normals), 1))], 1)
    found = linprog([0] * count + [-1], A_ub=rows, b_ub=hull.offsets, A_eq=[[1] * count + [0]], b_eq=[1],
                    bounds=[(0, None)] * count + [(None, None)])  # fmt: skip
    return -found.fun


def test_triangles_reach_a_hull_exactly_where_a_linear_programme_says_so():
    rng, reached = np.random.default_rng(0), 0
    hulls = [Hull(CUBE), Hull(rng.normal(size=(60, 3)))]
    assert len(hulls[0].normals) == 6 and len(hulls[0].vertices) == 8
    for number in range(400):
        hull, depth = hulls[number % 2], (0.0, 0.1)[number // 2 % 2]
        triangle = rng.normal(size=(3, 3)) * rng.choice([0.3, 1.0, 3.0]) + rng.normal(size=3) * 1.5
        t, point = deepest(hull, triangle), hull.reached_by(triangle[None], depth)
        assert abs(t - depth) > 1e-9 and (point is not None) == (t > depth)
        reached += t > depth
        if point is not None:
            assert hull.contains(point[None], depth).all()
            weights = np.linalg.lstsq(np.concatenate([triangle.T, np.ones((1, 3))]), np.append(point, 1), rcond=None)[0]
            np.testing.assert_allclose(triangle.T @ weights, point, atol=1e-9)
            assert weights.min() > -1e-9
    assert 80 < reached < 320


def test_all_corners_outside_all_points_inside():
    """A large triangle through the cube, one past its edge, one that touches its face; a needle; a hull without volume."""
    hull = Hull(CUBE)
    through = np.array([[[-9, -9, 0.2], [9, -9, 0.2], [0, 20, 0.2]]], dtype=np.float64)
    assert hull.reached_by(through, 1e-3) is not None
    past_edge = np.array([[[2.1, 0, 5], [2.1, 0, -5], [0, 2.1, 0]]])  # crosses no face's outside entirely, misses the edge x = y = 1
    assert hull.reached_by(past_edge, 1e-3) is None and hull.reached_by(past_edge - [0.1, 0.1, 0], 1e-3) is not None
    assert hull.reached_by(through + [0, 0, 0.8], 1e-9) is None and hull.reached_by(through + [0, 0, 0.799], 1e-4) is not None
    needle = np.array([[[-5.0, 0, 0], [5, 0, 0], [5, 0, 0]]])
    assert hull.reached_by(needle, 1e-3) is not None and hull.reached_by(needle + [0, 2, 0], 1e-3) is None
    flat = Hull(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0.3, 0.2, 0]], dtype=np.float64))
    assert flat.reached_by(through, 0.0) is None and not flat.contains(np.zeros((2, 3)), 0.0).any()


def test_a_million_triangles_are_tested_together():
    rng = np.random.default_rng(1)
    ball = Hull(surface({"type": "sphere", "to_world": np.eye(4)}).reshape(-1, 3))
    assert 1 - np.abs(ball.offsets).min() < 1.2e-3
    middle = rng.normal(size=(250_000, 1, 3))
    soup = middle * (rng.uniform(1.02, 4, (250_000, 1, 1)) / np.linalg.norm(middle, axis=-1, keepdims=True)) + rng.normal(
        size=(250_000, 3, 3)
    ) * 0.002
    assert ball.reached_by(soup, 2e-3) is None
    soup[123_456] -= soup[123_456].mean(0) * 0.2
    inside = np.linalg.norm(soup[123_456], axis=-1).min() < 0.99
    assert (ball.reached_by(soup, 2e-3) is not None) == inside


GEOMETRIES = [
    ({"type": "sphere", "to_world": np.diag([2.0, 2, 2, 1])}, [2, 2, 2]),
    ({"type": "sphere", "to_world": np.eye(4), "center": [1.0, 0, 0], "radius": 0.5}, [1.5, 0.5, 0.5]),
    ({"type": "rectangle", "to_world": np.diag([2.0, 3, 1, 1])}, [2, 3, 0]),
    ({"type": "disk", "to_world": np.diag([2.0, 3, 1, 1])}, [2, 3, 0]),
    ({"type": "cylinder", "to_world": np.eye(4), "p0": [0.0, 0, -1], "p1": [0.0, 0, 4], "radius": 0.5}, [0.5, 0.5, 4]),
]


@pytest.mark.parametrize(("geometry", "reach"), GEOMETRIES)
def test_surfaces_are_those_of_mitsuba(llvm, geometry: dict, reach: list) -> None:
    """Extent as known; a short ray through the middle of every triangle meets Mitsuba's shape there."""
    mi, triangles = llvm, surface(geometry)
    np.testing.assert_allclose(triangles.reshape(-1, 3).max(0), reach, atol=3e-3)
    values = {key: value for key, value in geometry.items() if key != "to_world"}
    shape = mi.load_dict({"type": "scene", "s": {**values, "to_world": mi.ScalarTransform4f(geometry["to_world"].tolist())}})
    a, b, c = (triangles[:, k] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    middle = (a + b + c) / 3
    ray = mi.Ray3f(mi.Point3f((middle - 0.02 * normal).T), mi.Vector3f(normal.T))
    t = np.array(shape.ray_intersect_preliminary(ray).t)
    assert (np.abs(t - 0.02) < 5e-3).all()


@functools.cache
def weights() -> str:
    """An asset whose boundary is the unit sphere."""
    return uniform_asset("guarded")


def scene_of(mi, parts: dict, to_world=None):
    place = {} if to_world is None else {"to_world": to_world}
    asset = {"type": "neural_asset", "weights": weights(), **place}
    camera = {
        "type": "perspective", "fov": 30, "to_world": mi.ScalarTransform4f().look_at([0, -8, 0], [0, 0, 0], [0, 0, 1]),
        "film": {"type": "hdrfilm", "width": 16, "height": 16, "rfilter": {"type": "box"}, "pixel_format": "rgb"},
    }  # fmt: skip
    return mi.load_dict({"type": "scene", "jewel": asset, "camera": camera, "sky": {"type": "constant"}, **parts}, parallel=False)


def findings(scene, sensor: int = 0) -> list[tuple[int, str]]:
    from mi_neural_asset.render.guard import Guard
    from mi_neural_asset.render.instances import SceneAssets

    return [(f.asset, f.what) for f in Guard(scene, SceneAssets(scene)).look(scene.sensors()[sensor])]


def cases(mi) -> dict[str, tuple[dict, str | None]]:
    t = mi.ScalarTransform4f
    ring = {"type": "cylinder", "p0": [0, 0, -0.2], "p1": [0, 0, 0.2], "radius": 1.2}
    group = {"type": "shapegroup", "ball": {"type": "sphere", "radius": 0.3}}
    lamp = {"type": "sphere", "center": [0, 0, 1.1], "radius": 0.2, "emitter": {"type": "area"}}
    return {
        "floor that touches": ({"floor": {"type": "rectangle", "to_world": t().translate([0, 0, -1]).scale(5)}}, None),
        "floor that cuts": ({"floor": {"type": "rectangle", "to_world": t().translate([0, 0, -0.9]).scale(5)}}, "shape 'floor'"),
        "room around": ({"room": {"type": "cube", "to_world": t().scale(9)}}, None),
        "box in the corner of the box": ({"box": {"type": "cube", "to_world": t().translate([0.9, 0.9, 0.9]).scale(0.2)}}, None),
        "box inside": ({"box": {"type": "cube", "to_world": t().translate([0.3, 0.3, 0.3]).scale(0.1)}}, "shape 'box'"),
        "ring around": ({"ring": ring}, None),
        "lamp that reaches in": ({"lamp": lamp}, "the light of shape 'lamp'"),
        "point light": ({"spark": {"type": "point", "position": [0.5, 0.5, 0.5]}}, "light 'spark'"),
        "point light in the box": ({"spark": {"type": "point", "position": [0.7, 0.7, 0.7]}}, None),
        "spot": ({"spot": {"type": "spot", "to_world": t().translate([0, 0, 0.9])}}, "light 'spot'"),
        "sun": ({"sun": {"type": "directional", "direction": [0, 0, -1]}}, None),
        "instance": ({"group": group, "inst": {"type": "instance", "g": {"type": "ref", "id": "group"},
                                               "to_world": t().translate([0, 0, 1.2])}}, "shape 'inst'"),
        "instance beside": ({"group": group, "inst": {"type": "instance", "g": {"type": "ref", "id": "group"},
                                                      "to_world": t().translate([0.85, 0.85, 0.85])}}, None),
    }  # fmt: skip


def test_shapes_and_lights_inside_are_found_and_no_others(llvm) -> None:
    t = llvm.ScalarTransform4f().translate([3, -2, 5]).rotate([0.36, 0.48, 0.8], 70).scale(2.5)
    for name, (parts, expected) in cases(llvm).items():
        wanted = [] if expected is None else [(0, expected)]
        assert findings(scene_of(llvm, parts)) == wanted, name
    # the same around an asset that is turned, scaled and moved
    for name, (parts, expected) in cases(llvm).items():
        if name.startswith("instance") or "to_world" not in str(parts) or "spot" in parts:
            continue
        moved = {key: {**part, "to_world": t @ part.get("to_world", llvm.ScalarTransform4f())} for key, part in parts.items()}
        assert findings(scene_of(llvm, moved, to_world=t)) == ([] if expected is None else [(0, expected)]), name


def test_camera_and_other_assets_inside_are_found(llvm) -> None:
    t = llvm.ScalarTransform4f
    inside = {"type": "perspective", "to_world": t().look_at([0, 0, 0.5], [0, 0, 9], [0, 1, 0])}
    scene = scene_of(llvm, {"within": inside})
    assert findings(scene) == [] and findings(scene, 1) == [(0, "the camera 'within'")]
    other = {"type": "neural_asset", "weights": weights(), "to_world": t().translate([0, 0, 1.99])}
    assert findings(scene_of(llvm, {"other": other})) == [(0, "asset 'other'"), (1, "asset 'jewel'")]
    for z, scale in ((2.0, 1.0), (0.0, 0.5)):  # beside each other; one within the other
        other["to_world"] = t().translate([0, 0, z]).scale(scale)
        assert len(findings(scene_of(llvm, {"other": other}))) == (0 if z else 2)


def test_render_tells_once_is_strict_and_marks_pixels(llvm, capfd) -> None:
    mi = llvm
    parts = {
        "floor": {"type": "rectangle", "to_world": mi.ScalarTransform4f().translate([0, 0, -0.5]).scale(5)},
        "far": {"type": "neural_asset", "weights": weights(), "to_world": mi.ScalarTransform4f().translate([0, 3, 1.5])},
    }
    scene = scene_of(mi, parts)
    integrator = mi.load_dict({"type": "nap_path", "aovs": "dd:depth, bad:neural_invalid"})
    level = mi.log_level()
    mi.set_log_level(mi.LogLevel.Warn)
    try:
        image = np.array(mi.render(scene, integrator=integrator, spp=16))
        mi.render(scene, integrator=integrator, spp=1)
    finally:
        mi.set_log_level(level)
    printed = capfd.readouterr()
    text = printed.out + printed.err
    assert text.count("inside asset 'jewel': shape 'floor' at [") == 1 and "inside asset 'far'" not in text
    assert scene.sensors()[0].film().bitmap().struct_()[4].name == "bad" and image.shape == (16, 16, 5)
    bad = image[..., 4]
    assert bad[8, 8] == 1 and bad[0, 0] == 0 and 0 < bad.mean() < 0.3
    with pytest.raises(Exception) as caught:
        mi.render(scene, integrator=mi.load_dict({"type": "nap_path", "strict": True}), spp=1)
    messages = [str(caught.value), str(caught.value.__cause__)]
    assert any("inside asset 'jewel': shape 'floor'" in text and "move it out" in text for text in messages)
    # where nothing is inside, strict is content and nothing is marked
    clean = scene_of(mi, {})
    image = np.array(mi.render(clean, integrator=mi.load_dict({"type": "nap_path", "strict": True, "aovs": "bad:neural_invalid"}), spp=4))
    assert image.shape == (16, 16, 4) and image[..., 3].max() == 0


def test_a_shape_that_moves_in_later_is_found(llvm) -> None:
    mi = llvm
    scene = scene_of(mi, {"box": {"type": "cube", "to_world": mi.ScalarTransform4f().translate([3, 0, 0]).scale(0.1)}})
    assert findings(scene) == []
    params = mi.traverse(scene)
    (key,) = (name for name in params.keys() if name.endswith("vertex_positions"))
    before = np.array(params[key])
    params[key] = mi.Float((before.reshape(-1, 3) - [3, 0, 0]).astype(np.float32).ravel())
    params.update()
    assert [what for _, what in findings(scene)] == ["shape 'box'"]
    params[key] = mi.Float(before)
    params.update()
    assert findings(scene) == []


def untrained(name: str, folder) -> None:
    """A weights file for a scene's asset, with a model that nobody has trained."""
    from mi_neural_asset.asset.asset import NeuralAsset
    from mi_neural_asset.asset.description import bounding_sphere, describe
    from mi_neural_asset.model.config import ModelConfig
    from mi_neural_asset.model.transport import Transport

    source = describe(folder / f"{name}.xml")
    center, radius = bounding_sphere(source)
    config = ModelConfig(**SMALL)
    torch.manual_seed(0)
    weights = dict(Transport(config).state_dict())
    NeuralAsset(source.without_media(), None, list(center), radius, config, weights).save(folder / f"{name}.pt")


def check_scene(mi, name: str, folder) -> None:
    import mi_neural_asset
    from mi_neural_asset import catalogue

    catalogue.write(name, folder)
    parts = ["candle", "milk", "dragon"] if name == "composition" else [name]
    for part in parts:
        untrained(part, folder)
    values = {f"{part}_weights": f"{part}.pt" for part in parts} if name == "composition" else {"weights": f"{name}.pt"}
    lights = [None] if name == "composition" else sorted(file.stem for file in (folder / "lit").glob("*.xml") if file.stem != "room")
    for light in lights:
        more = {} if light is None else {"light": light}
        (file,) = (f for f in (folder / f"{name}_lit.xml", folder / f"{name}.xml") if f.exists() and "neural_asset" in f.read_text())
        scene = mi_neural_asset.load_file(file, parallel=False, **values, **more)
        assert findings(scene) == [], (name, light)


@pytest.mark.parametrize("name", ["seal", "milk"])
def test_scenes_raise_no_false_alarm(llvm, name: str, tmp_path) -> None:
    check_scene(llvm, name, tmp_path)


SLOW_SCENES = ["candle", "dragon", "cat", "bunny", "curl_hair", "hair", "fabric", "teaset", "flowers", "bricks", "composition"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_SCENES)
def test_no_scene_raises_a_false_alarm(llvm, name: str, tmp_path) -> None:
    check_scene(llvm, name, tmp_path)
