"""The state of a wavefront, one lane a path; picking lanes out of it, and putting wavefronts together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import drjit as dr
import mitsuba as mi


@dataclass(frozen=True)
class Branches:
    """Numbers of paths that fork where the camera sees an asset.

    Path r + b W is branch b of camera ray r: branch 0 the ray's own, and after the fork its direct part; the others are its exits.

    Attributes:
        rays: W.
        exits: of a ray that forks; 0: none does.
    """

    rays: int
    exits: int

    @property
    def paths(self) -> int:
        """All of them."""
        return self.rays * (1 + self.exits)

    @cached_property
    def _rays(self) -> mi.UInt32:
        """In a kernel's text it would be compiled anew for each size of a picture."""
        return dr.opaque(mi.UInt32, self.rays)

    def is_own(self, index: mi.UInt32) -> mi.Bool:
        """Whether these are branch 0."""
        return index < self._rays

    def branch(self, ray: mi.UInt32, number: int | mi.UInt32) -> mi.UInt32:
        """A branch of camera rays."""
        return ray + number * self._rays

    def parts(self, index: mi.UInt32) -> tuple[mi.UInt32, mi.UInt32]:
        """(camera ray, number of the branch) of paths."""
        number = index // self._rays
        return index - number * self._rays, number

    def fork(self, ray: mi.UInt32) -> mi.UInt32:
        """All exits of camera rays, ray by ray."""
        number = dr.arange(mi.UInt32, dr.width(ray) * self.exits) % dr.opaque(mi.UInt32, self.exits)
        return self.branch(repeat(ray, self.exits), 1 + number)


@dataclass
class Lanes:
    """State of the paths that are alive, one lane each."""

    index: mi.UInt32  # which branch of which camera ray (see `Branches`): their random numbers, and where their radiance is summed
    ray: mi.Ray3f
    β: mi.Spectrum  # path throughput weight
    η: mi.Float  # product of relative indices of refraction
    reference: mi.Point3f  # where emitter sampling was done for this ray
    pdf: mi.Float  # density of this ray's direction there
    delta: mi.Bool  # emitter sampling could not have found it
    straight: mi.Bool  # still the camera's ray, but for null crossings: sees no emitters where these are hidden
    gap: mi.Float  # distance from the ray's start to `reference`, along the ray (0 on ordinary surfaces)
    asset: mi.UInt32  # number of the model that the ray left, from 1; 0: it left none
    x_o: mi.Point3f  # where the path met the asset, seen from its end
    n: mi.Vector3f  # shading normal there
    lobe: mi.Float  # 1 / density of u_i per solid angle at x_o; 0 where the lobe technique does not reach


def not_from_an_asset(width: int) -> dict:
    """The fields of `Lanes` that only rays from an asset use."""
    return {"gap": dr.zeros(mi.Float, width), "asset": dr.zeros(mi.UInt32, width), "x_o": dr.zeros(mi.Point3f, width),
            "n": dr.zeros(mi.Vector3f, width), "lobe": dr.zeros(mi.Float, width)}  # fmt: skip


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


def repeat(value, copies: int):  # noqa: ANN001, ANN201
    """Each lane `copies` times, one after the other."""
    return value if copies == 1 else take(value, dr.arange(mi.UInt32, dr.width(value) * copies) // dr.opaque(mi.UInt32, copies))


def join(parts: list, widths: list[int] | None = None):  # noqa: ANN201
    """One dataclass of arrays from several, lane after lane; the counterpart of `take`.

    widths: number of lanes of each part; arrays of width 1 are repeated (default: the parts' own).  They stay out of the kernel's text,
    unlike those of `dr.concat`: other widths are not compiled anew.
    """
    dr.eval(parts)
    widths = widths or [dr.width(part) for part in parts]
    lane = dr.arange(mi.UInt32, sum(widths))
    ends = [dr.opaque(mi.UInt32, sum(widths[: k + 1])) for k in range(len(widths))]
    starts = [mi.UInt32(0), *ends[:-1]]
    return _join(parts, [(lane - start, (lane >= start) & (lane < end)) for start, end in zip(starts, ends, strict=True)])


def _join(parts: list, rows: list[tuple[mi.UInt32, mi.Bool]]):  # noqa: ANN202
    """rows: of each part, its lanes and whether they are meant."""
    kind = type(parts[0])

    def joined(get):  # noqa: ANN001, ANN202
        return _join([get(part) for part in parts], rows)

    if dataclasses.is_dataclass(kind):
        return kind(*(joined(lambda part, name=field.name: getattr(part, name)) for field in dataclasses.fields(kind)))
    if kind is mi.Ray3f:
        return mi.Ray3f(*(joined(lambda part, name=name: getattr(part, name)) for name in ("o", "d", "maxt", "time", "wavelengths")))
    if dr.depth_v(kind) == 2:
        return kind(*(joined(lambda part, axis=axis: part[axis]) for axis in range(len(parts[0]))))
    result = dr.zeros(kind, dr.width(rows[0][0]))
    for part, (lane, own) in zip(parts, rows, strict=True):
        result = dr.select(own, dr.gather(kind, part, mi.UInt32(0) if dr.width(part) == 1 else lane, own), result)
    return result


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
