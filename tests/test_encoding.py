"""Feature grids against plain twins: values, gradients, interpolation of known functions."""

import pytest
import torch

from mi_neural_asset.model import encoding


def directions(count: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


POINTS = {
    "triplane": (lambda n: directions(n) * 0.9, 16),
    "cubemap": (directions, 8),
    "line": (lambda n: torch.rand(n, generator=torch.Generator().manual_seed(1)), 32),
}


def located(kind: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    points, size = POINTS[kind]
    return encoding.LOCATE[kind](points(count), size)


@pytest.mark.parametrize("kind", POINTS)
def test_values_and_gradients_equal_the_plain_twin(kind: str) -> None:
    (points, size), (index, weight) = POINTS[kind], located(kind, 500)
    grid = encoding.Grid(kind, size, 5)
    plain = grid.table.detach().clone().requires_grad_()
    out = grid(points(500))
    twin = (plain[index] * weight[..., None]).sum(1)
    assert torch.allclose(out, twin, atol=1e-6)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out * upstream).sum().backward()
    (twin * upstream).sum().backward()
    assert torch.allclose(grid.table.grad, plain.grad, atol=1e-4)


@pytest.mark.parametrize("kind", POINTS)
def test_weights_add_up_to_one_and_rows_exist(kind: str) -> None:
    (index, weight), nodes = located(kind, 5000), encoding.nodes(kind, POINTS[kind][1])
    parts = 3 if kind == "triplane" else 1
    assert torch.allclose(weight.sum(-1), torch.full((5000,), float(parts)), atol=1e-5)
    assert (weight >= 0).all() and (index >= 0).all() and (index < nodes).all()


def test_triplane_reproduces_a_linear_function() -> None:
    size = 9
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    table = torch.cat([(2 * x + 3 * y).flatten(), torch.zeros(2 * size**2)])[:, None]
    points = directions(200) * 0.8
    index, weight = encoding.locate_triplane(points, size)
    value = (table[index] * weight[..., None]).sum(1)[:, 0]
    assert torch.allclose(value, 2 * points[:, 0] + 3 * points[:, 1], atol=1e-5)


def test_cubemap_reaches_each_face_and_is_continuous_inside() -> None:
    w = directions(4000)
    index, _ = encoding.locate_cubemap(w, 8)
    face = index[:, 0] // 64
    axis = w.abs().argmax(-1)
    expected = 2 * axis + (w.gather(1, axis[:, None])[:, 0] < 0)
    assert torch.equal(face, expected)
    assert (index // 64 == face[:, None]).all()


def test_line_hits_its_nodes() -> None:
    index, weight = encoding.locate_line(torch.linspace(0, 1, 32), 32)
    table = torch.arange(32.0)
    assert torch.allclose((table[index] * weight).sum(-1), torch.arange(32.0), atol=1e-4)


def test_empty_batch() -> None:
    assert encoding.Grid("triplane", 8, 4)(torch.zeros(0, 3)).shape == (0, 4)
