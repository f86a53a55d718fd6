"""Muon for the networks' hidden matrices, Adam for all else.

Muon replaces the momentum of a matrix by the nearest orthogonal one: a step changes all directions of the matrix alike.  Grids,
biases and last layers are left to Adam.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..threads import one_thread_for
from .muon import Muon


class Optimizer:
    """The optimisers of one model, under one schedule.

    Args:
        model: what is trained.
        rate: Adam's learning rate at its peak.
        matrix_rate: Muon's; 0 leaves everything to Adam.
        recorded: rates are numbers on the model's device, so that a recorded `apply` follows `schedule`.

    Attributes:
        numbers: in all matrices together; without these, in all parameters.
    """

    def __init__(self, model: torch.nn.Module, rate: float, matrix_rate: float, *, recorded: bool = False) -> None:
        matrices = [p for name, p in model.named_parameters() if ".hidden." in name and p.dim() == 2] if matrix_rate else []
        known = {id(p) for p in matrices}
        rest = [p for p in model.parameters() if id(p) not in known]
        self._peaks = {"adam": rate, "muon": matrix_rate}
        rates = {name: torch.tensor(peak, device=rest[0].device) if recorded else peak for name, peak in self._peaks.items()}
        adam = torch.optim.Adam(rest, lr=rates["adam"], eps=1e-10, fused=True, capturable=recorded)
        self._parts: dict[str, torch.optim.Optimizer] = {"adam": adam}
        if matrices:
            self._parts["muon"] = Muon(matrices, rates["muon"])
        self._rates: dict[str, Tensor] = rates if recorded else {}
        self.numbers = sum(p.numel() for p in matrices or rest)

    def schedule(self, factor: float) -> None:
        """Rates of the steps to come: `factor` times their peaks."""
        for name, part in self._parts.items():
            for group in part.param_groups:
                if name in self._rates:
                    group["lr"] = self._rates[name].fill_(factor * self._peaks[name])
                else:
                    group["lr"] = factor * self._peaks[name]

    def apply(self) -> None:
        """One step."""
        with one_thread_for(self.numbers):
            for part in self._parts.values():
                part.step()

    @property
    def rates(self) -> dict[str, float]:
        """Learning rates of the last step, by optimiser."""
        return {name: float(part.param_groups[0]["lr"]) for name, part in self._parts.items()}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, by optimiser."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undoes `state_dict`."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
            for group in part.param_groups if name in self._rates else ():
                group["lr"] = self._rates[name].fill_(float(group["lr"]))
