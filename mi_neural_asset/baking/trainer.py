"""The optimisation loop: steps on the losses of Eq. 6-8, warm-up and cosine schedule, averaged weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from ..distributed import ALONE, Processes
from ..model.far_field import FarField
from ..model.probes import Tables
from ..model.transport import Transport
from ..threads import one_thread_for, torch_at_work
from .buffer import PathBuffer
from .gradient import gradient_of
from .optimizer import Optimizer
from .presets import BakeConfig
from .recorded import RecordedStep
from .rows import Rows


class NonFiniteLoss(RuntimeError):
    """A loss was NaN or infinite; the trainer holds the last good state."""


class Trainer:
    """Trains one model.

    Args:
        model: trained in place.
        buffer: source of batches.
        config: batch, schedule, averaging.
        processes: that train the same model together, each on batches of its own: a step is that of all their rows.

    Attributes:
        step: steps done.
        average: the averaged model (`model` itself if the configuration asks for no averaging).
        gradient: of a batch's losses, see `mi_neural_asset.baking.gradient`.

    On a GPU the steps of a transport model are recorded (`mi_neural_asset.baking.recorded`): losses are known some steps later.
    """

    def __init__(self, model: Transport | FarField, buffer: PathBuffer, config: BakeConfig, processes: Processes = ALONE) -> None:
        self.model, self.buffer, self.config, self._processes = model, buffer, config, processes
        self.gradient = gradient_of(model, config)
        self.average = copy.deepcopy(model).requires_grad_(False) if config.ema else model
        recorded = next(model.parameters()).is_cuda and isinstance(model, Transport) and processes.size == 1
        self.optimizer = Optimizer(model, config.learning_rate, config.matrix_rate, recorded=recorded)
        self._recorded = RecordedStep(model, self.average, self.optimizer, self.gradient) if recorded else None
        self.step = 0
        self._good = copy.deepcopy(self.state())

    def start(self, mean: Tensor, tables: Tables | None = None) -> None:
        """Let the model begin at a mean throughput, [3], and with tables of the probes if it reads any: those of rank 0."""
        self.model.start(mean)
        if tables is not None:
            self.model.probes.fill(tables)
        self._processes.spread_(self.model.state_dict().values())
        self.average.load_state_dict(self.model.state_dict())
        self.keep_good()

    def schedule(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1] of the whole bake, in parts of its peak."""
        c = self.config
        warm = min(1.0, (self.step + 1) / c.warmup) if c.warmup else 1.0
        return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) if c.cosine else 1.0)

    def advance(self, progress: float) -> tuple[float, float]:
        """One step; returns the two losses, of recorded steps those that were looked at last.

        Raises:
            NonFiniteLoss: of this step, which has changed nothing then, or of one that was recorded; `restore_good` goes back to the
                last kept state.
        """
        batch, rate = self.buffer.next(), self.schedule(progress)
        if self._recorded:
            means = self._recorded(batch, rate, self._decay(self.step + 1))
            self.step += 1
            return self._checked(means)
        means = self._checked(self._losses(batch))
        with torch_at_work():
            self._processes.average_(p.grad for p in self.model.parameters() if p.grad is not None)
            self.optimizer.schedule(rate)
            self.optimizer.apply()
            self.step += 1
            self._update_average()
        return means

    def _losses(self, batch: Rows) -> tuple[float, float]:
        """Both, over all processes; the parameters have their gradients."""
        processes, weight = self._processes, batch.viewers
        viewers = processes.sum(weight)
        nll, albedo = self.gradient(batch, processes.size * weight / viewers)  # processes average their gradients
        sums = processes.sum(torch.stack([nll, weight * albedo]))
        return float(sums[0]) / processes.size, float(sums[1] / viewers)

    def _checked(self, means: tuple[float, float]) -> tuple[float, float]:
        if not math.isfinite(sum(means)):
            raise NonFiniteLoss(f"loss {sum(means)} at step {self.step} (flow {means[0]}, albedo {means[1]})")
        return means

    def _decay(self, step: int) -> float:
        """Of the average after so many steps; a young one forgets faster."""
        return min(self.config.ema, step / (step + 9))

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.config.ema:
            with one_thread_for(self.optimizer.numbers):
                torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - self._decay(self.step))

    def state(self) -> dict[str, Any]:
        """Everything that the following steps depend on (tensors are not copied).

        Raises:
            NonFiniteLoss: a recorded step had a loss that was not finite.
        """
        if self._recorded and self._recorded.held:
            self._checked(self._recorded.settle())
        return {
            "step": self.step, "generation": self.buffer.generation, "position": self.buffer.position,
            "model": self.model.state_dict(), "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict(),
            "counts": dict(vars(self.buffer.counts)),
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Undoes `state`."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        if self._recorded:
            self._recorded.begin()
        self.buffer.seek(state["generation"], state["position"])
        vars(self.buffer.counts).update(state["counts"])

    def keep_good(self) -> None:
        """Remember the present state as good."""
        self._good = copy.deepcopy(self.state())

    def restore_good(self) -> None:
        """Go back to the state last kept."""
        self.load_state(self._good)
