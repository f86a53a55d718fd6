"""Bricks: a house of toy bricks on a studded plate; glossy plastic with narrow gaps."""

from __future__ import annotations

import numpy as np

from . import files, mesh, xml
from .asset import Asset
from .mesh import Mesh

UNIT = 0.09  # between studs
TALL = 0.108  # of a brick
STUD, RISE, GAP = 0.3, 0.02, 0.0012  # radius in units; height and half-gap in scene units
COLOURS = {
    "green": (0.06, 0.32, 0.08),
    "red": (0.6, 0.035, 0.025),
    "yellow": (0.8, 0.5, 0.03),
    "blue": (0.03, 0.12, 0.5),
    "white": (0.78, 0.78, 0.75),
    "brown": (0.2, 0.07, 0.03),
}
Cells = dict[tuple[int, int, int], str]


def box(low: np.ndarray, high: np.ndarray, edge: float = 0.004) -> Mesh:
    """A box with chamfered edges."""
    corners = []
    for s in np.ndindex(2, 2, 2):
        sign = 2 * np.array(s) - 1
        corner = np.where(sign > 0, high, low)
        corners += [corner - sign * edge * (np.arange(3) != axis) for axis in range(3)]
    points = np.array(corners)
    from scipy.spatial import ConvexHull

    hull = ConvexHull(points)
    faces = hull.simplices.astype(int)
    a, b, c = (points[faces[:, k]] for k in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return points, faces


def stud(x: float, y: float, z: float) -> Mesh:
    """A stud on a brick."""
    r = STUD * UNIT
    profile = [(0.0, -0.002), (r, -0.002), (r, RISE - 0.004), (r - 0.001, RISE - 0.001), (r - 0.004, RISE), (0.0, RISE)]
    return mesh.moved(mesh.lathe(profile, 20), np.eye(3), (x, y, z))


def house() -> list[tuple[tuple[int, int, int], tuple[int, int], str]]:
    """Bricks as (first cell x, y, layer), (size x, y), colour."""
    bricks = []

    def course(layer: int, low: tuple[int, int], high: tuple[int, int], colour: str, holes: set[tuple[int, int]]) -> None:
        """A ring of bricks two units long around a rectangle, bond shifted from course to course."""
        (x0, y0), (x1, y1) = low, high
        ring = [(x, y0) for x in range(x0, x1)] + [(x1, y) for y in range(y0, y1)]
        ring += [(x, y1) for x in range(x1, x0, -1)] + [(x0, y) for y in range(y1, y0, -1)]
        ring = ring[layer % 2 :] + ring[: layer % 2]
        cells = list(ring)
        while cells:
            first = cells.pop(0)
            if first in holes:
                continue
            second = cells[0] if cells and cells[0] not in holes else None
            if second:
                cells.pop(0)
                corner = (min(first[0], second[0]), min(first[1], second[1]), layer)
                bricks.append((corner, (1 + abs(first[0] - second[0]), 1 + abs(first[1] - second[1])), colour))
            else:
                bricks.append(((*first, layer), (1, 1), colour))

    door, window = {(-1, -4), (0, -4)}, {(4, -2), (4, -1), (4, 1), (4, 2), (-4, -4), (-3, -4), (3, -4), (2, -4)}
    for layer in range(5):
        holes = (door if layer < 4 else set()) | (window if layer in (2, 3) else set())
        course(layer, (-5, -4), (4, 3), "white" if layer == 1 else "red" if layer % 2 else "yellow", holes)
    for step in range(5):  # the roof steps inwards from front and back
        for y in (-5 + step, 3 - step):
            for x in range(-6, 5, 2) if step % 2 else range(-6, 6, 4):
                long = 2 if step % 2 else min(4, 6 - x)
                bricks.append(((x, y, 5 + step), (long, 2), "blue"))
        if step < 4:  # gables
            for x in (-5, 4):
                for y in range(-3 + step, 3 - step):
                    bricks.append(((x, y, 5 + step), (1, 1), "yellow" if step % 2 else "red"))
    bricks += [((2, -2, 10), (2, 2), "brown"), ((2, -2, 11), (2, 2), "brown")]
    for x, y in ((-7, -7), (6, -7), (5, 6)):  # shrubs and their trunks
        bricks += [((x, y, 0), (1, 1), "brown"), ((x, y, 1), (1, 1), "green"), ((x, y, 2), (1, 1), "green")]
    return bricks


def make() -> Asset:
    """The house on its plate, 1.4 units wide."""
    parts: dict[str, list[Mesh]] = {name: [] for name in COLOURS}
    taken: Cells = {}
    solid = []
    for (x, y, layer), size, colour in house():
        cells = [(x + i, y + j, layer) for i in range(size[0]) for j in range(size[1])]
        if any(cell in taken for cell in cells):
            continue
        taken.update(dict.fromkeys(cells, colour))
        solid.append(((x, y, layer), size, colour))
    base = 0.04
    parts["green"].append(box(np.array([-8 * UNIT, -8 * UNIT, 0.0]), np.array([8 * UNIT, 8 * UNIT, base])))
    for (x, y, layer), size, colour in solid:
        low = np.array([x * UNIT + GAP, y * UNIT + GAP, base + layer * TALL + 0.0004])
        high = np.array([(x + size[0]) * UNIT - GAP, (y + size[1]) * UNIT - GAP, base + (layer + 1) * TALL])
        parts[colour].append(box(low, high))
    places = [((x, y, -1), "green") for x in range(-8, 8) for y in range(-8, 8)] + list(taken.items())
    for (x, y, layer), colour in places:
        if (x, y, layer + 1) not in taken:
            parts[colour].append(stud((x + 0.5) * UNIT, (y + 0.5) * UNIT, base + (layer + 1) * TALL))
    body, data = "", {}
    for name, colour in COLOURS.items():
        body += xml.bsdf("plastic", f"{name}_plastic", xml.rgb("diffuse_reflectance", colour), int_ior=1.53)
        body += xml.shape("ply", f"{name}_bricks", f"bricks_{name}.ply", f"{name}_plastic", flat=True)
        data[f"bricks_{name}.ply"] = files.ply(mesh.join(parts[name]))
    return Asset(body, data)
