"""The hull: it holds everything, is tight where it can be, and carries the same transport as a box or a sphere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import lines_asset, uniform_rays
from test_exits import BALL_RADIUS, mean_of
from test_render import ALBEDO, LAMP_AT, scene_of
from zstats import assert_same_mean

from mi_neural_asset.asset.description import Description, bounding_sphere
from mi_neural_asset.asset.file import AssetFileError
from mi_neural_asset.asset.hull import half_spaces, spiral
from mi_neural_asset.asset.schema import _check_planes
from mi_neural_asset.model.proxy import HULL_PLANES

RUNS = 6
FLAT = np.array([[2.0, 0.3, 0, 4], [-0.1, 0.5, 0.6, 5], [0, -0.4, 0.9, 6], [0, 0, 0, 1]]).tolist()


def mesh(vertices: np.ndarray) -> dict:
    return {"type": "mesh", "vertices": torch.tensor(vertices, dtype=torch.float32), "faces": torch.zeros(1, 3, dtype=torch.int32)}


def described(*geometries: dict) -> Description:
    return Description([{"id": f"s{k}", "geometry": g, "bsdf": {"type": "diffuse"}} for k, g in enumerate(geometries)])


def shapes(kind: str) -> tuple[Description, np.ndarray]:
    """A description and points of its surface."""
    rng = np.random.default_rng(1)
    ball, turn = spiral(400), rng.uniform(0, 2 * np.pi, 400)
    if kind == "mesh":
        points = rng.normal(size=(300, 3)).astype(np.float32).astype(float) * [1, 0.2, 3] + 10
        return described(mesh(points)), points
    matrix = np.array(FLAT)
    if kind == "sphere":
        matrix = np.array([[0, -3.0, 0, 4], [3, 0, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1]])
        geometry = {"type": "sphere", "to_world": matrix.tolist(), "center": [1.0, 0, 0], "radius": 2.0}
        return described(geometry), (np.array([1.0, 0, 0]) + 2 * ball) @ matrix[:3, :3].T + matrix[:3, 3]
    if kind == "disk":
        points = np.stack([np.cos(turn), np.sin(turn), 0 * turn], -1)
        return described({"type": "disk", "to_world": FLAT}), points @ matrix[:3, :3].T + matrix[:3, 3]
    points = np.array([[0, 0, 0, 0.5], [3, 1, 0, 0.2], [4, 4, 4, 0.7]])
    curve = {"type": "linearcurve", "control_points": torch.tensor(points, dtype=torch.float32), "counts": torch.tensor([3])}
    return described(curve), (points[:, None, :3] + points[:, None, 3:] * ball).reshape(-1, 3)


@pytest.mark.parametrize("kind", ["mesh", "sphere", "disk", "curve"])
def test_hull_holds_the_shapes_and_its_faces_touch_them(kind: str) -> None:
    description, points = shapes(kind)
    center, scale = bounding_sphere(description)
    planes = half_spaces(description, center, scale, HULL_PLANES)
    assert planes.shape == (HULL_PLANES, 4) and np.allclose(np.linalg.norm(planes[:, :3], axis=1), 1)
    height = (points - center) / scale @ planes[:, :3].T - planes[:, 3]
    assert height.max() < 1e-6
    touching = planes[:, 3] > 0.0501  # where the offset is not kept above its least
    assert touching.sum() >= 6 and (height.max(0)[touching] > -0.02).all()
    _check_planes(torch.tensor(planes, dtype=torch.float32))


def test_faces_are_chosen_well() -> None:
    """An octahedron, a sixth of its bounding box: at most a third of its volume is left around it."""
    points = np.concatenate([np.eye(3), -np.eye(3)])
    planes = half_spaces(described(mesh(points)), [0, 0, 0], 1.0, HULL_PLANES)
    rays = spiral(20000)
    volume = (1 / (rays @ planes[:, :3].T / planes[:, 3]).max(-1) ** 3).mean() * 4 * np.pi / 3
    assert 4 / 3 <= volume < 1.33 * 4 / 3


def test_center_outside_the_shapes_is_inside_the_hull() -> None:
    """The middle of a corner's bounding box lies outside its convex hull."""
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    center, scale = bounding_sphere(described(mesh(points)))
    planes = half_spaces(described(mesh(points)), center, scale, HULL_PLANES)
    assert (planes[:, 3] >= 0.05).all() and planes[:, 3].min() == 0.05
    with pytest.raises(ValueError, match="count must be from 6"):
        half_spaces(described(mesh(points)), center, scale, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p * torch.tensor([1, 1, 1, -1.0]), "positive offsets"),
        (lambda p: 2 * p, "unit normals"),
        (lambda p: p[:5], "an open side"),
    ],
)
def test_unsound_planes_are_refused(change, message: str) -> None:  # noqa: ANN001
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    with pytest.raises(AssetFileError, match=message):
        _check_planes(change(torch.cat([axes, torch.ones(6, 1)], -1)))


def lines_integral(kind: str) -> np.ndarray:
    """L_o of the uniform-line asset: albedo times the mean radiance at the far ends of uniform lines through the unit sphere."""
    n, w = uniform_rays(1 << 20)
    if kind == "point":
        way = LAMP_AT - n
        distance = np.linalg.norm(way, axis=-1)
        return ALBEDO * 5.0 * (np.maximum((way * n).sum(-1) / distance, 0) / distance**2).mean() / np.pi
    way = LAMP_AT - n
    along = (way * w).sum(-1)
    return ALBEDO * 50.0 * ((((way - along[:, None] * w) ** 2).sum(-1) < BALL_RADIUS**2) & (along > 0)).mean()


@pytest.mark.parametrize(
    ("kind", "proxies"),
    [("sphere", ("hull", "box")), pytest.param("point", ("hull", "box", "sphere"), marks=pytest.mark.slow)],
)
def test_every_proxy_carries_the_same_transport(llvm, kind: str, proxies: tuple[str, ...]) -> None:  # noqa: ANN001
    """One distribution of lines on all proxies, several sets of techniques: the integral that knows of no proxy."""
    lamp = {"type": "sphere", "center": LAMP_AT.tolist(), "radius": BALL_RADIUS, "emitter": {"type": "area", "radiance": 50.0}}
    point = {"type": "point", "position": LAMP_AT.tolist(), "intensity": 5.0}
    expected = lines_integral(kind)
    for number, proxy in enumerate(proxies):
        scene = scene_of(llvm, lines_asset(f"lines-{proxy}", proxy), extra={"light": lamp if kind == "sphere" else point})
        for k, techniques in enumerate(("path,light,lobe", "light")):
            mean = mean_of(llvm, scene, 100 * number + 10 * k, techniques=techniques, max_depth=2)
            assert_same_mean(mean, (expected, 2e-4 * expected), RUNS)
