"""Is scattering on an asset the same both ways?"""

from __future__ import annotations

from typing import Any

from .description import Description
from .vocabulary import BSDFS

# Scattering known to be the same both ways; maps of normals are not, nor are Mitsuba's `hair` and `principled`.  Paths in a volume
# (`null`) begin at a collision and end at the boundary.
RECIPROCAL = frozenset({
    "blendbsdf", "conductor", "dielectric", "diffuse", "mask", "plastic", "roughconductor", "roughdielectric",
    "roughplastic", "thindielectric", "twosided",
})  # fmt: skip


def is_reciprocal(description: Description) -> bool:
    """Whether all scattering of an asset is known to be the same both ways."""
    return all(_is_reciprocal(shape["bsdf"]) for shape in description.shapes)


def _is_reciprocal(tree: dict[str, Any]) -> bool:
    children = [child for child in tree.values() if isinstance(child, dict) and child.get("type") in BSDFS]
    return tree["type"] in RECIPROCAL and all(map(_is_reciprocal, children))
