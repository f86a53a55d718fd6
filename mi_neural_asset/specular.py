"""What the renderer follows instead of the networks where an asset has smooth surfaces.

Two kinds of paths are not smooth functions of where they begin, and cheap to follow: those whose first event is a mirror reflection,
and those that are never scattered, neither in a medium nor by a surface that is not smooth: light through empty glass, through
thin edges, through folds whose shading normals face away.
"""

from __future__ import annotations

from collections.abc import Callable

import mitsuba as mi


def has_mirrors(scene: mi.Scene) -> bool:
    """Whether some surface has a mirror reflection."""
    return some_surface(scene, mi.BSDFFlags.DeltaReflection)


def lets_through(scene: mi.Scene) -> bool:
    """Whether a ray may pass all surfaces unscattered, and some of them mirror."""
    return has_mirrors(scene) and some_surface(scene, mi.BSDFFlags.DeltaTransmission, mi.BSDFFlags.Null)


def some_surface(scene: mi.Scene, *flags: mi.BSDFFlags, where: Callable[[mi.Shape], bool] = lambda _: True) -> bool:
    """Whether some surface has one of these flags; `where`: says of a shape whether it counts."""
    found = (shape.bsdf().flags() for shape in scene.shapes() if shape.bsdf() is not None and where(shape))
    return any(mi.has_flag(own, flag) for own in found for flag in flags)
