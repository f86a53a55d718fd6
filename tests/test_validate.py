"""What can be baked: refusals by name, and what is noticed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mi_neural_asset.asset.description import Description, describe
from mi_neural_asset.asset.validate import CannotBake, Topology, check

GLASS = {"type": "dielectric"}
WAX = {"wax": {"type": "homogeneous", "sigma_t": 1.0}}


def tetrahedron(flip=False, drop=0, double=False):
    """A tetrahedron of corners 0, e_x, e_y, e_z: volume 1/6, area 3/2 + sqrt(3)/2."""
    vertices = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float32)
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=torch.int32)[: 4 - drop]
    if double:
        faces = torch.cat([faces, faces[:1]])
    return mesh(vertices, faces.flip(1) if flip else faces)


def mesh(vertices, faces, normals=None):
    return {
        "type": "mesh",
        "vertices": vertices,
        "faces": faces,
        "normals": normals,
        "texcoords": None,
        "face_normals": True,
        "flip_normals": False,
        "attributes": {},
    }


def asset(geometry, bsdf=GLASS, interior="wax", media=WAX):
    return Description(
        [{"id": "thing", "geometry": geometry, "bsdf": bsdf, "interior": interior, "exterior": None}], media
    )


def codes(description):
    return [issue.code for issue in check(description)]


def test_sound_mesh_has_no_issues():
    assert check(asset(tetrahedron())) == []


def test_topology_of_known_meshes():
    full = tetrahedron()
    topology = Topology(full["vertices"], full["faces"].long())
    assert (topology.open_edges, topology.crowded_edges) == (0, 0)
    assert topology.volume == pytest.approx(1 / 6) and topology.area == pytest.approx(1.5 + math.sqrt(3) / 2)
    moved = Topology(full["vertices"] + 100, full["faces"].long())
    assert moved.volume == pytest.approx(1 / 6, rel=1e-4)


def test_identical_vertices_are_one():
    """A triangle soup of a closed mesh is closed; a signed zero does not open it."""
    full = tetrahedron()
    soup = full["vertices"][full["faces"].long().reshape(-1)].clone()
    soup[0, 0] = -0.0
    topology = Topology(soup, torch.arange(12).reshape(4, 3))
    assert (topology.open_edges, topology.crowded_edges) == (0, 0)


def test_open_mesh_with_a_medium_is_noticed():
    (issue,) = check(asset(tetrahedron(drop=1)))
    assert issue.code == "open-mesh" and issue.subject == "thing"
    assert (
        "'thing'" in str(issue) and "3 boundary edges" in str(issue) and "'wax'" in str(issue) and "Close" in str(issue)
    )


def test_meshes_that_close_each_other_are_sound():
    """A body in two parts that share a rim, as a liquid's side and top; without its other part each is open."""
    full = tetrahedron()
    parts = [mesh(full["vertices"], full["faces"][k]) for k in (slice(0, 3), slice(3, 4))]
    shapes = [asset(part).shapes[0] | {"id": f"part {k}"} for k, part in enumerate(parts)]
    assert check(Description(shapes, WAX)) == []
    assert codes(Description(shapes[:1], WAX)) == ["open-mesh"]
    other = {**WAX, "milk": WAX["wax"]}
    assert codes(Description([shapes[0], shapes[1] | {"interior": "milk"}], other)) == ["open-mesh", "open-mesh"]


def test_open_mesh_without_a_medium_is_fine():
    assert check(asset(tetrahedron(drop=1), interior=None, media={})) == []


def test_teapot_is_open(llvm, data_dir):
    pot = {"type": "ply", "filename": str(data_dir / "teapot.ply"), "bsdf": GLASS, "interior": {"type": "homogeneous"}}
    (issue,) = check(describe({"type": "scene", "pot": pot}))
    assert issue.code == "open-mesh" and "'pot' is open (96 boundary edges)" in str(issue)


def test_dragon_is_closed_with_crowded_edges_and_folds(llvm, data_dir):
    dragon = {
        "type": "ply",
        "filename": str(data_dir / "dragon.ply"),
        "bsdf": GLASS,
        "interior": {"type": "homogeneous"},
    }
    edges, folds = check(describe({"type": "scene", "dragon": dragon}))
    assert edges.code == "non-manifold" and "50 edges" in str(edges)
    assert folds.code == "folded" and "0.88 %" in str(folds)


def test_non_manifold_edges_are_noticed():
    assert codes(asset(tetrahedron(double=True))) == ["non-manifold"]


def test_triangles_against_their_normals_are_noticed():
    """Light crosses them the wrong way; half of the surface or more is a matter of convention, not a fold."""
    full = {**tetrahedron(), "face_normals": False}
    out = full["vertices"] - 0.25
    assert codes(asset({**full, "normals": out})) == []
    wrong = out * torch.tensor([1.0, 1.0, -1.0])  # the base, a fifth of the surface, looks up
    (issue,) = check(asset({**full, "normals": wrong}))
    assert issue.code == "folded" and "%" in str(issue) and "'thing'" in str(issue)
    assert codes(asset({**full, "normals": wrong, "face_normals": True})) == []
    assert codes(asset({**full, "normals": wrong}, interior=None, media={})) == []


def test_mesh_that_faces_inwards_is_noticed():
    assert codes(asset(tetrahedron(flip=True))) == ["inward"]
    assert codes(asset({**tetrahedron(), "flip_normals": True})) == ["inward"]
    assert codes(asset({**tetrahedron(flip=True), "flip_normals": True})) == []


def test_cube_agrees_with_mitsuba_about_outside(llvm):
    """Signed volume and Mitsuba's geometric normal tell the same story, mirrored transforms included."""
    for z in (1, -1):
        for flip in (False, True):
            cube = {
                "type": "cube",
                "to_world": llvm.ScalarTransform4f().scale([1, 1, z]),
                "flip_normals": flip,
                "bsdf": GLASS,
            }
            hit = llvm.load_dict({"type": "scene", "cube": cube}).ray_intersect(llvm.Ray3f([0.1, 0.2, 5], [0, 0, -1]))
            inward = float(np.array(hit.n.z).item()) < 0
            assert ("inward" in codes(describe({"type": "scene", "cube": cube}))) == inward


def test_medium_without_a_shape_is_noticed():
    (issue,) = check(asset(tetrahedron(), media={**WAX, "smoke": {"type": "homogeneous"}}))
    assert issue.code == "unused-medium" and "'smoke'" in str(issue)


def test_open_analytic_shape_with_a_medium_is_noticed():
    geometry = {"type": "cylinder", "to_world": torch.eye(4).tolist(), "flip_normals": False}
    assert codes(asset(geometry)) == ["open-shape"]
    assert codes(asset({**geometry, "type": "sphere"})) == []


def test_lamps_are_noticed(llvm):
    lamp = {"type": "sphere", "emitter": {"type": "area"}}
    (issue,) = check(describe({"type": "scene", "lamp": lamp, "ball": {"type": "sphere"}}))
    assert issue.code == "emitter" and "'lamp' is a lamp and is left out" in str(issue)


@pytest.mark.parametrize(
    ("bsdf", "message"),
    [
        ({"type": "pplastic"}, "thing.*pplastic.*not supported"),
        ({"type": "measured"}, "thing.*measured.*not supported"),
        ({"type": "twosided", "front": {"type": "null"}}, "thing.*front.*null"),
        ({"type": "diffuse", "reflectance": {"type": "volume"}}, "reflectance.*volume.*not supported"),
        ({"type": "diffuse", "reflectance": {"type": "homogeneous"}}, "reflectance.*homogeneous"),
    ],
)
def test_unsupported_bsdfs_are_refused_by_name(bsdf, message):
    with pytest.raises(CannotBake, match=message):
        check(asset(tetrahedron(), bsdf))


def test_unsupported_media_are_refused_by_name():
    with pytest.raises(CannotBake, match="medium 'wax'.*phase.*sggx"):
        check(asset(tetrahedron(), media={"wax": {"type": "homogeneous", "phase": {"type": "sggx"}}}))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_vertices_that_are_not_finite_are_refused(bad):
    geometry = tetrahedron()
    geometry["vertices"][1, 2] = bad
    with pytest.raises(CannotBake, match="'thing': 1 of 4 vertices are NaN or infinite"):
        check(asset(geometry))


def test_normals_that_are_not_finite_are_refused():
    full = tetrahedron()
    with pytest.raises(CannotBake, match="4 of 4 vertex normals"):
        check(asset(mesh(full["vertices"], full["faces"], torch.full((4, 3), math.nan))))


def test_mesh_without_area_is_refused():
    with pytest.raises(CannotBake, match="no area"):
        check(asset(mesh(torch.rand(1, 3).repeat(3, 1), torch.tensor([[0, 1, 2]], dtype=torch.int32))))


def test_flat_transform_is_refused():
    with pytest.raises(CannotBake, match="'thing'.*singular"):
        check(
            asset(
                {"type": "sphere", "to_world": torch.diag(torch.tensor([1.0, 1, 0, 1])).tolist(), "flip_normals": False}
            )
        )


def test_what_a_file_cannot_hold_is_refused_before_a_bake():
    with pytest.raises(CannotBake, match=r"file cannot hold this scene: scene\.shapes\[0\]\.bsdf\.int_ior"):
        check(asset(tetrahedron(), {"type": "dielectric", "int_ior": "../ior"}))


def test_no_shapes():
    with pytest.raises(CannotBake, match="no shape"):
        check(Description([], {}))
