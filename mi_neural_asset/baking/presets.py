"""How an asset is baked: sizes of the model, steps, batch, schedule; and the presets that users name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ..model.config import ModelConfig


@dataclass(frozen=True)
class BakeConfig:
    """Everything that decides the result of a bake but the scene and the seed."""

    model: ModelConfig = field(default_factory=ModelConfig)
    steps: int = 6000  # optimisation steps
    batch: int = 8193  # paths of non-zero throughput a step; a multiple of three (one third a colour channel)
    learning_rate: float = 4e-3  # Adam's, at its peak
    matrix_rate: float = 0.03  # Muon's, for hidden matrices, at its peak; 0: Adam for all
    warmup: int = 50  # steps of linear warm-up
    cosine: bool = True  # decay to a hundredth of the peak along a cosine; else constant
    ema: float = 0.999  # decay of the averaged weights that become the asset; 0: none
    buffer: int = 1 << 18  # paths generated at once
    reuse: int = 2  # how often each path is used
    reciprocity: bool = True  # half of these times backwards, where scattering is the same both ways
    validation: int = 1 << 16  # held-out paths

    def __post_init__(self) -> None:
        if self.batch % 3 or self.batch <= 0:
            raise ValueError(f"BakeConfig.batch: expected a positive multiple of 3, got {self.batch}")
        for name in ("steps", "buffer", "reuse", "validation"):
            if getattr(self, name) < 1:
                raise ValueError(f"BakeConfig.{name}: expected at least 1, got {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and provenance."""
        return dataclasses.asdict(self)


PRESETS: dict[str, BakeConfig] = {
    "preview": BakeConfig(),
    "standard": BakeConfig(ModelConfig(width=96, knots=24, triplane=128, albedo_width=96), steps=16000, batch=12288),
    "paper": BakeConfig(
        ModelConfig.paper(), steps=240_000, batch=32766, learning_rate=5e-4, matrix_rate=0.0, warmup=0, cosine=False, ema=0.0,
        buffer=1 << 22, reuse=1, reciprocity=False,
    ),
}


def preset(name: str, **model: Any) -> BakeConfig:  # noqa: ANN401
    """The preset called `name`, with fields of its `ModelConfig` replaced.

    Raises:
        ValueError: no such preset, or a bad value.
        TypeError: no such field.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    config = PRESETS[name]
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **model))
