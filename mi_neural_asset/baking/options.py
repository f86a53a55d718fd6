"""Rarely needed settings of a bake, which change nothing in the weights."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class BakeOptions:
    """Rarely needed settings of a bake."""

    params: dict[str, Any] | None = None  # values of the `$name`s of a scene file
    source: bool = True  # embed the scene, so that the asset can be verified later
    preview_image: str | os.PathLike | None = None  # PNG that is rendered anew every minute
    units: str = "scene units"  # recorded in the asset
    up_axis: str = "y"  # recorded in the asset
    validation_interval: float = 30.0  # seconds between validations
    memory: str | int | None = None  # bound: bytes, or a text such as "4GB"; None: a share of what is free
    certify: bool = True  # end with a quick certificate: see `verify/certificate.py`
    log: str | os.PathLike | None = None  # JSON lines: see `baking/log.py`
    tensorboard: str | os.PathLike | None = None  # folder of TensorBoard's event files
    log_interval: int = 50  # steps between lines of the log


OPTION_NAMES = tuple(field.name for field in fields(BakeOptions))
