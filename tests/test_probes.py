"""Probes: known views of a ball, of a trench and of a sheet; places of points; tables as bytes; rings and bands of them."""

from __future__ import annotations

import torch

from mi_neural_asset.model.probes import AZIMUTHS, BANDS, CHANNELS, ProbeTables

BALL = {"type": "sphere", "to_world": torch.eye(4).tolist(), "radius": 2.0, "center": [1.0, 0.0, 0.0]}
SQUARE = {"type": "rectangle", "to_world": torch.eye(4).tolist()}


def _scene(mi, **shapes):  # noqa: ANN001, ANN003, ANN202
    balls = {name: {"type": "sphere", "radius": 2.0, "center": [1.0, 0.0, 0.0]} for name, g in shapes.items() if g is BALL}
    sheets = {name: {**g, "to_world": mi.ScalarTransform4f(g["to_world"])} for name, g in shapes.items() if g is not BALL}
    return mi.load_dict({"type": "scene", **balls, **sheets}, parallel=False)


def test_a_ball_sees_its_half_space(llvm) -> None:  # noqa: ANN001
    """On a convex body |n . d| V is the cosine above the surface and nothing below it, also as the mean of a few neighbours."""
    from mi_neural_asset.probes import Average, ProbeMesh, directions

    mesh = ProbeMesh([{"geometry": BALL}], [1.0, 0.0, 0.0], 2.0, 16384)
    views = mesh.views(_scene(llvm, ball=BALL))
    expected = (mesh.normals @ directions().T).clamp_min(0).float()
    turned = (mesh.normals - torch.nn.functional.normalize(mesh.points, dim=-1)).norm(dim=-1)
    assert turned.max() < 0.15 and turned.mean() < 0.005  # the seam of the patch, and all of it
    for some in (views, Average(mesh)(views)):
        assert some.shape == (len(mesh.points), BANDS * AZIMUTHS)
        assert (some - expected).abs().max() < 0.15 and (some - expected).abs().mean() < 0.005


def test_the_foot_of_a_wall_sees_half(llvm) -> None:  # noqa: ANN001
    """Two walls of a corner: each hides the directions of the other; sheets see on both of their sides."""
    from mi_neural_asset.probes import ProbeMesh, directions

    turned = llvm.ScalarTransform4f().translate([1, 0, 1]).rotate([0, 1, 0], -90)
    wall = {"type": "rectangle", "to_world": [[float(turned.matrix[i, j]) for j in range(4)] for i in range(4)]}
    mesh = ProbeMesh([{"geometry": SQUARE}, {"geometry": wall}], [0.0, 0.0, 0.0], 2.3, 16384)
    views = mesh.views(_scene(llvm, floor=SQUARE, wall=wall))
    near = (mesh.points * 2.3 - torch.tensor([0.85, 0.0, 0.0])).norm(dim=-1).argmin()
    d = directions()
    hidden = (d[:, 2] > 0) & (d[:, 0] > 0.5) & (d[:, 1].abs() < 0.3)  # towards the wall
    free = (d[:, 2] > 0) & (d[:, 0] < -0.5)
    below = (d[:, 2] < 0) & (d[:, 0] < -0.5)
    view = views[near]
    assert view[hidden].max() < 0.1
    for some in (free, below):
        assert torch.allclose(view[some], d[some, 2].abs().float(), atol=0.12)


def test_points_lie_between_their_probes(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.probes import LONGEST, NEAREST, ProbeMesh

    mesh = ProbeMesh([{"geometry": BALL}], [1.0, 0.0, 0.0], 2.0, 16384)
    n = torch.nn.functional.normalize(torch.randn(2000, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    place = mesh.place(n, n)
    assert place.shape == (2000, 6) and torch.allclose(place[:, 3:].sum(-1), torch.ones(2000), atol=1e-5)
    between = (mesh.points.float()[place[:, :3].long()] * place[:, 3:, None]).sum(1)
    assert (between - n).norm(dim=-1).max() < NEAREST + LONGEST**2
    nowhere = mesh.place(n * 3, n)
    assert (nowhere == 0).all()


def test_number_of_probes_is_bounded_and_mesh_is_the_same_again(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.probes import ProbeMesh

    first, again = (ProbeMesh([{"geometry": BALL}], [1.0, 0.0, 0.0], 2.0, 100) for _ in range(2))
    assert 30 < len(first.points) <= 100 and first.corners.max() < 100
    assert torch.equal(first.corners, again.corners) and torch.equal(first.points, again.points)
    assert ProbeMesh([{"geometry": {"type": "bsplinecurve"}}], [0, 0, 0], 1.0, 100).place(torch.ones(2, 3), torch.ones(2, 3)).eq(0).all()


def test_rings_and_bands_of_known_tables() -> None:
    """A table that is linear in the height comes back between the bands, whatever the weights."""
    tables = ProbeTables(5)
    height = (torch.arange(BANDS) + 0.5) / BANDS
    turn = 1 + torch.arange(AZIMUTHS) / AZIMUTHS
    numbers = (height[:, None] * turn * 0.4).expand(3, CHANNELS, BANDS, AZIMUTHS)
    tables.fill(numbers)
    place = torch.tensor([[0, 1, 2, 0.2, 0.3, 0.5], [2, 2, 2, 1.0, 0.0, 0.0]])
    ring = tables.of_ring(place, torch.tensor([0.3, 0.8])).view(2, CHANNELS, AZIMUTHS)
    assert torch.allclose(ring, (turn / turn.mean()).expand_as(ring), atol=0.03)
    bands = tables.of_bands(place).view(2, CHANNELS, BANDS)
    assert torch.allclose(bands, (height / height.mean()).expand_as(bands), atol=0.03)
    nowhere = torch.zeros(1, 6)
    assert (tables.of_bands(nowhere) == 0).all() and (tables.of_ring(nowhere, torch.tensor([0.5])) == 0).all()
    assert torch.isfinite(tables.of_ring(place, torch.tensor([0.0, 1.0]))).all()


def test_transport_reads_probes(llvm) -> None:  # noqa: ANN001
    """The density of u_i depends on the tables, and its two ways through the networks agree."""
    from mi_neural_asset.model.config import ModelConfig
    from mi_neural_asset.model.transport import Transport

    torch.manual_seed(2)
    small = {"width": 16, "knots": 6, "triplane": 8, "cubemap": 8, "line": 8, "features": 4, "albedo_width": 8}
    model = Transport(ModelConfig(probes=8, occlusion=0, **small)).eval()
    model.probes.fill(torch.rand(8, CHANNELS, BANDS, AZIMUTHS))
    x = torch.nn.functional.normalize(torch.randn(64, 3), dim=-1) * 0.5
    n = torch.nn.functional.normalize(torch.randn(64, 3), dim=-1)
    place = torch.cat([torch.randint(0, 8, (64, 3)).float(), torch.full((64, 3), 1 / 3)], -1)
    with torch.no_grad():
        sites = model.sites(x, n, n, place)
        exit_, log_p = model.sample_exit(sites, x, n, torch.zeros(64, dtype=torch.long), torch.rand(64, 2))
        assert torch.allclose(model.exit_at(sites, x, n, exit_.u)[1], log_p, atol=2e-3)
        elsewhere = model.sites(x, n, n, place.roll(1, 0))
        assert not torch.allclose(model.exit_at(elsewhere, x, n, exit_.u)[1], log_p, atol=1e-4)
    assert torch.isfinite(log_p).all()


def test_patches_of_disks_and_tubes_lie_on_them(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.probes import _triangles

    turned = [[2.0, 0.0, 0.0, 1.0], [0.0, 0.0, -2.0, 2.0], [0.0, 2.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]]  # a turn about x, scale 2
    inverse = torch.linalg.inv(torch.tensor(turned, dtype=torch.float64))
    for geometry, area in (
        ({"type": "disk", "to_world": turned}, torch.pi * 4),
        ({"type": "cylinder", "to_world": turned, "p0": [0.0, 0.0, -1.0], "p1": [0.0, 0.0, 2.0], "radius": 0.5}, 12 * torch.pi),
    ):
        vertices, faces = _triangles([{"geometry": geometry}])
        local = vertices @ inverse[:3, :3].T + inverse[:3, 3]
        r, z = local[:, :2].norm(dim=-1), local[:, 2]
        p = vertices[faces]
        found = torch.linalg.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]).norm(dim=-1).sum() / 2
        assert abs(found / area - 1) < 2e-3
        if geometry["type"] == "disk":
            assert r.max() < 1 + 1e-9 and z.abs().max() < 1e-9
        else:
            assert (r - 0.5).abs().max() < 1e-9 and z.min() > -1 - 1e-9 and z.max() < 2 + 1e-9
