"""Pieces of scene XML."""

from __future__ import annotations

from collections.abc import Sequence


def rgb(name: str, values: Sequence[float]) -> str:
    """A colour."""
    return f'<rgb name="{name}" value="{", ".join(f"{v:g}" for v in values)}"/>'


def bsdf(kind: str, ident: str, *children: str, **values: float) -> str:
    """A BSDF with numbers as properties; `children` as they are."""
    numbers = "".join(f'<float name="{key}" value="{value:g}"/>' for key, value in values.items())
    return f'    <bsdf type="{kind}" id="{ident}">{"".join(children)}{numbers}</bsdf>\n'


def diffuse(ident: str, reflectance: Sequence[float], two_sides: bool = False) -> str:
    """A diffuse BSDF."""
    inner = f'<bsdf type="diffuse">{rgb("reflectance", reflectance)}</bsdf>'
    return bsdf("twosided", ident, inner) if two_sides else bsdf("diffuse", ident, rgb("reflectance", reflectance))


def _phase(g: float) -> str:
    return f'<phase type="hg"><float name="g" value="{g:g}"/></phase>' if g else '<phase type="isotropic"/>'


def homogeneous(ident: str, albedo: Sequence[float], scale: float, g: float = 0.0) -> str:
    """A medium; `scale` is its extinction per unit length."""
    return (
        f'    <medium type="homogeneous" id="{ident}">{rgb("albedo", albedo)}<float name="sigma_t" value="1"/>'
        f'<float name="scale" value="{scale:g}"/>{_phase(g)}</medium>\n'
    )


def heterogeneous(ident: str, scale: float, albedo: str, density: str, g: float = 0.0) -> str:
    """A medium of two volume files over their own boxes; its extinction per unit length is `scale` times the density."""

    def grid(name: str, file: str) -> str:
        return (
            f'<volume type="gridvolume" name="{name}"><string name="filename" value="{file}"/><boolean name="use_grid_bbox" value="true"/>'
            '<boolean name="raw" value="true"/></volume>'
        )

    volumes = grid("albedo", albedo) + grid("sigma_t", density)
    return (
        f'    <medium type="heterogeneous" id="{ident}">{volumes}<float name="scale" value="{scale:g}"/>'
        f"{_phase(g)}</medium>\n"
    )


def shape(kind: str, ident: str, file: str, bsdf: str, interior: str = "", flat: bool = False) -> str:
    """A shape from a file, which refers to a BSDF and a medium."""
    inside = f'<ref name="interior" id="{interior}"/>' if interior else ""
    faces = '<boolean name="face_normals" value="true"/>' if flat else ""
    return f'    <shape type="{kind}" id="{ident}"><string name="filename" value="{file}"/>{faces}<ref id="{bsdf}"/>{inside}</shape>\n'
