"""Picking lanes out of a wavefront, and putting wavefronts together."""

from __future__ import annotations

import dataclasses

import drjit as dr
import mitsuba as mi


def take(value, rows: mi.UInt32):  # noqa: ANN001, ANN201
    """The lanes `rows` of an array, a Mitsuba structure, or a dataclass of these; lanes of width 1 are shared by all."""
    if dataclasses.is_dataclass(value):
        return type(value)(*(take(getattr(value, field.name), rows) for field in dataclasses.fields(value)))
    if isinstance(value, mi.SurfaceInteraction3f):
        return dr.gather(mi.SurfaceInteraction3f, value, rows)
    if isinstance(value, mi.Matrix3f):
        return mi.Matrix3f(*(take(value[i, j], rows) for i in range(3) for j in range(3)))
    if isinstance(value, mi.Ray3f):
        return mi.Ray3f(*(take(getattr(value, name), rows) for name in ("o", "d", "maxt", "time", "wavelengths")))
    if dr.depth_v(value) == 2:
        return type(value)(*(take(value[axis], rows) for axis in range(len(value))))
    if dr.width(value) == 1:
        rows = dr.zeros(mi.UInt32, dr.width(rows))
    return dr.gather(type(value), value, rows)


def join(parts: list, widths: list[int] | None = None):  # noqa: ANN201
    """One dataclass of arrays from several, lane after lane; the counterpart of `take`.

    widths: number of lanes of each part; arrays of width 1 are repeated (default: the parts' own).
    """
    kind, widths = type(parts[0]), widths or [dr.width(part) for part in parts]

    def joined(get):  # noqa: ANN001, ANN202
        return join([get(part) for part in parts], widths)

    if dataclasses.is_dataclass(kind):
        return kind(*(joined(lambda part, name=field.name: getattr(part, name)) for field in dataclasses.fields(kind)))
    if kind is mi.Ray3f:
        return mi.Ray3f(*(joined(lambda part, name=name: getattr(part, name)) for name in ("o", "d", "maxt", "time", "wavelengths")))
    if dr.depth_v(kind) == 2:
        return kind(*(joined(lambda part, axis=axis: part[axis]) for axis in range(len(parts[0]))))
    return dr.concat([
        part if dr.width(part) == width else take(part, dr.zeros(mi.UInt32, width)) for part, width in zip(parts, widths, strict=True)
    ])  # fmt: skip


def put(target, source, rows: mi.UInt32) -> None:  # noqa: ANN001
    """Overwrite the lanes `rows` of a dataclass of arrays."""
    for field in dataclasses.fields(target):
        value, new = getattr(target, field.name), getattr(source, field.name)
        if isinstance(value, mi.Ray3f):
            for name in ("o", "d"):
                part = type(getattr(value, name))(getattr(value, name))
                dr.scatter(part, getattr(new, name), rows)
                setattr(value, name, part)
        else:
            dr.scatter(value, new, rows)
