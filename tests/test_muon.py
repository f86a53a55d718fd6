"""Muon: against torch's own, against singular values, and what padding must not change."""

import copy

import pytest
import torch

from mi_neural_asset.baking.muon import COEFFICIENTS, STEPS, Muon, orthogonal

SHAPES = [(64, 64), (64, 64), (64, 60), (64, 100), (16, 64), (64, 16)]


def matrices(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def test_singular_values_follow_the_iteration() -> None:
    """The same polynomial of each singular value, vectors untouched, in double precision."""
    x = matrices(0)[3]
    u, values, vh = torch.linalg.svd(x.double() / x.double().norm(), full_matrices=False)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        values = a * values + b * values**3 + c * values**5
    assert 0.6 < values.min() and values.max() < 1.3
    assert (orthogonal(x[None])[0] - u @ torch.diag(values) @ vh).abs().max() < 1e-4


def test_steps_are_those_of_torch() -> None:
    """Within the rounding of bfloat16, in which torch does it: some hundredths of a step."""
    ours, torchs = ([torch.nn.Parameter(m) for m in matrices(1)] for _ in range(2))
    pair = Muon(ours, 0.1), torch.optim.Muon(torchs, lr=0.1, weight_decay=0.0)
    start = [p.detach().clone() for p in ours]
    for step in range(3):
        for group, optimiser in zip((ours, torchs), pair, strict=True):
            for p, gradient in zip(group, matrices(10 + step), strict=True):
                p.grad = gradient
            optimiser.step()
    for mine, theirs, before in zip(ours, torchs, start, strict=True):
        assert (mine - theirs).norm() < 0.03 * (theirs - before).norm()


def test_a_matrix_moves_alike_in_any_company() -> None:
    alone, among = ([torch.nn.Parameter(m) for m in matrices(2)] for _ in range(2))
    for p, gradient in zip(alone, matrices(3), strict=True):
        p.grad = gradient
        Muon([p], 0.1).step()
    for p, gradient in zip(among, matrices(3), strict=True):
        p.grad = gradient
    Muon(among, 0.1).step()
    for a, b in zip(alone, among, strict=True):
        assert (a - b).abs().max() < 1e-5


def test_state_comes_back() -> None:
    first, again = ([torch.nn.Parameter(m) for m in matrices(4)] for _ in range(2))
    a, b = Muon(first, 0.1), Muon(again, 0.1)

    def step(optimiser: Muon, parameters: list[torch.nn.Parameter], seed: int) -> None:
        for p, gradient in zip(parameters, matrices(seed), strict=True):
            p.grad = gradient
        optimiser.step()

    step(a, first, 5)
    with torch.no_grad():
        torch._foreach_copy_(again, first)
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    step(a, first, 6)
    step(b, again, 6)
    assert all(torch.equal(p, q) for p, q in zip(first, again, strict=True))


def test_only_matrices() -> None:
    with pytest.raises(ValueError, match="expected matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))], 0.1)
