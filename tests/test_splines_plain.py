"""Rational-quadratic splines: value, density, inverse, ends and the empty batch, against autograd and float64."""

import math

import pytest
import torch

from mi_neural_asset.splines import plain as spline

KNOTS = 16


def random_raw(count: int, periodic: bool, spread: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(count, spline.raw_size(KNOTS, periodic), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("spread", [0.3, 2.0, 6.0])
def test_density_is_the_slope_of_the_cdf(periodic: bool, spread: float) -> None:
    knots = spline.normalise(random_raw(4096, periodic, spread), KNOTS, periodic)
    s = torch.rand(4096, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    z, log_p = spline.cdf(s, knots)
    (slope,) = torch.autograd.grad(z.sum(), s)
    assert (slope.log() - log_p).abs().max() < 1e-9
    assert (slope > 0).all()


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("spread", [0.3, 2.0, 6.0])
def test_sample_undoes_cdf(periodic: bool, spread: float) -> None:
    knots = spline.normalise(random_raw(4096, periodic, spread), KNOTS, periodic)
    z = torch.rand(4096, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    s, log_p = spline.sample(z, knots)
    again, log_q = spline.cdf(s, knots)
    assert (again - z).abs().max() < 1e-9
    assert (log_p - log_q).abs().max() < 1e-6


@pytest.mark.parametrize("periodic", [False, True])
def test_knots_and_edges(periodic: bool) -> None:
    knots = spline.normalise(random_raw(64, periodic, 2.0), KNOTS, periodic)
    for k in range(KNOTS + 1):
        z, log_p = spline.cdf(knots.s[:, k], knots)
        assert torch.allclose(z, knots.z[:, k], atol=1e-12)
        assert torch.allclose(log_p, knots.slope[:, k].log(), atol=1e-9)
        s, _ = spline.sample(knots.z[:, k], knots)
        assert torch.allclose(s, knots.s[:, k], atol=1e-12)
    assert (knots.s[:, 0] == 0).all() and (knots.s[:, -1] == 1).all()
    assert (knots.z[:, 0] == 0).all() and (knots.z[:, -1] == 1).all()
    if periodic:
        assert torch.equal(knots.slope[:, 0], knots.slope[:, -1])


def test_density_integrates_to_one() -> None:
    knots = spline.normalise(random_raw(32, False, 0.5), KNOTS, False)
    # Gauss-Legendre in each bin: the density is smooth inside
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = torch.zeros(32, dtype=torch.float64)
    for k in range(KNOTS):
        left, width = knots.s[:, k], knots.s[:, k + 1] - knots.s[:, k]
        for x, w in zip(nodes, weights, strict=True):
            total += w / 2 * width * spline.cdf(left + width * (x + 1) / 2, knots)[1].exp()
    assert (total - 1).abs().max() < 1e-6  # quadrature: steep splines have poles near the axis, these do not


def test_raw_zeros_are_uniform() -> None:
    knots = spline.normalise(torch.zeros(101, spline.raw_size(KNOTS, False), dtype=torch.float64), KNOTS, False)
    s = torch.linspace(0, 1, 101, dtype=torch.float64)
    z, log_p = spline.cdf(s, knots)
    assert (z - s).abs().max() < 1e-12 and log_p.abs().max() < 1e-12


@pytest.mark.parametrize("periodic", [False, True])
def test_float32_agrees_with_float64(periodic: bool) -> None:
    raw = random_raw(20000, periodic, 3.0)
    s = torch.rand(20000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    knots = spline.normalise(raw, KNOTS, periodic)
    z64, log64 = spline.cdf(s, knots)
    z32, log32 = spline.cdf(s.float(), spline.normalise(raw.float(), KNOTS, periodic))
    # positions carry the rounding of one: relative to a bin that is 1 / width, and log p follows as steeply as its slopes differ
    index = (s[:, None] >= knots.s[:, 1:-1]).sum(-1, keepdim=True)
    width, height = (table.gather(1, index)[:, 0] for table in (knots.width, knots.height))
    ends = torch.cat([knots.slope.gather(1, index), knots.slope.gather(1, index + 1)], 1)
    steep = 1 + (1 + (ends / (height / width)[:, None]).amax(1) + ((height / width)[:, None] / ends).amax(1)) / width
    assert ((z32 - z64).abs() / (1 + ends.amax(1) + height / width)).max() < 1e-6
    assert ((log32 - log64).abs() / steep).max() < 1e-6
    back32, _ = spline.sample(z64.float(), spline.normalise(raw.float(), KNOTS, periodic))
    again, _ = spline.cdf(back32.double(), knots)
    steepest = 1 + knots.slope.amax(1) + (knots.height / knots.width).amax(1)  # a rounded z may fall into the next bin
    assert ((again - z64).abs() / steepest).max() < 2e-6


def test_gradient_of_log_density_against_differences() -> None:
    raw = random_raw(16, False, 1.0).requires_grad_()
    s = torch.rand(16, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert torch.autograd.gradcheck(lambda r: spline.cdf(s, spline.normalise(r, KNOTS, False))[1], (raw,), atol=1e-6)


def test_gradients_stay_finite_in_extreme_bins() -> None:
    raw = (random_raw(2000, False, 12.0)).float().requires_grad_()
    s = torch.cat([torch.zeros(500), torch.ones(500), torch.rand(1000, generator=torch.Generator().manual_seed(5))])
    log_p = spline.cdf(s, spline.normalise(raw, KNOTS, False))[1]
    log_p.sum().backward()
    assert torch.isfinite(log_p).all() and torch.isfinite(raw.grad).all()


def test_empty_batch_and_wrong_shape() -> None:
    knots = spline.normalise(torch.zeros(0, 3, spline.raw_size(8, True)), 8, True)
    assert spline.cdf(torch.zeros(0, 3), knots)[1].shape == (0, 3)
    assert spline.sample(torch.zeros(0, 3), knots)[0].shape == (0, 3)
    with pytest.raises(ValueError, match=r"raw: expected \[\.\.\., 25\], got \[2, 24\]"):
        spline.normalise(torch.zeros(2, 24), 8, False)
    assert math.isclose(spline.raw_size(32, True) * 3, 288)  # the paper's output size (Sec. 3.3)
