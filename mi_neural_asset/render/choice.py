"""Which engine evaluates an asset's networks."""

from __future__ import annotations

from functools import cache

import mitsuba as mi
import torch

from ..fused.layout import hindrance
from ..model.far_field import FarField
from ..model.kinds import in_half
from .engine import Engine, Networks
from .far_field_engine import FarFieldEngine
from .recorded_engine import RecordedEngine

ENGINES = ("auto", "torch", "drjit")
PRECISIONS = ("single", "half")


@cache
def _warn_of_slow_products() -> None:
    """Say it, once, where half precision gains nothing."""
    from ..fused.network import gain_of_bfloat16

    if (gain := gain_of_bfloat16()) < 1:
        mi.Log(mi.LogLevel.Warn, f'nap_path: precision "half": this processor multiplies bfloat16 {gain:.2f} times as fast as float32; '
                                 '"single" is quicker, and exact')  # fmt: skip


def engine_for(module: torch.nn.Module, device: str, name: str, precision: str = "single") -> Networks:
    """The engine called `name` for a model; "auto" is `drjit` where it can evaluate the model, and `torch` elsewhere.

    Args:
        precision: "single", or "half": networks that draw in bfloat16 on the CPU, in float16 on a GPU.

    Raises:
        ValueError: `drjit` cannot evaluate it; the message says why.
    """
    hindered, half = hindrance(module, device), precision == "half"
    if half and torch.device(device).type == "cpu":
        _warn_of_slow_products()
    if name == "drjit" and hindered:
        raise ValueError(f'nap_path: engine "drjit" {hindered}; use "auto" or "torch"')
    if name != "torch" and not hindered:
        from .fused_engine import FusedEngine

        return FusedEngine(module, half)
    module = in_half(module, device) if half else module
    if isinstance(module, FarField):
        return FarFieldEngine(module, device)
    return (RecordedEngine if torch.device(device).type == "cuda" else Engine)(module, device)
