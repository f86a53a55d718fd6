"""Rows of training data: a dataclass of tensors with one row a path, and a number of rows that carry throughput."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor

R = TypeVar("R", bound="Rows")


class Rows:
    """Base of the kinds' rows: dataclasses whose last field is `flow`, all others tensors [N, ...]; x_o and beta are among them."""

    x_o: Tensor
    beta: Tensor
    flow: int

    @property
    def viewers(self) -> Tensor:
        """How many viewers' rays the rows stand for: what the second loss is a mean over."""
        return torch.tensor(float(len(self.x_o)), device=self.x_o.device)

    def rows(self: R, index: Tensor, flow: int = 0) -> R:
        """Some rows."""
        return type(self)(*(getattr(self, f.name).index_select(0, index) for f in fields(self)[:-1]), flow)

    def to(self: R, device: torch.device) -> R:
        """The same on another device."""
        return type(self)(*(getattr(self, f.name).to(device) for f in fields(self)[:-1]), self.flow)
