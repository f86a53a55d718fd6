"""How an asset is baked: sizes of the model, steps, batch, schedule; and the presets that users name."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ..asset.description import Description
from ..model.config import ModelConfig
from ..model.kinds import KINDS


@dataclass(frozen=True)
class BakeConfig:
    """Everything that decides the result of a bake but the scene and the seed."""

    model: ModelConfig = field(default_factory=ModelConfig)
    kind: str = "transport"  # of the model: "transport", or "far_field" (the baseline)
    group: int = 1  # paths of each viewer's ray (far field: from them values of F' are made)
    cap: float = 0.0  # far field: half-angle of the caps over which F' is averaged, degrees
    steps: int = 5000  # optimisation steps
    batch: int = 4096  # paths of non-zero throughput a step
    learning_rate: float = 4e-3  # Adam's, at its peak
    matrix_rate: float = 0.03  # Muon's, for hidden matrices, at its peak; 0: Adam for all
    warmup: int = 50  # steps of linear warm-up
    cosine: bool = True  # decay to a hundredth of the peak along a cosine; else constant
    ema: float = 0.999  # decay of the averaged weights that become the asset; 0: none
    buffer: int = 1 << 18  # paths generated at once
    reuse: int = 2  # how often each path (far field: each value) is used
    reciprocity: bool = True  # transport: half of these times backwards, where scattering is the same both ways
    validation: int = 1 << 16  # held-out paths
    probe_paths: int = 1 << 23  # for the tables of the probes; a short bake takes fewer

    def __post_init__(self) -> None:
        if self.kind == "far_field" and not (self.group > 1 and 0 < self.cap < 90):
            raise ValueError(f"BakeConfig: far_field needs a group of paths and a cap, got {self.group} and {self.cap}")
        for name in ("buffer", "validation"):
            if getattr(self, name) % self.group:
                raise ValueError(f"BakeConfig.{name}: expected a multiple of the group {self.group}, got {getattr(self, name)}")
        for name in ("steps", "batch", "buffer", "reuse", "validation", "group", "probe_paths"):
            if getattr(self, name) < 1:
                raise ValueError(f"BakeConfig.{name}: expected at least 1, got {getattr(self, name)}")

    def share(self, processes: int) -> BakeConfig:
        """The part of each of several processes: batch and buffer are divided, and rounded up."""
        buffer = self.group * -(-self.buffer // (self.group * processes))
        return dataclasses.replace(self, batch=-(-self.batch // processes), buffer=buffer)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and provenance."""
        return dataclasses.asdict(self)


PRESETS: dict[str, BakeConfig] = {
    "preview": BakeConfig(),
    "standard": BakeConfig(ModelConfig(width=96, knots=24, triplane=128, albedo_width=96), steps=16000, batch=12288),
    "paper": BakeConfig(
        ModelConfig.paper(), steps=240_000, batch=32768, learning_rate=5e-4, matrix_rate=0.0, warmup=0, cosine=False, ema=0.0,
        buffer=1 << 22, reuse=1, reciprocity=False,
    ),
}


# Rows of a step of a preset's long bakes: more steps teach more at first, more rows later (docs/ablation.md).
LONG_BATCH = {"preview": 8192}
LONG_MINUTES, LONG_STEPS = 8.0, 4000  # a bake of so much is long
PROBE_MINUTES = 12.0  # a bake of so much has all paths for the tables

FIBRES_OCCLUSION = 4  # directions of distances: rays among fibres are dear, and more of them say little (docs/ablation.md)

# What a preset changes for the far field: sizes as in the paper's Sec. 4.1 or in proportion, and data of many paths a value.
FAR_FIELD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "preview": ({"depth": 8, "knots": 16, "albedo_width": 32}, {"group": 64, "cap": 8.0, "reuse": 4, "steps": 12000}),
    "standard": ({"depth": 8, "knots": 16, "albedo_width": 48}, {"group": 256, "cap": 5.0, "reuse": 8, "buffer": 1 << 20}),
    "paper": ({"depth": 8, "knots": 16, "albedo_width": 64}, {"group": 4096, "cap": 2.0, "reuse": 32, "buffer": 1 << 24}),
}


def preset(name: str, kind: str = "transport", **model: Any) -> BakeConfig:  # noqa: ANN401
    """The preset called `name` for a kind of model, with fields of its `ModelConfig` replaced.

    Raises:
        ValueError: no such preset, no such kind, or a bad value.
        TypeError: no such field.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    config = PRESETS[name]
    if kind == "far_field":
        sizes, data = FAR_FIELD[name]
        config, model = dataclasses.replace(config, kind=kind, **data), {**sizes, **model, "probes": 0}
    return dataclasses.replace(config, kind=kind, model=dataclasses.replace(config.model, **model))


def budgeted(name: str, config: BakeConfig, minutes: float | None, steps: int | None) -> BakeConfig:
    """The preset `name` for a budget: so many minutes, or so many steps (None for both: the preset's own)."""
    if steps is not None:
        config = dataclasses.replace(config, steps=int(steps))
    long = config.steps >= LONG_STEPS if minutes is None else minutes >= LONG_MINUTES
    if long and config.kind == "transport" and name in LONG_BATCH:
        config = dataclasses.replace(config, batch=LONG_BATCH[name])
    return config


def paths_of_tables(config: BakeConfig, minutes: float | None) -> int:
    """For the tables of the probes, no more than are worth their time in so many minutes, or in the steps."""
    paths = config.steps * config.batch / 4 if minutes is None else config.probe_paths * minutes / PROBE_MINUTES
    return min(config.probe_paths, max(1, int(paths)))


def fitted(config: BakeConfig, description: Description, given: Collection[str] = ()) -> BakeConfig:
    """The configuration for what is baked: no probes where there is no surface, fewer distances among fibres, unless `given` names them.

    Raises:
        ValueError: the kind cannot describe it.
    """
    model = config.model
    if description.is_volume:
        if config.kind == "far_field":
            raise ValueError("bake: a volume without boundary cannot be baked as far_field; use the kind transport")
        model = dataclasses.replace(model, probes=0)
    elif description.has_fibres and "occlusion" not in given:
        model = dataclasses.replace(model, occlusion=min(model.occlusion, FIBRES_OCCLUSION))
    return dataclasses.replace(config, model=model)
