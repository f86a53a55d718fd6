"""NeuralAsset: the deliverable of a bake."""

from __future__ import annotations

import dataclasses
import numbers
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import file
from .description import Description, scene_dict, shape_dicts
from .schema import MAGIC, VERSION

if TYPE_CHECKING:
    from ..model.config import ModelConfig
    from ..model.far_field import FarField
    from ..model.transport import Transport


@dataclass(frozen=True, eq=False)
class NeuralAsset:
    """A baked asset: boundary shapes with their BSDFs, and a model of the light transport inside.

    Attributes:
        boundary: shapes that rays hit, in asset space (the world space of the baked scene); with their media where rays may pass
            unscattered: between smooth surfaces, and through a volume.
        source: the whole baked scene, for verification, or None.
        center: centre of the bounding sphere, [3], asset space.
        scale: its radius; normalised space is x_hat = (x - center) / scale.
        config: sizes and choices of the model.
        weights: the model's state dict, float32 on the CPU.
        provenance: how it was made: seed, steps, versions, validation figures; plain values.
        units: what one unit of asset space is.
        up_axis: "x", "y" or "z".
        kind: what the model is: "transport", or "far_field" (the baseline).
    """

    boundary: Description
    source: Description | None
    center: list[float]
    scale: float
    config: ModelConfig
    weights: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)
    units: str = "scene units"
    up_axis: str = "y"
    kind: str = "transport"

    def save(self, path: str | os.PathLike) -> None:
        """Write the asset file (`.pt`); an existing file is replaced only once the new one is complete.

        Raises:
            AssetFileError: a field is unsound (the message names it); nothing is written.
            OSError: the folder cannot be written, or the disk is full; an existing file is untouched.
        """
        file.write(path, self.to_content())

    @classmethod
    def load(cls, path: str | os.PathLike) -> NeuralAsset:
        """Read and check an asset file.

        Raises:
            FileNotFoundError: there is no such file.
            AssetFileError: it is not a sound asset; the message names the field and says what to do.
        """
        return cls.from_content(file.read(path))

    def to_content(self) -> dict[str, Any]:
        """What the file holds, as plain values and tensors."""
        return {
            "magic": MAGIC,
            "version": VERSION,
            "kind": self.kind,
            "units": self.units,
            "up_axis": self.up_axis,
            "boundary": self.boundary.to_plain(),
            "source": None if self.source is None else self.source.to_plain(),
            "center": [float(x) for x in self.center],
            "scale": float(self.scale),
            "config": self.config.to_dict(),
            "weights": {name: value.detach().cpu().contiguous() for name, value in self.weights.items()},
            "provenance": _plain(self.provenance),
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> NeuralAsset:
        """Undoes `to_content`; the content must have been checked."""
        from ..model.config import ModelConfig

        source = content["source"]
        return cls(
            boundary=Description(**content["boundary"]),
            source=None if source is None else Description(**source),
            config=ModelConfig.from_dict(content["config"]),
            **{key: content[key] for key in ("center", "scale", "weights", "provenance", "units", "up_axis", "kind")},
        )

    def model(self) -> Transport | FarField:
        """The model, in evaluation mode; its parameters share the memory of `weights`."""
        from ..model.kinds import build

        with torch.device("meta"):  # its memory is that of the weights
            model = build(self.kind, self.config)
        model.load_state_dict(self.weights, assign=True)
        return model.requires_grad_(False).eval()

    @property
    def is_volume(self) -> bool:
        """Whether the asset is a medium without a boundary."""
        return self.boundary.is_volume

    def boundary_shapes(self) -> dict[str, Any]:
        """The boundary's shapes by name: dicts or mesh objects of the active variant, made anew at each call."""
        return dict(shape_dicts(self.boundary))

    def boundary_scene(self, media: bool = False) -> dict[str, Any]:
        """The boundary alone as a scene for `mi.load_dict`; `media`: with those that it keeps."""
        return scene_dict(self.boundary, media)

    def source_scene(self) -> dict[str, Any]:
        """The baked scene, with its media, as a scene for `mi.load_dict`.

        Raises:
            ValueError: the asset was baked without its source.
        """
        if self.source is None:
            raise ValueError("the asset does not embed its source: bake it without --no-source")
        return scene_dict(self.source)

    def replace(self, **changes: Any) -> NeuralAsset:  # noqa: ANN401
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)

    def summary(self, size: int | None = None) -> str:
        """A readable table of everything; `size` is that of the file in bytes."""
        from .info import summary

        return summary(self, size)

    def __repr__(self) -> str:
        count = sum(value.numel() for value in self.weights.values())
        shapes = ", ".join(shape["id"] for shape in self.boundary.shapes[:4]) + (
            ", ..." if len(self.boundary.shapes) > 4 else ""
        )
        return (
            f"NeuralAsset(kind={self.kind!r}, shapes=[{shapes}], parameters={count}, proxy={self.config.proxy!r}, "
            f"coordinates={self.config.coordinates!r}, source={'embedded' if self.source else 'none'})"
        )


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Notes as exactly the plain types: no subclass of str or float, no tuple; anything else as its text.

    A note of an odd type is no reason to lose a bake.
    """
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    for abstract, kind in ((numbers.Integral, int), (numbers.Real, float)):
        if isinstance(value, abstract):
            value = kind(value)
            return str(value) if isinstance(value, int) and value.bit_length() > 63 else value
    return str(value)


def load(path: str | os.PathLike) -> NeuralAsset:
    """Read an asset file; see `NeuralAsset.load`."""
    return NeuralAsset.load(path)
