"""The Dr.Jit splines against the plain twin in float64: values, gradients, ends, NaN, any batch, and what they leave to it."""

import drjit as dr
import pytest
import torch

from mi_neural_asset import splines
from mi_neural_asset.splines import plain as spline
from mi_neural_asset.threads import torch_at_work

CASES = [(knots, periodic) for knots in (2, 16, 32) for periodic in (False, True)]
BATCHES = (8193, 1, 2, 100, 20011)  # the first one is traced, the others reuse its kernel


def rows(count: int, knots: int, periodic: bool, spread: float = 2.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Raw numbers [N, R] and positions [N], in large batches both ends among them."""
    generator = torch.Generator().manual_seed(seed + count)
    raw = spread * torch.randn(count, spline.raw_size(knots, periodic), generator=generator)
    s = torch.rand(count, generator=generator)
    s[: count // 1000], s[count // 1000 : count // 500] = 0, 1
    return raw, s


def assert_close(fast: torch.Tensor, plain: torch.Tensor, exact: torch.Tensor) -> None:
    """As near to float64 as the plain float32 twin is.

    Positions beside a knot of a narrow, steep bin are ill-conditioned for both, so quantiles of the error are compared.
    """
    error, of_plain = (fast.double() - exact).abs().flatten(), (plain.double() - exact).abs().flatten()
    if len(error) < 1000:
        assert torch.allclose(fast.double(), exact, rtol=1e-3, atol=1e-4)
        return
    for part in (0.5, 0.9, 0.99):
        index = int(part * len(error))
        assert error.sort()[0][index] <= 1.5 * of_plain.sort()[0][index] + 1e-7


@pytest.mark.parametrize(("knots", "periodic"), CASES)
def test_log_density(knots: int, periodic: bool) -> None:
    for count in BATCHES:
        raw, s = rows(count, knots, periodic)
        exact = spline.log_density(s.double(), raw.double(), knots, periodic)
        assert_close(splines.log_density(s, raw, knots, periodic), spline.log_density(s, raw, knots, periodic), exact)


@pytest.mark.parametrize(("knots", "periodic"), CASES)
def test_gradient(knots: int, periodic: bool) -> None:
    for count in BATCHES:
        raw, s = rows(count, knots, periodic)
        incoming = torch.randn(count, generator=torch.Generator().manual_seed(1))

        def gradient(function, dtype: torch.dtype, raw=raw, s=s, incoming=incoming) -> torch.Tensor:  # noqa: ANN001
            leaf = raw.detach().to(dtype).clone().requires_grad_()
            function(s.to(dtype), leaf, knots, periodic).backward(incoming.to(dtype))
            return leaf.grad

        exact = gradient(spline.log_density, torch.float64)
        # at both ends of the interval the plain twin's clamp has no derivative; inside there is no difference
        inside = (s > 0) & (s < 1)
        fast, plain = gradient(splines.log_density, torch.float32), gradient(spline.log_density, torch.float32)
        assert_close(fast[inside], plain[inside], exact[inside])
        assert torch.isfinite(fast).all()


@pytest.mark.parametrize("periodic", [False, True])
def test_gradient_at_the_ends_is_the_limit(periodic: bool) -> None:
    raw, _ = rows(500, 16, periodic, spread=0.3)

    def gradient(s: float, dtype: torch.dtype) -> torch.Tensor:
        leaf = raw.detach().to(dtype).clone().requires_grad_()
        splines.log_density(torch.full((500,), s, dtype=dtype), leaf, 16, periodic).sum().backward()
        return leaf.grad.double()

    for end, beside in ((0.0, 1e-12), (1.0, 1 - 1e-12)):
        assert (gradient(end, torch.float32) - gradient(beside, torch.float64)).abs().max() < 1e-3


@pytest.mark.parametrize(("knots", "periodic"), CASES)
def test_sample(knots: int, periodic: bool) -> None:
    for count in BATCHES:
        raw = torch.stack([rows(count, knots, periodic, seed=c)[0] for c in range(3)], 1)
        z = rows(count, knots, periodic, seed=9)[1]
        channel = torch.randint(0, 3, (count,), generator=torch.Generator().manual_seed(2))
        exact = spline.sample_channel(z.double(), raw.double(), knots, periodic, channel)
        plain = spline.sample_channel(z, raw, knots, periodic, channel)
        s = splines.sample(z, raw, knots, periodic, channel)
        assert_close(s, plain, exact)
        assert (s >= 0).all() and (s <= 1).all()


def test_shapes_are_kept_and_inputs_are_not_touched() -> None:
    raw, s = rows(600, 16, False)
    before = raw.clone()
    broadcast = s.view(100, 6)[:, :1].expand(100, 6)
    value = splines.log_density(broadcast, raw.view(100, 6, -1), 16, False)
    assert value.shape == (100, 6)
    assert torch.equal(value.flatten(), splines.log_density(broadcast.flatten(), raw, 16, False))
    splines.log_density(s, raw.requires_grad_(), 16, False).sum().backward()
    assert torch.equal(raw, before)


def test_results_do_not_change_when_the_kernel_runs_again() -> None:
    raw, s = rows(3000, 16, True)
    first = splines.log_density(s, raw, 16, True)
    kept = first.clone()
    for seed in range(4):
        splines.log_density(s, rows(3000, 16, True, seed=seed)[0], 16, True)
    assert torch.equal(first, kept)
    assert torch.equal(splines.log_density(s, raw, 16, True), kept)


def test_empty_batch() -> None:
    raw = torch.zeros(0, 49, requires_grad=True)
    assert splines.log_density(torch.zeros(0), raw, 16, False).shape == (0,)
    assert splines.sample(torch.zeros(0), torch.zeros(0, 3, 49), 16, False, torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_nan_stays_nan() -> None:
    raw, s = rows(64, 16, False)
    raw[3, 5], s[40] = float("nan"), float("nan")
    value = splines.log_density(s, raw, 16, False)
    assert value.isnan().nonzero()[:, 0].tolist() == [3, 40]
    z = splines.sample(s, raw[:, None].expand(-1, 3, -1), 16, False, torch.zeros(64, dtype=torch.long))
    assert z.isnan()[[3, 40]].all() and z.isnan().sum() == 2


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"expected raw numbers \[..., 49\]"):
        splines.log_density(torch.zeros(5), torch.zeros(5, 48), 16, False)
    with pytest.raises(ValueError, match="for \\[5\\] values"):
        splines.sample(torch.zeros(5), torch.zeros(4, 3, 49), 16, False, torch.zeros(5, dtype=torch.long))


def test_what_is_left_to_the_plain_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = spline.log_density
    monkeypatch.setattr(spline, "log_density", lambda *arguments: calls.append(1) or plain(*arguments))
    raw, s = rows(10, 16, False)
    splines.log_density(s, raw, 16, False)
    assert not calls
    splines.log_density(s.double(), raw.double(), 16, False)  # another type
    with splines.only_plain():
        splines.log_density(s, raw, 16, False)
    splines.log_density(torch.zeros(5), torch.zeros(5, spline.raw_size(40, True)), 40, True)  # too many bins to unroll
    position = s.clone().requires_grad_()
    (slope,) = torch.autograd.grad(splines.log_density(position, raw, 16, False).sum(), position)
    assert slope.abs().sum() > 0
    assert len(calls) == 4


def test_workers_come_back() -> None:
    before = dr.thread_count()
    with pytest.raises(RuntimeError, match="inside"), torch_at_work():
        assert dr.thread_count() == max(1, before // 8)
        raise RuntimeError("inside")
    assert dr.thread_count() == before
