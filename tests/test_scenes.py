"""The seal: a sound mesh, scenes that load, and a medium dense enough to be worth baking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SCENES = Path(__file__).resolve().parent.parent / "scenes"


def read_seal():  # noqa: ANN201
    """Vertices [V, 3], normals [V, 3] and faces [F, 3] of scenes/seal.ply."""
    data = (SCENES / "seal.ply").read_bytes()
    header, body = data.split(b"end_header\n", 1)
    words = header.decode().split()
    vertex_count, face_count = (int(words[words.index(name) + 1]) for name in ("vertex", "face"))
    table = np.frombuffer(body, "<f4", 6 * vertex_count).reshape(-1, 6)
    faces = np.frombuffer(body, [("n", "u1"), ("v", "<i4", 3)], face_count, offset=24 * vertex_count)["v"]
    return table[:, :3].astype(float), table[:, 3:].astype(float), faces


def test_seal_is_a_closed_surface():
    """Every edge is used once in each direction; one piece; normals point outwards; 10k to 30k triangles in < 1 MB."""
    vertices, normals, faces = read_seal()
    assert 10000 <= len(faces) <= 30000
    assert (SCENES / "seal.ply").stat().st_size < 1e6
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    forward = edges[:, 0] * len(vertices) + edges[:, 1]
    backward = edges[:, 1] * len(vertices) + edges[:, 0]
    assert len(np.unique(forward)) == len(forward)
    assert np.array_equal(np.sort(forward), np.sort(backward))

    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    assert (np.einsum("ij,ij->i", a, cross)).sum() / 6 > 0.5  # volume: the faces look outwards
    assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-5
    agreement = np.einsum("ij,ij->i", cross, normals[faces].sum(1)) > 0
    assert agreement.mean() > 0.99

    label = np.arange(len(vertices))
    for _ in range(2000):  # smallest label spreads along edges
        before = label.copy()
        np.minimum.at(label, edges[:, 0], label[edges[:, 1]])
        label = label[label]
        if np.array_equal(before, label):
            break
    assert (label == 0).all()


def test_seal_stands_on_the_plane():
    """Base one unit wide around the z axis, foot at z = 0."""
    vertices, _, _ = read_seal()
    assert abs(vertices[:, 2].min()) < 1e-6
    assert np.abs(np.abs(vertices[:, :2]).max(0) - 0.5).max() < 1e-3


def test_seal_scatters_often(llvm):
    """The sampler's mean event count is above 40, and no path is cut or broken."""
    from mi_neural_asset.baking.sampler import PathSampler

    vertices, _, _ = read_seal()
    center = 0.5 * (vertices.min(0) + vertices.max(0))
    radius = np.linalg.norm(vertices - center, axis=1).max()
    scene = llvm.load_dict({"type": "scene", "seal": asset_of(llvm)})
    paths = PathSampler(scene, center.tolist(), float(radius)).sample(50000, seed=1)
    assert paths.events.float().mean() > 40
    assert paths.truncated == 0 and paths.invalid == 0


def asset_of(mi):  # noqa: ANN001, ANN201
    """The seal's shape as it stands in scenes/seal.xml."""
    return next(s for s in mi.load_file(str(SCENES / "seal.xml")).shapes() if s.id() == "seal")


def test_lit_scene(llvm):
    """The reference renders to something green and finite; the lamp is near, but outside the convex hull."""
    from scipy.spatial import Delaunay

    scene = llvm.load_file(str(SCENES / "seal_lit_reference.xml"), width=24, height=24, spp=4)
    shapes = {s.id(): s for s in scene.shapes()}
    assert {"seal", "table", "backdrop", "lamp"} <= set(shapes)
    assert shapes["table"].bbox().max.z == pytest.approx(-1e-3, abs=1e-6)

    vertices, _, _ = read_seal()
    box = shapes["lamp"].bbox()
    corners = np.array([[x, y, z] for x in (box.min.x, box.max.x) for y in (box.min.y, box.max.y)
                        for z in (box.min.z, box.max.z)])  # fmt: skip
    assert (Delaunay(vertices).find_simplex(corners) < 0).all()
    assert 0.5 < np.linalg.norm(corners.mean(0) - vertices.mean(0)) < 2.5

    image = np.array(llvm.render(scene))
    assert np.isfinite(image).all()
    seal = image[10:20, 8:16]
    assert seal[..., 1].mean() > 1.1 * seal[..., 0].mean()


def test_lit_scenes_differ_in_the_asset_only():
    """The baked seal and its reference share the room; only one holds the path-traced original."""
    baked, reference = ((SCENES / name).read_text() for name in ("seal_lit.xml", "seal_lit_reference.xml"))
    room = '<include filename="lit/room.xml"/>'
    assert room in baked and room in reference
    assert "seal_asset.xml" in reference and "seal_asset.xml" not in baked
    assert 'type="neural_asset"' in baked and 'type="neural_asset"' not in reference
    for text in (baked, reference):
        assert '<integrator type="$integrator"' in text
