"""Which engine evaluates an asset's networks."""

from __future__ import annotations

import mitsuba as mi
import torch

from ..model.far_field import FarField
from ..model.transport import Transport
from .engine import Engine, Networks
from .far_field_engine import FarFieldEngine

ENGINES = ("auto", "torch", "drjit")


def engine_for(module: torch.nn.Module, device: str, name: str) -> Networks:
    """The engine called `name` for a model; "auto" is `drjit` where it can evaluate the model, and `torch` elsewhere.

    Raises:
        ValueError: `drjit` cannot evaluate it; the message says why.
    """
    hindrance = _hindrance(module, device)
    if name == "drjit" and hindrance:
        raise ValueError(f'nap_path: engine "drjit" {hindrance}; use "auto" or "torch"')
    if name != "torch" and not hindrance:
        from .fused.engine import FusedEngine

        return FusedEngine(module)
    return FarFieldEngine(module, device) if isinstance(module, FarField) else Engine(module, device)


def _hindrance(module: torch.nn.Module, device: str) -> str:
    """Why the engine `drjit` cannot evaluate a model; "" if it can."""
    from ..splines.llvm import MAX_KNOTS

    if torch.device(device).type != "cpu":
        return f"evaluates networks on the CPU, not on {device!r}"
    if not mi.variant().startswith("llvm"):
        return f"needs an LLVM variant of Mitsuba, not {mi.variant()!r}"
    if type(module) is not Transport:
        return f"does not know models of the kind {type(module).__name__}"
    if module.config.coordinates != "local":
        return f"does not know the coordinates {module.config.coordinates!r}"
    if module.config.knots > MAX_KNOTS:
        return f"is made for {MAX_KNOTS} bins at most, the asset has {module.config.knots}"
    return ""
