"""Probes: places of points, means of neighbours; tables as bytes; rings, bands and departures of them."""

from __future__ import annotations

import pytest
import torch

from mi_neural_asset.model.probes import AZIMUTHS, BANDS, CHANNELS, PEAK, POOL, ProbeTables, Tables

BALL = {"type": "sphere", "to_world": torch.eye(4).tolist(), "radius": 2.0, "center": [1.0, 0.0, 0.0]}
SQUARE = {"type": "rectangle", "to_world": torch.eye(4).tolist()}


def scene(mi, **shapes):  # noqa: ANN001, ANN003, ANN201
    """Shapes by their names: BALL, or the geometry of a rectangle."""
    balls = {name: {"type": "sphere", "radius": 2.0, "center": [1.0, 0.0, 0.0]} for name, g in shapes.items() if g is BALL}
    sheets = {name: {**g, "to_world": mi.ScalarTransform4f(g["to_world"])} for name, g in shapes.items() if g is not BALL}
    return mi.load_dict({"type": "scene", **balls, **sheets}, parallel=False)


def test_neighbours_are_averaged_by_area(llvm) -> None:  # noqa: ANN001
    """A constant stays, a linear function stays where the mesh is flat, and half of a lone peak goes to its neighbours."""
    from mi_neural_asset.probes import Average, ProbeMesh

    mesh = ProbeMesh([{"geometry": SQUARE}], [0.0, 0.0, 0.0], 1.5, 16384)
    average, inside = Average(mesh), (mesh.points[:, :2].abs() < 0.5).all(-1)
    linear = torch.stack([mesh.points[:, 0], torch.ones(len(mesh.points))], -1).float()
    assert torch.allclose(average(linear)[inside], linear[inside], atol=1e-4)
    peak = torch.zeros(len(mesh.points), 1)
    middle = int(mesh.points.norm(dim=-1).argmin())
    peak[middle] = 1.0
    smoothed = average(peak)[:, 0]
    assert smoothed[middle] == 0.5 and 3 <= (smoothed > 0).sum() - 1 <= 8 and smoothed.max() == 0.5


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


def flat(count: int, density: torch.Tensor) -> Tables:
    """Tables of one density [BANDS, AZIMUTHS] at all probes, w_i towards u_i."""
    wide = count, BANDS // POOL, AZIMUTHS // POOL
    return Tables(density.expand(count, CHANNELS, BANDS, AZIMUTHS), torch.zeros(*wide, 3), torch.zeros(*wide))


def test_rings_and_bands_of_known_tables() -> None:
    """A table that is linear in the height comes back between the bands, whatever the weights."""
    tables = ProbeTables(5)
    height = (torch.arange(BANDS) + 0.5) / BANDS
    turn = 1 + torch.arange(AZIMUTHS) / AZIMUTHS
    tables.fill(flat(3, height[:, None] * turn * 4))
    place = torch.tensor([[0, 1, 2, 0.2, 0.3, 0.5], [2, 2, 2, 1.0, 0.0, 0.0]])
    ring = tables.of_ring(place, torch.tensor([0.3, 0.8])).view(2, CHANNELS, AZIMUTHS)
    assert torch.allclose(ring, (turn / turn.mean()).expand_as(ring), atol=0.03)
    bands = tables.of_bands(place).view(2, CHANNELS, BANDS)
    assert torch.allclose(bands, (height / height.mean()).expand_as(bands), atol=0.03)
    nowhere = torch.zeros(1, 6)
    assert (tables.of_bands(nowhere) == 0).all() and (tables.of_ring(nowhere, torch.tensor([0.5])) == 0).all()
    assert torch.isfinite(tables.of_ring(place, torch.tensor([0.0, 1.0]))).all()


def test_departures_of_known_tables() -> None:
    """Means and spreads that are linear in the height and harmonic in the turn come back between cells, across the seam too."""
    tables = ProbeTables(4)
    bands, turns = BANDS // POOL, AZIMUTHS // POOL
    s1, s2 = (torch.arange(bands) + 0.5) / bands, (torch.arange(turns) + 0.5) / turns

    def known(s1, s2):  # noqa: ANN001, ANN202
        s1, s2 = torch.broadcast_tensors(s1, s2)
        angle = 2 * torch.pi * s2
        spread = 0.1 + 0.4 * s1
        return torch.stack([0.5 * angle.cos(), 0.5 * angle.sin(), s1 - 0.5], -1), spread

    mean, spread = known(s1[:, None], s2)
    departure = mean * spread[..., None]
    tables.fill(Tables(torch.ones(4, CHANNELS, BANDS, AZIMUTHS), departure.expand(4, -1, -1, -1), spread.expand(4, -1, -1)))
    s = torch.rand(500, 2, generator=torch.Generator().manual_seed(3))
    s[:, 0] = s[:, 0].clamp(0.5 / bands, 1 - 0.5 / bands)
    place = torch.tensor([0, 1, 3, 0.2, 0.3, 0.5]).expand(500, 6)
    found = tables.of_departure(place, s[:, 0], s[:, 1])
    for got, wanted, bound in zip(found, known(s[:, 0], s[:, 1]), (0.03, 0.005), strict=True):
        assert (got - wanted).abs().max() < bound  # chords of a circle of 12 parts, bytes
    nowhere = tables.of_departure(torch.zeros(1, 6), torch.tensor([0.5]), torch.tensor([0.5]))
    assert all((values == 0).all() for values in nowhere)


@pytest.mark.parametrize("system", ["local", "paper"])
def test_transport_reads_probes(llvm, system: str) -> None:  # noqa: ANN001
    """Densities of u_i and of w_i depend on the tables, and the two ways of each through the networks agree."""
    from mi_neural_asset.model.config import ModelConfig
    from mi_neural_asset.model.transport import Transport

    torch.manual_seed(2)
    small = {"width": 16, "knots": 6, "triplane": 8, "cubemap": 8, "line": 8, "features": 4, "albedo_width": 8}
    model = Transport(ModelConfig(coordinates=system, probes=8, occlusion=0, **small)).eval()
    wide = 8, BANDS // POOL, AZIMUTHS // POOL
    model.probes.fill(Tables(PEAK * torch.rand(8, CHANNELS, BANDS, AZIMUTHS), 0.2 * torch.rand(*wide, 3), 0.3 + torch.rand(*wide)))
    x = torch.nn.functional.normalize(torch.randn(64, 3), dim=-1) * 0.5
    n = torch.nn.functional.normalize(torch.randn(64, 3), dim=-1)
    place = torch.cat([torch.randint(0, 8, (64, 3)).float(), torch.full((64, 3), 1 / 3)], -1)
    channel, z = torch.zeros(64, dtype=torch.long), torch.rand(64, 4)
    with torch.no_grad():
        sites, elsewhere = (model.sites(x, n, n, some) for some in (place, place.roll(1, 0)))
        exit_, log_p = model.sample_exit(sites, x, n, channel, z[:, :2])
        assert torch.allclose(model.exit_at(sites, x, n, exit_.u)[1], log_p, atol=2e-3)
        assert not torch.allclose(model.exit_at(elsewhere, x, n, exit_.u)[1], log_p, atol=1e-4)
        w, log_q = model.sample_direction(sites, exit_, n, channel, z[:, 2:])
        assert torch.allclose(model.direction_density(sites, exit_, n, w), log_q, atol=1e-2)
        only = [*sites[:4], elsewhere[4], *sites[5:]]  # the same site but for the departures
        assert not torch.allclose(model.direction_density(only, exit_, n, w), log_q, atol=1e-4)
    assert torch.isfinite(log_p).all() and torch.isfinite(log_q).all()


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
