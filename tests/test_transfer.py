"""Tables of probes: known transfers against traced rays, colours, both ways of paths, and a slab that light crosses."""

from __future__ import annotations

import pytest
import torch

from mi_neural_asset.model.coordinates import coordinates
from mi_neural_asset.model.probes import AZIMUTHS, BANDS, CHANNELS, POOL
from mi_neural_asset.model.proxy import Proxy

BALL = {"type": "sphere", "to_world": torch.eye(4).tolist(), "radius": 1.0, "center": [0.0, 0.0, 0.0]}


class Known:
    """Stands for a path sampler: paths from `enters` to `leaves` on the unit ball."""

    def __init__(self, mi, enters, leaves, beta) -> None:  # noqa: ANN001
        self.scene = mi.load_dict({"type": "scene", "ball": {"type": "sphere"}}, parallel=False)
        self._ends, self._beta = [torch.nn.functional.normalize(x, dim=-1) for x in (enters, leaves)], beta

    def sample(self, count: int, seed: int):  # noqa: ANN201
        from mi_neural_asset.baking.sampler import Paths

        g = torch.Generator().manual_seed(seed)
        a, b = (torch.nn.functional.normalize(x + 0.02 * torch.randn(count, 3, generator=g), dim=-1) for x in self._ends)
        whole = torch.full((count,), 2, dtype=torch.int32)
        return Paths(
            x_o=a, w_o=a, n=a, x_i=b, w_i=b, n_i=b, x_v=a, w_v=a, n_v=a, beta=self._beta.expand(count, 3), chain=torch.ones(count, 3),
            adjoint=torch.ones(count), events=whole, steps=whole, status=torch.zeros(count, dtype=torch.uint8),
            mirrored=torch.zeros(count, dtype=torch.bool), misses=0, truncated=0, invalid=0, bounces=2 * count, occupancy=1.0,
        )  # fmt: skip


def known_tables(mi, system, enters, leaves, beta, reciprocal=False, paths=100_000):  # noqa: ANN001, ANN201
    """Number of the probe nearest to a point, and all tables."""
    from mi_neural_asset.baking.transfer import probe_tables
    from mi_neural_asset.probes import ProbeMesh

    mesh = ProbeMesh([{"geometry": BALL}], [0.0, 0.0, 0.0], 1.0, 4096)
    known = Known(mi, torch.tensor(enters), torch.tensor(leaves), torch.tensor(beta))
    tables = probe_tables(mesh, system, known, paths, 1 << 16, 3, reciprocal)
    count, wide = len(mesh.points), (BANDS // POOL, AZIMUTHS // POOL)
    assert tables.density.shape == (count, CHANNELS, BANDS, AZIMUTHS)
    assert tables.departure.shape == (count, *wide, 3) and tables.spread.shape == (count, *wide)
    return (lambda x: int((mesh.points - unit(x)).norm(dim=-1).argmin())), tables


def unit(x) -> torch.Tensor:  # noqa: ANN001
    return torch.nn.functional.normalize(torch.tensor(x), dim=-1)


def traced(system, seen_from, leaves, count=400_000):  # noqa: ANN001, ANN201
    """By tracing: w_i of a cosine's distribution at `leaves` on the unit ball, u_i where it meets the proxy, (s1, s2) as seen from
    `seen_from`: density [BANDS, AZIMUTHS] and, of wide cells, the number, and the mean and spread of w_i - d.
    """
    g = torch.Generator().manual_seed(7)
    x_o, x_i = (unit(x).expand(count, 3) for x in (seen_from, leaves))
    w = torch.nn.functional.normalize(torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1) + x_i, dim=-1)
    u, _ = system.proxy.exit(x_i, w)
    s1, s2 = system.exit_to_square(u, x_o, x_o)
    cell = (s1 * BANDS).long().clamp_max(BANDS - 1) * AZIMUTHS + (s2 * AZIMUTHS).long().clamp_max(AZIMUTHS - 1)
    density = torch.bincount(cell, minlength=BANDS * AZIMUTHS).view(BANDS, AZIMUTHS) * (BANDS * AZIMUTHS / count)
    wide = (cell // AZIMUTHS // POOL) * (AZIMUTHS // POOL) + cell % AZIMUTHS // POOL
    offset = w - system.exit(s1, s2, x_o, x_o).d
    sums = torch.zeros(BANDS * AZIMUTHS // POOL**2, 5).index_add_(
        0, wide, torch.cat([torch.ones(count, 1), offset, (offset * offset).sum(-1, keepdim=True)], -1)
    )
    number = sums[:, :1].clamp_min(1)
    return density, sums[:, 0], sums[:, 1:4] / number, (sums[:, 4:] / number).sqrt()[:, 0]


def system_of(name: str):  # noqa: ANN201
    return coordinates(name, Proxy("sphere", 2.0))


@pytest.mark.parametrize("name", ["local", "paper"])
def test_a_table_is_what_is_seen_of_where_paths_leave(llvm, name: str) -> None:  # noqa: ANN001
    """Paths lead from one side of a ball to the other, in red and green: these tables hold what tracing finds from there; blue and
    all other probes see their own half space.
    """
    here, there, aside = [0.3, 0.2, 1.0], [0.3, -1.0, -0.2], [1.0, 0.1, 0.1]
    system = system_of(name)
    near, tables = known_tables(llvm, system, here, there, [1.0, 0.5, 0.0])
    for seen_from, channel, leaves in ((here, 0, there), (here, 1, there), (here, 2, here), (there, 0, there), (aside, 2, aside)):
        found, wanted = tables.density[near(seen_from), channel], traced(system, seen_from, leaves)[0]
        assert wanted.mean() == pytest.approx(1, abs=1e-3) and found.mean() == pytest.approx(1, abs=0.03)
        assert (found - wanted).abs().mean() < 0.08, (seen_from, channel)


@pytest.mark.parametrize("name", ["local", "paper"])
def test_departures_are_those_of_traced_rays(llvm, name: str) -> None:  # noqa: ANN001
    here, there = [0.3, 0.2, 1.0], [0.3, -1.0, -0.2]
    system = system_of(name)
    near, tables = known_tables(llvm, system, here, there, [1.0, 1.0, 1.0])
    _, number, departure, spread = traced(system, here, there)
    many, probe = number > 2000, near(here)
    assert many.sum() > 15
    assert (tables.departure[probe].flatten(0, 1) - departure)[many].norm(dim=-1).mean() < 0.03
    assert (tables.spread[probe].flatten() - spread)[many].abs().mean() < 0.03
    assert spread[many].mean() > 0.25  # far from none


def test_paths_are_read_both_ways(llvm) -> None:  # noqa: ANN001
    here, there = [0.3, 0.2, 1.0], [0.3, -1.0, -0.2]
    system = system_of("local")
    near, tables = known_tables(llvm, system, here, there, [1.0, 1.0, 1.0], reciprocal=True)
    for a, b in ((here, there), (there, here)):
        assert (tables.density[near(a)] - traced(system, a, b)[0]).abs().mean() < 0.06


def test_few_paths_count_little(llvm) -> None:  # noqa: ANN001
    """A handful of paths moves a table a little from the probe's own view, not all the way."""
    here, there = [0.3, 0.2, 1.0], [0.3, -1.0, -0.2]
    system = system_of("local")
    near, tables = known_tables(llvm, system, here, there, [1.0, 1.0, 1.0], paths=40)
    own, other = ((tables.density[near(here)] - traced(system, here, x)[0]).abs().mean() for x in (here, there))
    assert 0 < own < other


def test_some_paths_stand_for_many(llvm, monkeypatch) -> None:  # noqa: ANN001
    """A bound on the paths of a probe changes noise, not the weight of its own view."""
    from mi_neural_asset.baking import transfer

    here, there = [0.3, 0.2, 1.0], [0.3, -1.0, -0.2]
    near, full = known_tables(llvm, system_of("local"), here, there, [1.0, 1.0, 1.0], paths=300)
    monkeypatch.setattr(transfer, "MOST_PATHS", 4)
    some = known_tables(llvm, system_of("local"), here, there, [1.0, 1.0, 1.0], paths=300)[1]
    probe = near(here)
    assert not torch.equal(some.density, full.density)
    assert (some.density[probe] - full.density[probe]).abs().mean() < 0.05


def some_crossings(count: int):  # noqa: ANN201
    """Between 4 probes that are entered and 50 that are left, with light ones among them."""
    from mi_neural_asset.baking.transfer import _Crossings

    random = torch.Generator().manual_seed(7)
    enters, leaves = (torch.randint(n, (count,), generator=random, dtype=torch.int32) for n in (4, 50))
    offset, normal = torch.randn(2, count, 3, generator=random)
    beta = torch.rand(count, 3, generator=random) ** 4 / (1 + leaves[:, None])
    return _Crossings(enters, leaves, offset, torch.nn.functional.normalize(normal, dim=-1), beta)


def test_paths_between_the_same_probes_become_one() -> None:
    """Two ways to one number: dense sums over all pairs."""
    all_ = some_crossings(3000)
    merged = all_.merged()
    enters, leaves, offset, normal, beta = merged.columns
    pairs = enters * 50 + leaves
    assert len(merged) == 200 and torch.equal(pairs, torch.arange(200, dtype=torch.int32)) and len(all_) == 3000
    mean = all_.columns[4].mean(-1)
    for k in (0, 77, 199):
        own = (all_.columns[0] * 50 + all_.columns[1]) == k
        torch.testing.assert_close(beta[k], all_.columns[4][own].sum(0))
        torch.testing.assert_close(offset[k], (mean[own, None] * all_.columns[2][own]).sum(0) / mean[own].sum())
        way = (mean[own, None] * all_.columns[3][own]).sum(0)
        torch.testing.assert_close(normal[k], way / way.norm())
    torch.testing.assert_close(merged.weights(4), all_.weights(4))
    for again, once in zip(merged.merged().columns, merged.columns, strict=True):
        torch.testing.assert_close(again, once)


def test_thinning_keeps_sums(monkeypatch) -> None:  # noqa: ANN001
    """About as many are left as wanted, the heavy ones as they are; the mean over many draws is the whole (z-test, 4 probes and 3
    channels).
    """
    from mi_neural_asset.baking import transfer

    merged = some_crossings(3000).merged()
    untouched = merged.thinned(torch.Generator().manual_seed(1))
    for kept, given in zip(untouched.columns, merged.columns, strict=True):
        assert torch.equal(kept, given)
    monkeypatch.setattr(transfer, "MOST_PATHS", 10)
    draws = [merged.thinned(torch.Generator().manual_seed(k)) for k in range(400)]
    counts = torch.tensor([[(d.columns[0] == j).sum() for j in range(4)] for d in draws]).double()
    assert (counts <= 11).all() and (counts.mean(0) > 5).all()
    heaviest = merged.columns[4].mean(-1).argmax()
    assert all((d.columns[4] == merged.columns[4][heaviest]).all(-1).any() for d in draws)
    sums = torch.stack([d.weights(4) for d in draws]).double()
    z = (sums.mean(0) - merged.weights(4)) / (sums.std(0) / 400**0.5)
    assert z.abs().max() < 3.6  # 12 tests, p < 0.004 together


def test_light_crosses_a_thin_slab(llvm) -> None:  # noqa: ANN001
    """Real paths: a thin sheet of milk in the plane z = 0 sends on both sides what enters on one; a table knows both."""
    from mi_neural_asset.baking.sampler import PathSampler
    from mi_neural_asset.baking.transfer import probe_tables
    from mi_neural_asset.probes import ProbeMesh

    flat = llvm.ScalarTransform4f().scale([1.0, 1.0, 0.02])
    medium = {"type": "homogeneous", "albedo": 0.99, "sigma_t": 50.0}
    slab = {"type": "cube", "to_world": flat, "bsdf": {"type": "dielectric"}, "interior": medium}
    scene = llvm.load_dict({"type": "scene", "slab": slab}, parallel=False)
    half = llvm.ScalarTransform4f().translate([0, 0, 0.02])
    sides = [half, llvm.ScalarTransform4f().translate([0, 0, -0.02]).rotate([1, 0, 0], 180)]
    shapes = [{"geometry": {"type": "rectangle", "to_world": [[float(s.matrix[i, j]) for j in range(4)] for i in range(4)]}} for s in sides]
    mesh = ProbeMesh(shapes, [0.0, 0.0, 0.0], 1.5, 4096)
    tables = probe_tables(mesh, system_of("local"), PathSampler(scene, [0.0, 0.0, 0.0], 1.5), 1 << 16, 1 << 16, 5, True)
    middle = tables.density[(mesh.points[:, :2].norm(dim=-1) < 0.2) & (mesh.points[:, 2] > 0)].mean((0, 1)).mean(-1)
    below, above = middle[: BANDS // 2].mean(), middle[BANDS // 2 :].mean()
    assert above > below > 0.2 * above


def test_a_process_without_a_share_adds_nothing(llvm) -> None:  # noqa: ANN001
    """Of several, where there are fewer bulks of paths than processes."""
    from mi_neural_asset.baking.transfer import _Crossings, _sums
    from mi_neural_asset.baking.visibility import Visibility
    from mi_neural_asset.probes import ProbeMesh

    mesh = ProbeMesh([{"geometry": BALL}], [0.0, 0.0, 0.0], 1.0, 512)
    visibility = Visibility(mesh, llvm.load_dict({"type": "scene", "ball": {"type": "sphere"}}, parallel=False))
    probe, normal = torch.zeros(1, dtype=torch.int32), torch.tensor([[0.0, 0.0, 1.0]])
    one = _Crossings(probe, probe, torch.zeros(1, 3), normal, torch.ones(1, 3))
    some, nothing = (_sums(mesh, system_of("local"), visibility, crossings) for crossings in (one, _Crossings.none()))
    for full, empty in zip(some, nothing, strict=True):
        assert full.shape == empty.shape and full.any() and not empty.any()
