"""Descriptions of objects that Mitsuba has already built.

An object tells its class, its differentiable parameters and a text.  Where these fix it, it is rebuilt from what was
read and the two texts are compared; everything else is refused, because a guess would bake another material.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import mitsuba as mi
import numpy as np

from . import curves, embed
from .build import build_tree
from .description import Description
from .vocabulary import DescriptionError

_ADVICE = "pass the scene file or the dict instead of the loaded object"

# Class -> plugin, values copied by name, nested objects, words read from the object's text ('?': may be absent).
_RULES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "Null": ("null", (), (), ()),
    "SmoothDiffuse": ("diffuse", (), ("reflectance",), ()),
    "SmoothDielectric": ("dielectric", ("eta",), ("specular_reflectance?", "specular_transmittance?"), ()),
    "ThinDielectric": ("thindielectric", ("eta",), ("specular_reflectance?", "specular_transmittance?"), ()),
    "RoughDielectric": (
        "roughdielectric",
        ("eta",),
        ("alpha?", "alpha_u?", "alpha_v?", "specular_reflectance?", "specular_transmittance?"),
        ("distribution", "sample_visible"),
    ),
    "SmoothConductor": ("conductor", (), ("eta", "k", "specular_reflectance?"), ()),
    "RoughConductor": (
        "roughconductor",
        (),
        ("eta", "k", "alpha?", "alpha_u?", "alpha_v?", "specular_reflectance?"),
        ("distribution", "sample_visible"),
    ),
    "SmoothPlastic": ("plastic", ("eta",), ("diffuse_reflectance", "specular_reflectance?"), ("nonlinear",)),
    "RoughPlastic": (
        "roughplastic",
        ("eta", "alpha"),
        ("diffuse_reflectance", "specular_reflectance?"),
        ("distribution", "sample_visible", "nonlinear"),
    ),
    "Principled": (
        "principled",
        (
            "main_specular_sampling_rate",
            "clearcoat_sampling_rate?",
            "diffuse_reflectance_sampling_rate",
            "specular?",
            "eta?",
        ),
        (
            "base_color",
            "roughness",
            "anisotropic?",
            "metallic?",
            "spec_trans?",
            "spec_tint?",
            "sheen?",
            "sheen_tint?",
            "flatness?",
            "clearcoat?",
            "clearcoat_gloss?",
        ),
        (),
    ),
    "TwoSidedBRDF": ("twosided", (), ("brdf_0", "brdf_1"), ()),
    "IsotropicPhaseFunction": ("isotropic", (), (), ()),
    "RayleighPhaseFunction": ("rayleigh", (), (), ()),
    "HGPhaseFunction": ("hg", ("g",), (), ()),
    "ConstVolume": ("constvolume", (), ("value",), ()),
    "HomogeneousMedium": ("homogeneous", ("scale",), ("albedo", "sigma_t", "phase_function"), ()),
}
_RELATIVE_ETA = ("dielectric", "thindielectric", "roughdielectric", "plastic", "roughplastic")


def describe_scene(scene: mi.Scene, only: Sequence[str] | None) -> Description:
    """The description of a loaded scene.

    Raises:
        DescriptionError: a shape, BSDF or medium cannot be read back in full; the message names it.
    """
    from .parse import select, unique

    media: dict[str, dict[str, Any]] = {}
    names: list[tuple[Any, str]] = []

    def medium_name(medium: Any) -> str:  # noqa: ANN401
        for known, name in names:
            if known == medium:
                return name
        name = unique(medium.id() or "medium", media)
        names.append((medium, name))
        media[name] = tree(medium, name)
        return name

    candidates = [(item.id(), item) for item in scene.shapes()]
    chosen, notes = select(candidates, lambda item: item.is_emitter(), only)
    return Description([shape(name, item, medium_name) for name, item in chosen], media, notes)


def shape(name: str, item: mi.Shape, medium_name: Callable[[Any], str]) -> dict[str, Any]:
    """One loaded shape; `medium_name` gives the key of a medium."""
    kind = item.class_name()
    if item.is_mesh():
        geometry = embed.mesh(item, name)
    elif curves.plugin_of(item):
        geometry = curves.geometry(item, name)
    elif kind in ("Sphere", "Rectangle", "Disk", "Cylinder"):
        matrix = np.array(mi.traverse(item)["to_world"].matrix, dtype=np.float64).reshape(4, 4)
        geometry = {"type": kind.lower(), "to_world": matrix.tolist(), "flip_normals": bool(item.has_flipped_normals())}
    else:
        raise DescriptionError(
            f"shape {name!r} of class {kind} cannot be baked: only meshes, curves, spheres, rectangles, disks and cylinders"
        )
    interior, exterior = item.interior_medium(), item.exterior_medium()
    return {
        "id": name,
        "geometry": geometry,
        "bsdf": tree(item.bsdf(), f"the BSDF of shape {name!r}"),
        "interior": None if interior is None else medium_name(interior),
        "exterior": None if exterior is None else medium_name(exterior),
    }


def tree(item: mi.Object, where: str) -> dict[str, Any]:
    """The tree of a loaded BSDF or medium.

    Raises:
        DescriptionError: not everything about it can be read back; the message names it.
    """
    result = _read(item, where)
    if not _same(item, build_tree(result)):
        raise DescriptionError(f"{_named(item, where)}: what can be read back of it does not rebuild it; {_ADVICE}")
    return result


def _named(item: mi.Object, where: str) -> str:
    return f"{item.class_name()}{f' {item.id()!r}' if item.id() else ''} ({where})"


def _read(item: mi.Object, where: str) -> Any:  # noqa: ANN401
    kind = item.class_name()
    if kind == "UniformSpectrum":
        return {"type": "spectrum", "value": _number(mi.traverse(item)["value"])}
    if kind == "SRGBReflectanceSpectrum":
        return {"type": "rgb", "value": [float(x) for x in np.array(mi.traverse(item)["value"]).reshape(-1)]}
    if kind not in _RULES:
        raise DescriptionError(f"{_named(item, where)} cannot be read back from a loaded scene; {_ADVICE}")
    plugin, values, objects, words = _RULES[kind]
    params, nested, text = mi.traverse(item), _nested(item), str(item)
    if kind == "ConstVolume":
        return _read(nested["value"], where)
    result: dict[str, Any] = {"type": plugin}
    for name in values:
        if name.rstrip("?") in params or not name.endswith("?"):
            result[name.rstrip("?")] = _number(params[name.rstrip("?")])
    for name in objects:
        if name.rstrip("?") in nested:
            result[name.rstrip("?")] = _read(nested.pop(name.rstrip("?")), f"{where}.{name.rstrip('?')}")
        elif not name.endswith("?"):
            raise DescriptionError(f"{_named(item, where)}: its {name} cannot be read back; {_ADVICE}")
    if nested:
        raise DescriptionError(f"{_named(item, where)}: its {sorted(nested)[0]} cannot be read back; {_ADVICE}")
    for name in words:
        found = re.search(rf"^  {name} = (\w+)", text, re.MULTILINE)
        if not found:
            raise DescriptionError(f"{_named(item, where)}: its {name} cannot be read back; {_ADVICE}")
        result[name] = found[1] if name == "distribution" else bool(int(found[1]))
    if plugin in _RELATIVE_ETA:  # the object keeps the ratio of the two
        result["int_ior"], result["ext_ior"] = result.pop("eta"), 1.0
    if isinstance(item, mi.Medium):
        result["sample_emitters"] = bool(item.use_emitter_sampling())
        result["has_spectral_extinction"] = bool(item.has_spectral_extinction())
    return result


def _nested(item: mi.Object) -> dict[str, mi.Object]:
    """The objects directly below one."""
    found: dict[str, mi.Object] = {}

    class Collect(mi.TraversalCallback):
        def put_object(self, name: str, obj: mi.Object, *_: object) -> None:
            found[name] = obj

        def put_value(self, *_: object) -> None:
            pass

        def put(self, name: str, value: Any, *_: object) -> None:  # noqa: ANN401
            if isinstance(value, mi.Object):
                found[name] = value

    item.traverse(Collect())
    return found


def _number(value: Any) -> float:  # noqa: ANN401
    return float(np.array(value).reshape(-1)[0])


def _same(one: mi.Object, other: mi.Object) -> bool:
    """Whether two objects agree in class, text and every parameter."""
    a, b = mi.traverse(one), mi.traverse(other)
    names = set(a.keys())
    if one.class_name() != other.class_name() or names != set(b.keys()) or str(one) != str(other):
        return False
    return all(
        np.array_equal(np.array(a[key]), np.array(b[key])) for key in names if "Transform" not in type(a[key]).__name__
    )
