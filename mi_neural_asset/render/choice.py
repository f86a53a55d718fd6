"""Which engine evaluates an asset's networks."""

from __future__ import annotations

import torch

from ..fused.layout import hindrance
from ..model.far_field import FarField
from .engine import Engine, Networks
from .far_field_engine import FarFieldEngine
from .recorded_engine import RecordedEngine

ENGINES = ("auto", "torch", "drjit")


def engine_for(module: torch.nn.Module, device: str, name: str) -> Networks:
    """The engine called `name` for a model; "auto" is `drjit` where it can evaluate the model, and `torch` elsewhere.

    Raises:
        ValueError: `drjit` cannot evaluate it; the message says why.
    """
    hindered = hindrance(module, device)
    if name == "drjit" and hindered:
        raise ValueError(f'nap_path: engine "drjit" {hindered}; use "auto" or "torch"')
    if name != "torch" and not hindered:
        from .fused_engine import FusedEngine

        return FusedEngine(module)
    if isinstance(module, FarField):
        return FarFieldEngine(module, device)
    return (RecordedEngine if torch.device(device).type == "cuda" else Engine)(module, device)
