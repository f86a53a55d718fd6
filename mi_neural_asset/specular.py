"""What the renderer follows instead of the networks where an asset has smooth surfaces.

Two kinds of paths are not smooth functions of where they begin, and cheap to follow: those whose first event is a mirror reflection,
and those that are never scattered, neither in a medium nor by a surface that is not smooth: light through empty glass, through
thin edges, through folds whose shading normals face away.
"""

from __future__ import annotations

import mitsuba as mi


def has_mirrors(scene: mi.Scene) -> bool:
    """Whether some surface has a mirror reflection."""
    return _some(scene, mi.BSDFFlags.DeltaReflection)


def lets_through(scene: mi.Scene) -> bool:
    """Whether a ray may pass all surfaces unscattered, and some of them mirror."""
    return has_mirrors(scene) and _some(scene, mi.BSDFFlags.DeltaTransmission, mi.BSDFFlags.Null)


def _some(scene: mi.Scene, *flags: mi.BSDFFlags) -> bool:
    found = (shape.bsdf().flags() for shape in scene.shapes() if shape.bsdf() is not None)
    return any(mi.has_flag(own, flag) for own in found for flag in flags)
