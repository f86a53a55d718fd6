"""Visibility of probes, texel by texel: a ball sees its half space, the foot of a wall half of that; texels tile the sphere."""

from __future__ import annotations

import pytest
import torch
from test_probes import BALL, SQUARE, scene

TURNED = [[0.0, 0.0, -1.0, 1.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]]  # stands on x = 1, faces -x


def sees(visibility, probe: int, d: torch.Tensor) -> torch.Tensor:  # noqa: ANN001
    import drjit as dr
    import mitsuba as mi

    from mi_neural_asset.interop import to_torch, to_vector

    seen = visibility.sees(dr.full(mi.UInt32, probe, len(d)), to_vector(d))
    return to_torch(dr.select(seen, mi.Float(1), mi.Float(0))) > 0.5


def unit(count: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_texels_tile_the_sphere(llvm) -> None:  # noqa: ANN001
    """The middle of a texel lies in it, all together have no mean direction, and their solid angles integrate z^2 to a third."""
    import drjit as dr
    import mitsuba as mi

    from mi_neural_asset.baking.visibility import SIDE, _direction
    from mi_neural_asset.interop import to_torch

    d, weight = (to_torch(values) for values in _direction(dr.arange(mi.UInt32, SIDE * SIDE)))
    assert torch.allclose(d.norm(dim=-1), torch.ones(len(d)), atol=1e-6)
    weight = weight / weight.sum()
    assert (weight[:, None] * d).sum(0).abs().max() < 1e-5
    assert torch.allclose((weight[:, None] * d**2).sum(0), torch.full((3,), 1 / 3), atol=2e-3)


def test_a_ball_sees_its_half_space(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.baking.visibility import SIDE, Visibility
    from mi_neural_asset.probes import ProbeMesh

    mesh = ProbeMesh([{"geometry": BALL}], [1.0, 0.0, 0.0], 2.0, 4096)
    visibility = Visibility(mesh, scene(llvm, ball=BALL))
    assert torch.allclose(visibility.view, torch.full((len(mesh.points),), 0.25), atol=0.02)  # the integral of the cosine over 4 pi
    d = unit(4000, 1)
    for probe in (0, 100, len(mesh.points) // 2, len(mesh.points) - 1):
        height = d @ mesh.normals[probe].float()
        clear = height.abs() > 3 / SIDE  # of texels that the horizon cuts
        assert clear.float().mean() > 0.8
        assert torch.equal(sees(visibility, probe, d)[clear], (height > 0)[clear])


def test_the_foot_of_a_wall_sees_half(llvm) -> None:  # noqa: ANN001
    """A sheet sees on both of its sides; the wall hides what is behind it, by the geometry of a rectangle."""
    from mi_neural_asset.baking.visibility import Visibility
    from mi_neural_asset.probes import ProbeMesh

    wall = {"type": "rectangle", "to_world": TURNED}
    mesh = ProbeMesh([{"geometry": SQUARE}, {"geometry": wall}], [0.0, 0.0, 0.0], 2.3, 4096)
    visibility = Visibility(mesh, scene(llvm, floor=SQUARE, wall=wall))
    near = int((mesh.points * 2.3 - torch.tensor([0.85, 0.0, 0.0])).norm(dim=-1).argmin())
    x = 2.3 * mesh.points[near].float()

    def free(d: torch.Tensor) -> torch.Tensor:
        met = x + ((1 - x[0]) / d[:, 0])[:, None] * d
        return (d[:, 0] < 0) | (met[:, 1].abs() > 1) | (met[:, 2] < 0) | (met[:, 2] > 2)

    d = unit(200_000, 2)
    assert visibility.view[near] == pytest.approx((d[:, 2].abs() * free(d)).mean().item(), abs=0.01)
    assert (sees(visibility, near, d) == free(d)).float().mean() > 0.95  # but texels that an edge cuts
