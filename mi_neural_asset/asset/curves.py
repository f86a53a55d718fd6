"""Curves: tubes with a radius at every control point, from and to Mitsuba's `bsplinecurve` and `linearcurve`.

Mitsuba reads them from text files alone: a line `x y z radius` for each control point, a blank line between curves.  A
description holds the points instead, and the file that Mitsuba asks for is a temporary one.

A ray that starts inside such a tube does not see it: Mitsuba culls the back faces of curves, and they have no caps.
"""

from __future__ import annotations

import tempfile
from typing import Any

import mitsuba as mi
import numpy as np
import torch

from ..curve_ends import mend
from .vocabulary import CURVES, DescriptionError

_CLASSES = {"BSplineCurve": "bsplinecurve", "LinearCurve": "linearcurve"}


def plugin_of(shape: mi.Shape) -> str | None:
    """Name of the plugin of a loaded shape that holds curves, None for others."""
    return _CLASSES.get(shape.class_name())


def geometry(shape: mi.Shape, name: str) -> dict[str, Any]:
    """Geometry of loaded curves, in world space.

    Raises:
        DescriptionError: a radius is not positive, or the curves are not those of a file.
    """
    kind = plugin_of(shape)
    params = mi.traverse(shape)
    points = np.array(params["control_points"], dtype=np.float32).reshape(-1, 4)
    starts = np.array(params["segment_indices"], dtype=np.int64)
    more = CURVES[kind] - 1  # points of a curve that begin no segment
    counts = np.diff(np.flatnonzero(np.diff(starts, prepend=-2, append=starts[-1] + 2) > 1)) + more
    if counts.sum() != len(points) or not np.array_equal(starts, _starts(counts, more)):
        raise DescriptionError(f"shape {name!r}: its segments are not those of whole curves; pass the curve file as it is")
    if not (points[:, 3] > 0).all():
        bad = int((~(points[:, 3] > 0)).sum())
        raise DescriptionError(f"shape {name!r}: {bad} of {len(points)} control points have no positive radius; give them one")
    return {"type": kind, "control_points": torch.from_numpy(points), "counts": torch.from_numpy(counts.astype(np.int32))}


def _starts(counts: np.ndarray, more: int) -> np.ndarray:
    """First control points of all segments of curves with so many points."""
    first = np.cumsum(counts) - counts
    return np.concatenate([begin + np.arange(count - more) for begin, count in zip(first, counts, strict=True)])


def build(name: str, geometry: dict[str, Any], children: dict[str, Any]) -> mi.Shape:
    """Curves as a shape object; `children` under 'bsdf', 'interior', 'exterior'."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", prefix="mi_neural_asset_") as file:
        file.write(text(geometry))
        file.flush()
        shape = mi.load_dict({"type": geometry["type"], "filename": file.name, **children}, parallel=False)
    shape.set_id(name)
    mend(shape)
    return shape


def text(geometry: dict[str, Any]) -> str:
    """The curves as Mitsuba's file format writes them; reading it again gives the same single-precision numbers."""
    curves = geometry["control_points"].split(geometry["counts"].tolist())
    return "\n".join("".join(" ".join(f"{x:.9g}" for x in point) + "\n" for point in curve.tolist()) for curve in curves)
