"""The kinds of model that an asset file can hold, by the names that files use."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from .config import ModelConfig
from .far_field import FarField
from .transport import Transport

KINDS: dict[str, type[nn.Module]] = {"transport": Transport, "far_field": FarField}


def leaves_specular(kind: str, config: ModelConfig) -> bool:
    """Whether mirror reflections by smooth boundaries, and light that is never scattered, are none of such a model's: the renderer
    follows them."""
    return kind == "transport" and config.separate_direct


def in_half(model: Transport | FarField, device: torch.device | str) -> Transport | FarField:
    """A copy for rendering whose networks of splines are in half precision, for a device: float16 on a GPU, bfloat16 on the CPU.

    All else stays: grids, positions along splines, and the networks of the albedo and of F', whose errors would be the picture's.
    """
    halved = deepcopy(model)
    halved.spline_networks.to(torch.bfloat16 if torch.device(device).type == "cpu" else torch.float16)
    return halved


def build(kind: str, config: ModelConfig) -> Transport | FarField:
    """A model with fresh weights.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return KINDS[kind](config)
