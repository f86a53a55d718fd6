"""Tables of probes: known transfers, colours, both ways of paths, and a slab that light crosses."""

from __future__ import annotations

import torch

from mi_neural_asset.model.probes import AZIMUTHS, BANDS, CHANNELS

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
            x_o=a, w_o=a, n=a, x_i=b, w_i=b, n_i=b, beta=self._beta.expand(count, 3), adjoint=torch.ones(count), events=whole, steps=whole,
            status=torch.zeros(count, dtype=torch.uint8), misses=0, truncated=0, invalid=0, bounces=2 * count, occupancy=1.0,
        )  # fmt: skip


def _tables(mi, enters, leaves, beta, reciprocal=False, paths=100_000):  # noqa: ANN001, ANN202
    from mi_neural_asset.baking.transfer import probe_tables
    from mi_neural_asset.probes import ProbeMesh

    mesh = ProbeMesh([{"geometry": BALL}], [0.0, 0.0, 0.0], 1.0, 4096)
    known = Known(mi, torch.tensor(enters), torch.tensor(leaves), torch.tensor(beta))
    tables = probe_tables(mesh, known, paths, 1 << 16, 3, reciprocal)
    assert tables.shape == (len(mesh.points), CHANNELS, BANDS, AZIMUTHS)

    def at(x):  # noqa: ANN001, ANN202
        return tables[(mesh.points - torch.nn.functional.normalize(torch.tensor(x), dim=-1)).norm(dim=-1).argmin()].flatten(1)

    return at


def _cosines(n) -> torch.Tensor:  # noqa: ANN001
    from mi_neural_asset.probes import directions

    n = torch.nn.functional.normalize(torch.tensor(n, dtype=torch.float64), dim=-1)
    return (directions() @ n).clamp_min(0).float()


def test_a_table_is_the_view_of_where_paths_leave(llvm) -> None:  # noqa: ANN001
    """Paths lead from one side of a ball to the other, in red and green: these tables see what is there; blue and all other probes
    see their own half space.
    """
    here, there, aside = [0.3, 0.2, 1.0], [0.3, -1.0, -0.2], [1.0, 0.1, 0.1]
    at = _tables(llvm, here, there, [1.0, 0.5, 0.0])
    for channel, n in ((0, there), (1, there), (2, here)):
        assert (at(here)[channel] - _cosines(n)).abs().max() < 0.15
    for x in (there, aside):
        assert (at(x) - _cosines(x)).abs().max() < 0.15


def test_paths_are_read_both_ways(llvm) -> None:  # noqa: ANN001
    here, there = [0.3, 0.2, 1.0], [0.3, -1.0, -0.2]
    at = _tables(llvm, here, there, [1.0, 1.0, 1.0], reciprocal=True)
    assert (at(here) - _cosines(there)).abs().max() < 0.15 and (at(there) - _cosines(here)).abs().max() < 0.15


def test_few_paths_count_little(llvm) -> None:  # noqa: ANN001
    """A handful of paths moves a table a little from the probe's own view, not all the way."""
    here, there = [0.3, 0.2, 1.0], [0.3, -1.0, -0.2]
    at = _tables(llvm, here, there, [1.0, 1.0, 1.0], paths=40)
    own, other = ((at(here) - _cosines(n)).abs().mean() for n in (here, there))
    assert 0 < own < other


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
    tables = probe_tables(mesh, PathSampler(scene, [0.0, 0.0, 0.0], 1.5), 1 << 16, 1 << 16, 5, True)
    middle = tables[(mesh.points[:, :2].norm(dim=-1) < 0.2) & (mesh.points[:, 2] > 0)].mean((0, 1)).mean(-1)
    below, above = middle[: BANDS // 2].mean(), middle[BANDS // 2 :].mean()
    assert above > below > 0.2 * above
