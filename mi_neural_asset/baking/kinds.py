"""What baking needs to know of each kind of model: its data, its losses, its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import far_field, losses
from .buffer import training_rows
from .far_field import far_field_rows

if TYPE_CHECKING:
    from torch import Tensor

    from .presets import BakeConfig
    from .rows import Rows


@dataclass(frozen=True)
class Kind:
    """One kind of model; the functions take the model first.

    Attributes:
        rows: (paths, model, center, scale, occlusion) -> rows.
        losses: (model, rows) -> two scalars, whose sum is minimised.
        validate: (model, rows) -> figures, among them `nll`, `albedo_ratio`.
        probe: (model, rows) -> what a written asset must reproduce bit by bit.
    """

    rows: Callable[..., Rows]
    losses: Callable[..., tuple[Tensor, Tensor]]
    validate: Callable[..., dict[str, Any]]
    probe: Callable[..., Tensor]


def kind_of(config: BakeConfig) -> Kind:
    """The kind that a configuration asks for."""
    if config.kind == "far_field":

        def rows(*arguments: Any) -> Rows:
            return far_field_rows(*arguments, config.group, config.cap)

        return Kind(rows, far_field.losses, far_field.validate, far_field.probe)
    return Kind(training_rows, losses.losses, losses.validate, losses.probe)
