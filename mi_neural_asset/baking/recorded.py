"""Training steps on a GPU: recorded once as a CUDA graph, then replayed, so that the host waits for nothing within a step.

A graph has fixed shapes and fixed memory.  A batch is copied to memory of its own, where rows that stand for nobody's ray fill it up;
rates are numbers on the device; losses are kept there and looked at in bundles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor, nn

from ..cuda_graphs import CudaGraphs, Recorder, Work
from .buffer import Batch
from .optimizer import Optimizer

GRAIN = 1024  # rows of a recorded batch are a multiple of this: batches that differ by a few share a recording
WARM_UP = 3  # steps of a size before it is recorded: kernels are compiled, optimisers have their memory
BUNDLE = 32  # steps between looks at the losses

class RecordedStep:
    """Steps of one model.

    Args:
        model, average: trained, and its moving average (the model itself: there is none).
        optimizer: made with `recorded`.
        gradient: see `mi_neural_asset.baking.gradient`.
        recorder: records them.

    Attributes:
        held: steps whose losses nobody has looked at.
    """

    def __init__(
        self, model: nn.Module, average: nn.Module, optimizer: Optimizer, gradient: Callable[[Batch, float], tuple[Tensor, Tensor]],
        recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        self._model, self._average, self._optimizer, self._gradient = model, average, optimizer, gradient
        self._recorder = recorder or CudaGraphs("the bake's steps")
        device = next(model.parameters()).device
        self._pull = torch.zeros((), device=device)  # how far the average goes towards the model
        self._place = torch.zeros((), dtype=torch.long, device=device)  # of the next losses in their bundle
        self._losses = torch.zeros(BUNDLE, 2, device=device)
        self._batch: Batch | None = None
        self._latest: tuple[float, float] | None = None
        self.begin()

    def begin(self) -> None:
        """Nothing is known of losses; steps are recorded anew: memory of model or optimiser may be another."""
        self.held, self._latest = 0, None
        self._place.zero_()
        self._forget()

    def _forget(self) -> None:
        self._replay: Work | None = None
        self._tried = 0

    def __call__(self, batch: Batch, rate: float, decay: float) -> tuple[float, float]:
        """One step at `rate` of the peak rates, `decay` being the average's; returns the losses of the last step that was looked at.

        They are NaN or infinite if those of any step since were.
        """
        self._take(batch)
        self._optimizer.schedule(rate)
        self._pull.fill_(1 - decay)
        if self._tried < WARM_UP:
            self._recorder.try_out(self._work)
            self._tried += 1
        else:
            self._replay = self._replay or self._recorder.record(self._work)
            self._replay()
        self.held += 1
        return self.settle() if self.held == BUNDLE or self._latest is None else self._latest

    def settle(self) -> tuple[float, float]:
        """The last step's losses, once all steps are done; NaN or infinite if those of any step were since the last look."""
        if self.held:
            losses = self._losses[: self.held].tolist()
            self._latest = next((tuple(pair) for pair in losses if not math.isfinite(sum(pair))), tuple(losses[-1]))
            self.held = 0
            self._place.zero_()
        return self._latest

    def _take(self, batch: Batch) -> None:
        """Copy a batch to where the recording reads."""
        rows = GRAIN * -(-len(batch.x_o) // GRAIN)
        kept = self._batch
        if kept is None or (len(kept.x_o), kept.flow) != (rows, batch.flow):
            index = torch.arange(rows, device=batch.x_o.device).clamp_max(len(batch.x_o) - 1)
            self._batch = kept = batch.rows(index, batch.flow)
            self._forget()
        for field in fields(Batch)[:-1]:
            getattr(kept, field.name)[: len(batch.x_o)].copy_(getattr(batch, field.name))
        kept.drawn[len(batch.x_o) :].zero_()

    @torch.no_grad()
    def _work(self) -> None:
        with torch.enable_grad():
            nll, albedo = self._gradient(self._batch, 1.0)
        self._losses.index_copy_(0, self._place[None], torch.stack([nll, albedo])[None])
        self._place += 1
        self._optimizer.apply()
        if self._average is not self._model:
            averages, values = list(self._average.parameters()), list(self._model.parameters())
            away = torch._foreach_sub(values, averages)
            torch._foreach_mul_(away, self._pull)
            torch._foreach_add_(averages, away)
