"""The gradient of a bake's step by kernels and tiles, against torch's own of the same losses."""

from __future__ import annotations

import pytest
import torch
from oracle import LAYOUTS, PROBES, SMALL, model_of
from torch.nn.functional import normalize

from mi_neural_asset.baking.buffer import Batch
from mi_neural_asset.baking.presets import BakeConfig, preset
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.kinds import KINDS
from mi_neural_asset.model.transport import Transport

pytestmark = pytest.mark.usefixtures("llvm")


def batch_of(model: Transport, flow: int, rest: int) -> Batch:
    """Random rows, `flow` of them with throughput."""
    generator, count = torch.Generator().manual_seed(flow + rest), flow + rest
    n, w_o, d, w = normalize(torch.randn(4, count, 3, generator=generator), dim=-1)
    around = torch.rand(count, model.config.surroundings, generator=generator)
    if model.probes:
        around[:, -6:-3] = torch.randint(PROBES, (count, 3), generator=generator).float()
        around[:, -3:] /= around[:, -3:].sum(1, keepdim=True)
    beta = torch.rand(count, 3, generator=generator) * (torch.arange(count) < flow)[:, None]
    drawn = torch.randint(3, (count,), generator=generator).float()
    x_o = 0.7 * n
    return Batch(x_o, w_o, n, model.proxy.exit(x_o, d)[0], w, beta, around, drawn, flow)


def gradients(model: Transport, gradient, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:  # noqa: ANN001
    """Both losses, and the gradient of each parameter."""
    losses = gradient(batch, torch.tensor(0.7))
    return torch.stack(losses), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("case", "flow", "rest"), [
    *((case, 300, 50) for case in LAYOUTS),
    ("sphere", 3, 0), ("sphere", 6, 1), ("sphere", 3 * 2064 + 3, 2065), ("probes", 4500, 700),
])  # fmt: skip
def test_gradient_equals_torchs(case: str, flow: int, rest: int, threads: int) -> None:
    from mi_neural_asset.baking.fused import FusedGradient
    from mi_neural_asset.baking.gradient import plain_gradient

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model, ours = model_of(case), None
        batch = batch_of(model, flow, rest)
        wanted_losses, wanted = gradients(model, plain_gradient(model, BakeConfig()), batch)
        fused = FusedGradient(model)
        for _ in range(2):  # with new memory, and with that of the step before
            ours_losses, ours = gradients(model, fused, batch)
            assert (ours_losses - wanted_losses).abs().max() < 1e-5 * wanted_losses.abs().max()
            for name, expected in wanted.items():
                assert ours[name].shape == expected.shape and ours[name].is_contiguous(), name
                # a path whose s lies within rounding of a knot is seen from two sides of a bend
                assert (ours[name] - expected).norm() < 2e-3 * expected.norm() and expected.norm() > 0, name
        with torch.no_grad():  # a step later
            for parameter in model.parameters():
                parameter.mul_(1.01)
        (_, later), (_, wanted) = gradients(model, fused, batch), gradients(model, plain_gradient(model, BakeConfig()), batch)
        for name, expected in wanted.items():
            assert (later[name] - expected).norm() < 2e-3 * expected.norm() < (ours[name] - expected).norm(), name
    finally:
        torch.set_num_threads(before)


def test_losses_see_what_they_should() -> None:
    """A channel's throughput moves that channel's last layers alone; rows that stand for no viewer's ray leave the albedo alone."""
    from mi_neural_asset.baking.fused import FusedGradient

    model = model_of("sphere")
    fused, batch = FusedGradient(model), batch_of(model, 99, 20)
    batch.drawn[:] = (torch.arange(119) == 5).float()
    for channel in range(3):
        batch.beta = torch.zeros(119, 3)
        batch.beta[:99, channel] = 1
        gradients(model, fused, batch)
        for step in model.flow.steps:
            moved = step.last.weight.grad.unflatten(0, (3, -1)).abs().amax((1, 2)) > 0
            assert moved.tolist() == [c == channel for c in range(3)]
        albedo = model.albedo_net.last.weight.grad.clone()
        batch.beta[50:] += 1  # of rows that no viewer's ray was drawn for
        gradients(model, fused, batch)
        assert torch.equal(model.albedo_net.last.weight.grad, albedo) and albedo.abs().max() > 0


def test_new_tables_are_read() -> None:
    """A bake fills the probes' tables after the model was made."""
    from mi_neural_asset.baking.fused import FusedGradient
    from mi_neural_asset.baking.gradient import plain_gradient

    model = model_of("probes")
    fused, batch = FusedGradient(model), batch_of(model, 300, 5)
    _, before = gradients(model, fused, batch)
    with torch.no_grad():
        model.probes.rings.copy_(model.probes.rings.flip(0))
        model.probes.bands.copy_(model.probes.bands.flip(0))
        model.probes.departures.copy_(model.probes.departures.flip(0))
    (_, after), (_, wanted) = gradients(model, fused, batch), gradients(model, plain_gradient(model, BakeConfig()), batch)
    for name, expected in wanted.items():
        assert (after[name] - expected).norm() < 2e-3 * expected.norm(), name
    for j in range(4):
        name = f"flow.steps.{j}.hidden.0.weight"
        assert (before[name] - wanted[name]).norm() > 2e-3 * wanted[name].norm(), name


@pytest.mark.parametrize(("kind", "sizes", "name"), [
    ("transport", {}, "FusedGradient"), ("transport", {"coordinates": "paper", "proxy": "box"}, "function"),
    ("transport", {"knots": 40}, "function"), ("far_field", {}, "function"),
])  # fmt: skip
def test_which_twin_is_taken(kind: str, sizes: dict, name: str) -> None:
    from mi_neural_asset.baking.gradient import gradient_of

    config = preset("preview", kind)
    model = KINDS[kind](ModelConfig(**{**SMALL, **sizes}))
    assert type(gradient_of(model, config)).__name__ == name
