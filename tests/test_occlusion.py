"""What a point of the asset is told about its surroundings: known distances, and the frame it shares with the coordinates."""

import numpy as np
import torch

RADIUS, CENTER = 2.5, [1.0, -2.0, 0.5]


def test_distances_inside_and_outside_a_sphere(llvm) -> None:  # noqa: ANN001
    """From its surface a sphere is never met outwards; inwards, from a little below it, at the far end of a chord."""
    from mi_neural_asset.occlusion import SELF_OFFSET, Occlusion, directions

    scene = llvm.load_dict({"type": "scene", "ball": {"type": "sphere", "center": CENTER, "radius": RADIUS}})
    n = np.random.default_rng(0).normal(size=(3, 200))
    n = (n / np.linalg.norm(n, axis=0)).astype(np.float32)
    values = Occlusion(scene, CENTER, RADIUS, 16).tensor(llvm.Point3f(n), llvm.Vector3f(n), "cpu").numpy()
    height = np.array(directions(16))[:, 2]
    assert (height > 0).sum() == 8
    assert (values[:, np.tile(height > 0, 2)] == 0).all()
    start = 1 - SELF_OFFSET
    along = -start * height[height < 0]
    chord = along + np.sqrt(along**2 + 1 - start**2)
    far, near = values[:, :16], values[:, 16:]
    np.testing.assert_allclose(far[:, height < 0], np.exp(-2 * chord)[None].repeat(200, 0), atol=1e-4)
    np.testing.assert_allclose(near[:, height < 0], np.exp(-16 * chord)[None].repeat(200, 0), atol=5e-4)


def test_a_wall_is_seen_where_it_stands(llvm) -> None:  # noqa: ANN001
    """A wall at x = 1 before a floor point: exp(-2 / d_x) along directions that lean towards it, zero along the others."""
    from mi_neural_asset.occlusion import Occlusion, directions

    t = llvm.ScalarTransform4f()
    wall = {"type": "rectangle", "to_world": t.translate([1, 0, 0]).rotate([0, 1, 0], -90).scale(1e4)}
    values = Occlusion(llvm.load_dict({"type": "scene", "wall": wall}), [0, 0, 0], 1.0, 24).tensor(
        llvm.Point3f(0, 0, [0.0]), llvm.Vector3f(0, 0, [1.0]), "cpu"
    )
    lean = np.array(directions(24))[:, 0]
    expected = np.where(lean > 1e-6, np.exp(-2 / np.maximum(lean, 1e-6)), 0)
    np.testing.assert_allclose(values.numpy()[0, :24], expected, atol=1e-3)
    assert (expected > 0.05).sum() >= 4


def test_frame_is_that_of_the_coordinates(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.model.coordinates import frame
    from mi_neural_asset.occlusion import tangents

    n = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    n[0] = torch.tensor([0.0, 0.0, -1.0])
    for ours, theirs in zip(tangents(llvm.Vector3f(n.T.contiguous().numpy())), frame(n), strict=True):
        np.testing.assert_allclose(np.asarray(ours).T, theirs.numpy(), atol=2e-4)


def test_no_directions_give_no_inputs(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.occlusion import Occlusion

    scene = llvm.load_dict({"type": "scene", "ball": {"type": "sphere"}})
    x, n = llvm.Point3f(0, 0, [1.0, 2.0]), llvm.Vector3f(0, 0, [1.0, 1.0])
    assert Occlusion(scene, [0, 0, 0], 1.0, 0).tensor(x, n, "cpu").shape == (2, 0)


def test_a_point_hears_the_same_alone_and_among_others(llvm) -> None:  # noqa: ANN001
    """Whatever number of points is traced together."""
    from mi_neural_asset.occlusion import Occlusion

    ball = {"type": "sphere", "radius": 0.3}
    scene = llvm.load_dict({"type": "scene", "a": ball, "b": {**ball, "center": [0.7, 0, 0]}, "c": {**ball, "center": [0, 0.5, 0.4]}})
    around = Occlusion(scene, [0, 0, 0], 1.0, 12)
    n = np.random.default_rng(1).normal(size=(3, 35))
    n = (n / np.linalg.norm(n, axis=0)).astype(np.float32)
    x = np.float32(0.301) * n

    def told(first: int, count: int) -> np.ndarray:
        part = slice(first, first + count)
        x_o, normal = (kind(np.ascontiguousarray(v[:, part])) for kind, v in ((llvm.Point3f, x), (llvm.Vector3f, n)))
        return around.tensor(x_o, normal, "cpu").numpy()

    alone = np.concatenate([told(k, 1) for k in range(35)])
    assert (alone.std(0) > 0.01).sum() >= 6
    for count in (15, 16, 17, 35):
        np.testing.assert_allclose(told(0, count), alone[:count], atol=2e-6)
