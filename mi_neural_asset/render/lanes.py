"""Picking lanes out of a wavefront."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi


def take(value, rows: mi.UInt32):  # noqa: ANN001, ANN201
    """The lanes `rows` of an array, a Mitsuba structure, or a dataclass of these; lanes of width 1 are shared by all."""
    if dataclasses.is_dataclass(value):
        return type(value)(*(take(getattr(value, field.name), rows) for field in dataclasses.fields(value)))
    if isinstance(value, mi.Matrix3f):
        return mi.Matrix3f(*(take(value[i, j], rows) for i in range(3) for j in range(3)))
    if isinstance(value, mi.Ray3f):
        return mi.Ray3f(*(take(getattr(value, name), rows) for name in ("o", "d", "maxt", "time", "wavelengths")))
    if dr.depth_v(value) == 2:
        return type(value)(*(take(value[axis], rows) for axis in range(len(value))))
    if dr.width(value) == 1:
        rows = dr.zeros(mi.UInt32, dr.width(rows))
    return dr.gather(type(value), value, rows)
