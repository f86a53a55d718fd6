"""The one plain representation of what is baked: shapes with their BSDFs, and media.

A *tree* is a Mitsuba plugin as a dict of plain values (str, bool, int, float, lists) and tensors, and names no file:

    {'type': 'roughdielectric', 'alpha': 0.1, 'specular_reflectance': {'type': 'rgb', 'value': [r, g, b]}}
    {'type': 'bitmap', 'data': uint8, float16 or float32 [H, W, C], 'srgb_gamma': bool, 'raw': bool, ...}
    {'type': 'gridvolume', 'data': float32 [Z, Y, X, C], 'to_world': {'type': 'transform', 'matrix': 4x4 list}, ...}
    {'type': 'spectrum', 'value': 0.5} or {'type': 'spectrum', 'value': [[wavelength in nm, value], ...]}
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from .bounds import bounding_box, bounding_sphere
from .vocabulary import CURVES, DescriptionError

if TYPE_CHECKING:
    import mitsuba as mi

__all__ = [
    "Description",
    "DescriptionError",
    "bounding_box",
    "bounding_sphere",
    "describe",
    "scene_dict",
    "shape_dicts",
]


@dataclass(frozen=True)
class Description:
    """Shapes and media, in the world space of the scene they come from.

    Attributes:
        shapes: dicts with
            'id': str, unique;
            'geometry': {'type': 'mesh', 'vertices': float32 [V, 3], 'faces': int32 [F, 3], 'normals': float32 [V, 3] or
                None, 'texcoords': float32 [V, 2] or None, 'face_normals': bool, 'flip_normals': bool, 'attributes':
                {name: float32 [V or F, D]}}, or {'type': 'sphere', 'rectangle', 'disk' or 'cylinder', 'to_world': 4x4
                list, 'flip_normals': bool, and the plugin's own scalars and points}, or {'type': 'bsplinecurve' or
                'linearcurve', 'control_points': float32 [P, 4], x y z radius, 'counts': int32 [C], points of each curve};
            'bsdf': tree;
            'interior', 'exterior': key into `media`, or None.
        media: trees by name.
        notes: (shape id, sentence) for what `describe` left out; not part of the file.
    """

    shapes: list[dict[str, Any]]
    media: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()

    def without_media(self) -> Description:
        """The boundary alone: the same shapes and BSDFs."""
        return Description([{**shape, "interior": None, "exterior": None} for shape in self.shapes])

    @property
    def is_volume(self) -> bool:
        """Whether these are media without a boundary: all shapes have the BSDF `null`."""
        return all(shape["bsdf"]["type"] == "null" for shape in self.shapes)

    @property
    def has_fibres(self) -> bool:
        """Whether some of the shapes are curves."""
        return any(shape["geometry"]["type"] in CURVES for shape in self.shapes)

    def to_plain(self) -> dict[str, Any]:
        """Plain values and tensors, for files; tensors are shared, not copied."""
        return {"shapes": [dict(shape) for shape in self.shapes], "media": dict(self.media)}

    def digest(self) -> str:
        """SHA-256 of all that `to_plain` holds, as hexadecimal digits."""
        digest = hashlib.sha256()
        for name, value in _leaves(self.to_plain()):
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
        return digest.hexdigest()

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Description:
        """Undoes `to_plain`, after checking every field.

        Raises:
            AssetFileError: a field is missing, unknown or unsound; the message names it.
        """
        from .schema import check_description

        check_description(values, "description")
        return cls(list(values["shapes"]), dict(values["media"]))

    def replace(self, **changes: Any) -> Description:  # noqa: ANN401
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)


def _leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401
    if isinstance(value, dict):
        return [leaf for key in sorted(value, key=str) for leaf in _leaves(value[key], f"{name}.{key}")]
    if isinstance(value, (list, tuple)):
        return [leaf for k, item in enumerate(value) for leaf in _leaves(item, f"{name}[{k}]")]
    return [(name, value)]


def describe(
    scene: str | os.PathLike | dict | mi.Scene,
    only: Sequence[str] | None = None,
    params: dict[str, Any] | None = None,
) -> Description:
    """Read what can be baked out of a scene.

    Emitters, sensors and integrators are left out, and so is every shape that is a lamp, unless `only` names it (it
    then does not shine); `Description.notes` says which.

    Args:
        scene: path of an XML file, a dict as for `mi.load_dict`, or a loaded scene.
        only: ids of the shapes to take; None: all.
        params: values of the parameters of an XML file (`$name`).

    Raises:
        DescriptionError: something cannot be described, or an id of `only` does not exist; the message names it.
        FileNotFoundError: the scene file, or a file that it names, does not exist.
        TypeError: `scene` is none of the three.
        RuntimeError: Mitsuba's own errors about a scene.
    """
    import mitsuba as mi

    if mi.variant() is None:
        raise RuntimeError("no variant is active: call mitsuba.set_variant('llvm_ad_rgb') first")
    if isinstance(only, str):
        raise TypeError(f"only: expected a sequence of shape ids, got the string {only!r}; write [{only!r}]")
    if isinstance(scene, mi.Scene):
        from .readback import describe_scene

        if params:
            raise TypeError("params: a loaded scene takes none; they belong to a scene file")
        return describe_scene(scene, only)
    from .parse import describe_nodes, parse_dict, parse_file

    if isinstance(scene, dict):
        if params:
            raise TypeError("params: a dict takes none; they belong to a scene file")
        return describe_nodes(*parse_dict(scene), only)
    if isinstance(scene, (str, os.PathLike)):
        return describe_nodes(*parse_file(scene, params or {}), only)
    raise TypeError(f"scene: expected the path of an XML file, a dict or a mitsuba.Scene, got {type(scene).__name__}")


def scene_dict(description: Description, media: bool = True) -> dict[str, Any]:
    """The asset as a scene for `mi.load_dict`; meshes and media are objects of the active variant.

    Args:
        media: False: the boundary alone, with its BSDFs.
    """
    return {"type": "scene", **dict(shape_dicts(description, media))}


def shape_dicts(description: Description, media: bool = False) -> list[tuple[str, Any]]:
    """The shapes one by one, as (id, dict or object for `mi.load_dict`), for instance to put into a shapegroup."""
    from .build import build_shapes

    return build_shapes(description.shapes, description.media if media else {})
