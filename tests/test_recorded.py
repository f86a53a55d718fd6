"""Recorded training steps: their arithmetic with a recorder that only calls again, and on a GPU (marker `gpu`)."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from test_gradient import batch_of

from mi_neural_asset.baking.gradient import plain_gradient
from mi_neural_asset.baking.optimizer import Optimizer
from mi_neural_asset.baking.presets import BakeConfig
from mi_neural_asset.baking.recorded import BUNDLE, GRAIN, WARM_UP, RecordedStep
from mi_neural_asset.baking.trainer import NonFiniteLoss, Trainer
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.transport import Transport

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and torch built for CUDA")
pytestmark = pytest.mark.usefixtures("llvm")

CONFIG = BakeConfig(
    ModelConfig(width=16, depth=2, knots=6, triplane=8, cubemap=4, line=4, features=2, albedo_width=8, occlusion=0, probes=0)
)
LIVE = 600


class Calls:
    """Instead of recordings, the work itself; counts them."""

    def __init__(self) -> None:
        self.tried = self.recorded = 0

    def try_out(self, work) -> None:  # noqa: ANN001
        self.tried += 1
        work()

    def record(self, work):  # noqa: ANN001, ANN201
        self.recorded += 1
        return work


class Batches:
    """Batches of these lengths, over and over, as `PathBuffer` hands them out."""

    def __init__(self, model: Transport, lengths: list[int]) -> None:
        device, on_cpu = next(model.parameters()).device, copy.deepcopy(model).cpu()
        self._batches = [batch_of(on_cpu, LIVE, length - LIVE).to(device) for length in lengths]
        self.generation, self.position, self.counts = 0, 0, CONFIG  # counts: anything that has attributes

    def next(self):  # noqa: ANN201
        self.position += 1
        return self._batches[(self.position - 1) % len(self._batches)]

    def seek(self, generation: int, position: int) -> None:
        self.position = position


def model_of(device: str = "cpu") -> Transport:
    torch.manual_seed(5)
    return Transport(CONFIG.model).to(device)


def recorded_trainer(model: Transport, lengths: list[int], recorder: object = None) -> Trainer:
    """A trainer of recorded steps, whatever the device."""
    trainer = Trainer(model, Batches(model, lengths), CONFIG)
    trainer.gradient = plain_gradient(model, CONFIG)
    trainer.optimizer = Optimizer(model, CONFIG.learning_rate, CONFIG.matrix_rate, recorded=True)
    trainer._recorded = RecordedStep(model, trainer.average, trainer.optimizer, trainer.gradient, recorder)
    return trainer


def plain_trainer(model: Transport, lengths: list[int]) -> Trainer:
    trainer = Trainer(model, Batches(model, lengths), CONFIG)
    trainer.gradient, trainer._recorded = plain_gradient(model, CONFIG), None
    trainer.optimizer = Optimizer(model, CONFIG.learning_rate, CONFIG.matrix_rate)
    return trainer


def assert_near(a: Trainer, b: Trainer) -> None:
    for kind in ("model", "average"):
        for (name, x), y in zip(getattr(a, kind).named_parameters(), getattr(b, kind).parameters(), strict=True):
            assert torch.allclose(x, y, rtol=1e-4, atol=2e-5), (kind, name, (x - y).abs().max())


def test_recorded_steps_are_the_plain_ones() -> None:
    """Rates, averages and rows that fill up change nothing; batches of one size share a recording."""
    lengths, recorder = [LIVE + 10, LIVE + 13, LIVE], Calls()
    one, other = plain_trainer(model_of(), lengths), recorded_trainer(model_of(), lengths, recorder)
    start = copy.deepcopy(one.model)
    losses = [one.advance(k / 12) for k in range(12)]
    for k in range(12):
        other.advance(k / 12)
    assert (recorder.tried, recorder.recorded) == (WARM_UP, 1)
    assert_near(one, other)
    moved = [(p - q).abs().max() for p, q in zip(one.model.parameters(), start.parameters(), strict=True)]
    assert min(moved) > 1e-4  # the comparison is about something
    assert other.state() and other._recorded.settle() == pytest.approx(losses[-1], rel=1e-3)
    assert other.optimizer.rates == pytest.approx(one.optimizer.rates)


def test_another_size_is_recorded_anew() -> None:
    recorder = Calls()
    trainer = recorded_trainer(model_of(), [LIVE], recorder)
    for _ in range(WARM_UP + 2):
        trainer.advance(0.1)
    trainer.buffer = Batches(trainer.model, [LIVE + GRAIN])
    for _ in range(WARM_UP + 2):
        trainer.advance(0.1)
    assert (recorder.tried, recorder.recorded) == (2 * WARM_UP, 2)


def test_state_goes_back_and_is_recorded_anew() -> None:
    recorder = Calls()
    trainer = recorded_trainer(model_of(), [LIVE, LIVE + 5], recorder)
    for k in range(6):
        trainer.advance(k / 20)
    kept = copy.deepcopy(trainer.state())
    for k in range(6, 12):
        trainer.advance(k / 20)
    first = copy.deepcopy(trainer.model)
    trainer.load_state(kept)
    assert trainer.step == 6
    for k in range(6, 12):
        trainer.advance(k / 20)
    assert recorder.recorded == 2
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), trainer.model.parameters(), strict=True))


@pytest.mark.parametrize("looks", ["bundle", "state"])
def test_losses_that_are_not_finite_are_found(looks: str) -> None:
    """At the end of the bundle, or when the state is asked for, whatever came after."""
    trainer = recorded_trainer(model_of(), [LIVE], Calls())
    for k in range(5):
        trainer.advance(k / 100)
    trainer.keep_good()
    good, batch = copy.deepcopy(trainer.model), trainer.buffer._batches[0]
    trainer.buffer._batches = [batch.rows(torch.arange(LIVE), LIVE)]
    trainer.buffer._batches[0].beta[3] = math.nan
    with pytest.raises(NonFiniteLoss, match="nan"):
        for k in range(BUNDLE + 1):
            trainer.advance(k / 100)
            if looks == "state" and k == 2:
                trainer.state()
    trainer.restore_good()
    assert trainer.step == 5 and all(torch.equal(p, q) for p, q in zip(good.parameters(), trainer.model.parameters(), strict=True))
    trainer.buffer._batches = [batch]
    trainer.advance(0.1)
    assert trainer.state()["step"] == 6


@pytest.mark.gpu
@needs_gpu
def test_cuda_graphs_are_the_plain_steps() -> None:
    lengths = [LIVE + 10, LIVE + 13, LIVE]
    one, other = plain_trainer(model_of("cuda"), lengths), recorded_trainer(model_of("cuda"), lengths)
    for k in range(12):
        one.advance(k / 12)
        other.advance(k / 12)
    assert other._recorded._replay.__name__ == "replay"  # no fallback
    assert_near(one, other)
