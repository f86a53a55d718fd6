"""Paths read backwards are paths of the asset: both ways give the same means, and without the adjoint's cosines they do not."""

from __future__ import annotations

import mitsuba as mi
import numpy as np
import pytest
import torch

from mi_neural_asset.asset.description import bounding_sphere, describe, scene_dict
from mi_neural_asset.asset.reciprocal import is_reciprocal
from mi_neural_asset.baking.reciprocity import MAX_ADJOINT, backwards, without_return
from mi_neural_asset.baking.sampler import PathSampler

MEDIUM = {"type": "homogeneous", "albedo": {"type": "rgb", "value": [0.95, 0.9, 0.6]}, "sigma_t": 6.0,
          "phase": {"type": "hg", "g": 0.5}}  # fmt: skip
BSDFS = {
    "dielectric": {"type": "dielectric", "int_ior": 1.5},
    "roughdielectric": {"type": "roughdielectric", "int_ior": 1.4, "alpha": 0.2},
    "plastic": {"type": "twosided", "nested": {"type": "plastic", "diffuse_reflectance": {"type": "rgb", "value": [0.8, 0.5, 0.2]}}},
    "roughconductor": {"type": "twosided", "nested": {"type": "roughconductor", "alpha": 0.3}},
}  # fmt: skip
LIMIT = 4.0  # standard errors, of 5 means a scene: p = 3e-4 together


def _lumpy(tmp_path) -> str:  # noqa: ANN001
    """A coarse dented ball with vertex normals: shading and geometric normals differ by up to 20 degrees, no symmetry."""
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=2)
    x, y, z = ball.vertices.T
    ball.vertices *= (1 + 0.25 * np.sin(3 * x + 1) * np.cos(2 * y) + 0.2 * z * x)[:, None]
    path = tmp_path / "lumpy.ply"
    mesh = mi.Mesh("lumpy", len(ball.vertices), len(ball.faces), has_vertex_normals=True)
    params = mi.traverse(mesh)
    params["vertex_positions"], params["faces"] = ball.vertices.ravel().astype(np.float32), ball.faces.ravel().astype(np.uint32)
    params["vertex_normals"] = np.asarray(ball.vertex_normals, np.float32).ravel()
    params.update()
    mesh.write_ply(str(path))
    return str(path)


def _means(paths, turned, count: int, adjoint: bool) -> np.ndarray:  # noqa: ANN001
    """z of five means: forwards against backwards, over the same paths; the last of what is seen at grazing angles."""
    rng = np.random.default_rng(3)
    vectors = torch.as_tensor(rng.normal(size=(4, 4, 3)), dtype=torch.float32)

    def sums(p, weight):  # noqa: ANN001, ANN202
        values = []
        for a, b, c, d in vectors:
            value = (1 + (p.x_o @ a).sin() + (p.w_o @ b)) * (1 + (p.x_i @ c).cos() + (p.w_i @ d))
            values.append((weight.mean(-1) * value).double())
        values.append((weight.mean(-1) * ((p.n * p.w_o).sum(-1) < 0.2)).double())
        return torch.stack(values, -1)

    kept = paths.adjoint > 1 / MAX_ADJOINT  # what the paths that are left out backwards look like forwards
    forward = sums(paths, paths.beta * kept[:, None])
    back = sums(turned, turned.beta if adjoint else turned.beta * turned.adjoint[:, None])
    difference = (forward.sum(0) - back.sum(0)) / count
    error = ((forward.square().sum(0) + back.square().sum(0)) / count**2).sqrt()
    return (difference / error).numpy()


@pytest.mark.parametrize(("name", "specular"), [*((name, False) for name in BSDFS), ("dielectric", True), ("plastic", True)])
def test_paths_backwards_have_the_means_of_paths_forwards(llvm, name: str, specular: bool, tmp_path) -> None:  # noqa: ANN001
    """With mirrored rays followed: those whose first event is no mirror reflection, forwards only where the ray comes from all
    around, as backwards all end there.
    """
    shape = {"type": "ply", "filename": _lumpy(tmp_path), "bsdf": BSDFS[name]}
    if "dielectric" in name:
        shape["interior"] = MEDIUM
    description = describe({"type": "scene", "asset": shape})
    assert is_reciprocal(description)
    center, radius = bounding_sphere(description)
    scene, count = mi.load_dict(scene_dict(description), parallel=False), 400_000
    paths = PathSampler(scene, center, 1.0001 * radius, specular=specular).sample(count, 7)
    turned, chained = backwards(paths), (paths.x_v != paths.x_o).any(-1)
    assert chained.any() == specular and bool(paths.mirrored.any()) == specular
    paths.beta[chained] = 0
    z = _means(paths, turned, count, adjoint=True)
    assert np.abs(z).max() < LIMIT
    if name == "dielectric" and not specular:
        assert np.abs(_means(paths, turned, count, adjoint=False)).max() > LIMIT


def test_every_path_counts_twice(llvm, tmp_path) -> None:  # noqa: ANN001
    """Throughput of what a bake reads both ways, and of what has no way back and is read forwards again."""
    shape = {"type": "ply", "filename": _lumpy(tmp_path), "bsdf": BSDFS["dielectric"], "interior": MEDIUM}
    description = describe({"type": "scene", "asset": shape})
    center, radius = bounding_sphere(description)
    scene = mi.load_dict(scene_dict(description), parallel=False)
    paths = PathSampler(scene, center, 1.0001 * radius, specular=True).sample(400_000, 8)
    turned, chained, alone = backwards(paths), (paths.x_v != paths.x_o).any(-1), without_return(paths)
    assert 0.005 < alone.float().mean() < 0.1 and not (alone & chained).any()
    forwards = (paths.beta.mean(-1) * ~chained * (1 + (paths.n * paths.w_o).sum(-1))).double()
    again, back = forwards * alone, (turned.beta.mean(-1) * (1 + (turned.n * turned.w_o).sum(-1))).double()
    error = (forwards.square().sum() + back.square().sum()).sqrt()
    assert abs(forwards.sum() - again.sum() - back.sum()) < LIMIT * error
    assert again.sum() > 3 * error  # they are seen to be missing


def test_a_bake_reads_again_what_has_no_way_back(llvm, tmp_path) -> None:  # noqa: ANN001
    """Of the rows that say nothing of alpha, those that stand beside a path forwards are of such paths, and of all of them."""
    from mi_neural_asset.baking import bake as module

    shape = {"type": "ply", "filename": _lumpy(tmp_path), "bsdf": BSDFS["dielectric"], "interior": MEDIUM}
    settings = {"minutes": None, "seed": 0, "device": "cpu", "progress": False, "only": None, "options": module.BakeOptions()}
    run = module.Bake({"type": "scene", "asset": shape}, None, module._config("preview", 5, {"probes": 0}), **settings)
    paths = run.buffer.sampler.sample(100_000, 8)
    rows, alone = run.buffer._training_rows(paths), without_return(paths)

    def rays(x_o, w_o) -> set[tuple[float, ...]]:  # noqa: ANN001
        return set(map(tuple, torch.cat([x_o, w_o], -1).tolist()))

    silent = rows.drawn == 0
    again = rays(rows.x_o[silent], rows.w_o[silent]) & rays(rows.x_o[~silent], rows.w_o[~silent])
    assert again == rays((paths.x_o[alone] - run.center.float()) / run.scale, paths.w_o[alone])
    assert len(again) > 500
