"""What can be baked, and what a baker should hear before a long bake.

What cannot be baked is an error that names the shape and says what to do; what is doubtful is an `Issue`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .description import Description
from .schema import REBAKE, AssetFileError, check_description
from .vocabulary import ANALYTIC, CHILDREN, CURVES, ROLE

MAX_FOLDED = 1e-3  # share of a mesh's area that may face against its vertex normals without a word


class CannotBake(ValueError):
    """The description holds something that cannot be baked; the message names it and says what to do."""


@dataclass(frozen=True)
class Issue:
    """Something doubtful that does not stop a bake.

    Attributes:
        code: 'open-mesh', 'non-manifold', 'inward', 'folded', 'unused-medium', 'open-shape' or 'emitter'.
        subject: id of the shape, or name of the medium.
        message: what is the matter, and what to do.
    """

    code: str
    subject: str
    message: str

    def __str__(self) -> str:
        return self.message


def check(description: Description) -> list[Issue]:
    """Check that a description can be baked.

    Returns:
        what is doubtful, shape by shape.

    Raises:
        CannotBake: something cannot be baked: an unsupported shape, BSDF, texture or medium, the BSDF `null` elsewhere than
            around a volume that is alone, vertices that are not finite, a mesh without area, no shapes, or what an asset file cannot hold.
    """
    if not description.shapes:
        raise CannotBake("there is no shape to bake; add one to the scene, or name one in `only`")
    for name, tree in description.media.items():
        check_plugins(tree, f"medium {name!r}", ("medium",))
    issues = [Issue("emitter", name, text) for name, text in description.notes]
    _check_null(description)
    for shape in description.shapes:
        issues += _check_shape(shape)
    issues = [issue for issue in issues if issue.code != "open-mesh" or not _closed_together(description, issue.subject)]
    used = {shape[side] for shape in description.shapes for side in ("interior", "exterior")}
    for name in description.media:
        if name not in used:
            issues.append(
                Issue(
                    "unused-medium",
                    name,
                    f"Medium {name!r} has no shape around it and does nothing; make it the interior of one.",
                )
            )
    try:
        check_description(description.to_plain(), "scene")
    except AssetFileError as error:
        raise CannotBake(f"an asset file cannot hold this scene: {str(error).replace(f'; {REBAKE}', '')}") from error
    return issues


def check_plugins(tree: dict[str, Any], where: str, roles: tuple[str, ...]) -> None:
    """Raise `CannotBake` where a tree names a plugin outside the allow-list, or in a place where it cannot stand."""
    kind = tree["type"]
    if kind == "null":
        raise CannotBake(
            f"{where}: the BSDF 'null' cannot be part of another; give the shape alone the BSDF 'null', around a medium, or use a mask"
        )
    if ROLE.get(kind) not in roles:
        supported = ", ".join(name for name, role in ROLE.items() if role == roles[0])
        raise CannotBake(f"{where}: {kind!r} is not supported; as a {roles[0]} there can be: {supported}")
    for key, child in tree.items():
        if isinstance(child, dict):
            check_plugins(child, f"{where}, {key}", CHILDREN[ROLE[kind]])


def _check_null(description: Description) -> None:
    """The BSDF 'null' stands around volumes, and these stand alone."""
    empty = [shape["id"] for shape in description.shapes if shape["bsdf"]["type"] == "null"]
    others = [shape["id"] for shape in description.shapes if shape["bsdf"]["type"] != "null"]
    if empty and others:
        raise CannotBake(
            f"shape {empty[0]!r} has the BSDF 'null', shape {others[0]!r} has another: volumes without a boundary are baked alone; "
            f"name them in `only`, or give {empty[0]!r} a dielectric BSDF"
        )
    for shape in description.shapes if empty else ():
        if shape["interior"] is None or shape["exterior"] is not None:
            raise CannotBake(f"shape {shape['id']!r} has the BSDF 'null' and must have an interior medium, and none outside; add it")


def _check_shape(shape: dict[str, Any]) -> Iterator[Issue]:
    name, geometry = shape["id"], shape["geometry"]
    if shape["bsdf"]["type"] != "null":
        check_plugins(shape["bsdf"], f"shape {name!r}", ("BSDF",))
    medium = shape["interior"]
    if geometry["type"] == "mesh":
        yield from _check_mesh(name, geometry, medium)
        return
    if geometry["type"] in CURVES:
        _check_curves(shape)
        return
    if geometry["type"] not in ANALYTIC:
        raise CannotBake(f"shape {name!r} of type {geometry['type']!r} is not supported; convert it to a mesh (PLY)")
    matrix = torch.tensor(geometry["to_world"], dtype=torch.float64)
    if not torch.isfinite(matrix).all() or not torch.linalg.det(matrix[:3, :3]).abs() > 0:
        raise CannotBake(
            f"shape {name!r}: its to_world is singular or not finite; give it an extent in every direction"
        )
    if medium is not None and geometry["type"] != "sphere":
        yield Issue(
            "open-shape", name,
            f"Shape {name!r} ({geometry['type']}) has the interior medium {medium!r} but is open: paths leave "
            "the medium without crossing a boundary. Close it with other shapes, or use a closed mesh.",
        )  # fmt: skip


def _closed_together(description: Description, name: str) -> bool:
    """Whether an open mesh and others with the same interior medium, such as a liquid's sides and top, close each other."""
    medium = next(shape["interior"] for shape in description.shapes if shape["id"] == name)
    parts = [s["geometry"] for s in description.shapes if s["interior"] == medium and s["geometry"]["type"] == "mesh"]
    first = torch.tensor([0] + [len(part["vertices"]) for part in parts]).cumsum(0).tolist()
    faces = torch.cat([part["faces"].long() + k for part, k in zip(parts, first, strict=False)])
    return len(parts) > 1 and not Topology(torch.cat([part["vertices"] for part in parts]), faces).open_edges


def _check_curves(shape: dict[str, Any]) -> None:
    name, points = shape["id"], shape["geometry"]["control_points"]
    if bad := int((~torch.isfinite(points)).any(1).sum()):
        raise CannotBake(f"shape {name!r}: {bad} of {len(points)} control points are NaN or infinite; repair the curves")
    for side in ("interior", "exterior"):
        if shape[side] is not None:
            raise CannotBake(
                f"shape {name!r}: curves cannot hold or border a medium ({shape[side]!r}), because a ray inside a curve does not "
                "see its surface; leave the medium out, or convert the curves to a closed mesh"
            )


def _check_mesh(name: str, geometry: dict[str, Any], medium: str | None) -> Iterator[Issue]:
    vertices, faces = geometry["vertices"], geometry["faces"].long()
    if bad := int((~torch.isfinite(vertices)).any(1).sum()):
        raise CannotBake(f"shape {name!r}: {bad} of {len(vertices)} vertices are NaN or infinite; repair the mesh")
    if geometry["normals"] is not None and (bad := int((~torch.isfinite(geometry["normals"])).any(1).sum())):
        raise CannotBake(
            f"shape {name!r}: {bad} of {len(vertices)} vertex normals are NaN or infinite; repair the mesh"
        )
    if len(faces) == 0 or int(faces.min()) < 0 or int(faces.max()) >= len(vertices):
        raise CannotBake(
            f"shape {name!r}: it has no faces, or faces that name vertices which do not exist; repair the mesh"
        )
    topology = Topology(vertices, faces)
    if not topology.area > 0:
        raise CannotBake(f"shape {name!r}: all of its {len(faces)} triangles have no area; repair the mesh")
    if topology.open_edges and medium is not None:
        yield Issue(
            "open-mesh", name,
            f"Mesh {name!r} is open ({topology.open_edges} boundary edges) but has the interior medium "
            f"{medium!r}: paths escape through the holes, and the result depends on where. Close it before baking.",
        )  # fmt: skip
    if topology.crowded_edges:
        yield Issue(
            "non-manifold", name,
            f"Mesh {name!r} has {topology.crowded_edges} edges shared by more than two triangles; inside "
            "and outside may be ambiguous there.",
        )  # fmt: skip
    smooth = geometry["normals"] is not None and not geometry["face_normals"]
    share = _folded(geometry) if medium is not None and smooth else 0.0
    if MAX_FOLDED < share < 0.5:
        yield Issue(
            "folded", name,
            f"{100 * share:.2g} % of the surface of mesh {name!r} faces against its vertex normals (folds of a decimated scan?): light "
            f"crosses it there as if it left {medium!r}, and sees through the asset. Repair the mesh, or accept glints.",
        )  # fmt: skip
    volume = -topology.volume if geometry["flip_normals"] else topology.volume
    if not topology.open_edges and volume < 0:
        what = "its inside and outside are exchanged" if medium is not None else "its front is inside"
        yield Issue(
            "inward",
            name,
            f"The closed mesh {name!r} faces inwards, so {what}. Flip its normals (flip_normals) or its faces.",
        )


def _folded(geometry: dict[str, Any]) -> float:
    """Share of a mesh's area that faces against its own vertex normals."""
    corners = geometry["vertices"].double()[geometry["faces"].long()]
    facing = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = geometry["normals"].double()[geometry["faces"].long()].sum(1)
    area = facing.norm(dim=1)
    return float(area[(facing * normals).sum(1) < 0].sum() / area.sum())


class Topology:
    """Edges, area and volume of a triangle mesh, with identical vertices taken as one.

    Args:
        vertices: [V, 3].
        faces: int64 [F, 3].

    Attributes:
        open_edges: edges of one triangle.
        crowded_edges: edges of more than two triangles.
        area: of all triangles, in squared scene units.
        volume: signed, in cubed scene units; positive if a closed mesh faces outwards.
    """

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        _, same = torch.unique(vertices + 0.0, dim=0, return_inverse=True)  # + 0.0: -0 is 0
        corners = vertices.double()[faces]
        merged = same[faces]
        kept = (merged != merged.roll(1, 1)).all(1)  # triangles that are a line take part in no edge
        merged = merged[kept]
        edges = torch.cat([merged[:, [0, 1]], merged[:, [1, 2]], merged[:, [2, 0]]]).sort(1).values
        uses = torch.unique(edges, dim=0, return_counts=True)[1]
        self.open_edges, self.crowded_edges = int((uses == 1).sum()), int((uses > 2).sum())
        local = corners - vertices.double().mean(0)
        normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.area = float(normal.norm(dim=1).sum() / 2)
        self.volume = float((local[:, 0] * normal).sum() / 6)


__all__ = ["CannotBake", "Issue", "Topology", "check", "check_plugins"]
