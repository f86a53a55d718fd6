"""Curves whose last end does not crash Mitsuba.

Where a ray meets the very end of the last curve of a shape (v = 1), Mitsuba 3.9.1 looks for the control points of a segment behind the last
one, at a place told by what lies in memory there, and may crash: one ray in some hundred thousand does.  Here a sound number lies there.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np


def mend(loaded: mi.Object) -> None:
    """Write the number of the last segment once more behind those of all curves in a scene or shape, which stay as many as they are.

    Nothing is done for scalar variants, nor for a scene without curves.
    """
    params = mi.traverse(loaded)
    names = [key for key in params.keys() if key.split(".")[-1] == "segment_indices"]  # noqa: SIM118 -- not a dict
    if not names or "scalar" in mi.variant():
        return
    for name in names:
        numbers = np.array(params[name])
        padded = mi.UInt32(np.append(numbers, numbers[-1:]))
        dr.eval(padded)
        params[name] = dr.reshape(mi.UInt32, padded, len(numbers), shrink=True)  # the same memory
    params.update()
