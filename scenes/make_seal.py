"""Generate scenes/seal.ply: a carved jade seal, z up, resting on z = 0, base one unit wide.

    python scenes/make_seal.py [-o seal.ply] [--triangles 24000] [--resolution 0.0073]

The shape is an implicit function (signed distances, smoothly combined): a rounded block with a groove and a character
engraved on each side and, mirrored, on the bottom, a plinth, and a trefoil knot as the handle.  It is polygonised by
marching cubes, simplified within a tolerance, and gets its vertex normals from the implicit function's gradient.
Needs numpy, scipy, scikit-image, trimesh and manifold3d, which the library itself does not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import trimesh
from manifold3d import Error, Manifold, Mesh
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

# Bounds, off every symmetry of the shape: marching cubes dislikes grid points that lie exactly on the surface.
LOW, HIGH = np.array([-0.5613, -0.5631, -0.0617]), np.array([0.56, 0.56, 1.72])

# Characters as strokes in a unit square (x right, y up): jade, mountain, middle, sky.
JADE = [[(-0.6, 0.65), (0.6, 0.65)], [(-0.5, 0.02), (0.5, 0.02)], [(-0.7, -0.65), (0.7, -0.65)],
        [(0, 0.65), (0, -0.65)], [(0.33, -0.24), (0.5, -0.42)]]  # fmt: skip
MOUNTAIN = [[(0, 0.75), (0, -0.6)], [(-0.65, 0.2), (-0.65, -0.6), (0.65, -0.6), (0.65, 0.2)]]
MIDDLE = [[(-0.6, 0.4), (0.6, 0.4), (0.6, -0.25), (-0.6, -0.25), (-0.6, 0.4)], [(0, 0.8), (0, -0.8)]]
SKY = [[(-0.5, 0.65), (0.5, 0.65)], [(-0.65, 0.12), (0.65, 0.12)], [(0, 0.65), (0, 0.12), (-0.6, -0.7)],
       [(0, 0.12), (0.6, -0.7)]]  # fmt: skip


def smooth_union(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Union of two distance fields, blended over a width k (polynomial smooth minimum)."""
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return b + (a - b) * h - k * h * (1 - h)


def smooth_cut(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """What is left of a when b is carved out, edges rounded over a width k."""
    return -smooth_union(-a, b, k)


def rounded_box(p: np.ndarray, center: tuple, half: tuple, radius: float) -> np.ndarray:
    """Distance to a box of half extents `half` (corners rounded inwards by `radius`)."""
    q = np.abs(p - np.array(center)) - np.array(half) + radius
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0) - radius


def strokes(u: np.ndarray, v: np.ndarray, lines: list, width: float) -> np.ndarray:
    """Distance in the plane to strokes of a given half width."""
    p, best = np.stack([u, v], -1), np.full(u.shape, np.inf)
    for line in lines:
        for a, b in zip(np.array(line[:-1], float), np.array(line[1:], float), strict=True):
            t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            best = np.minimum(best, np.linalg.norm(p - a - t[..., None] * (b - a), axis=-1))
    return best - width


def engraving(p: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Distance to what is carved out of the block: characters, their frames and a groove below the shoulder."""
    x, y, z = np.moveaxis(p, -1, 0)
    scale, frame = 0.2, [[(-1.18, 1.12), (1.18, 1.12), (1.18, -1.12), (-1.18, -1.12), (-1.18, 1.12)]]
    cut = np.full(x.shape, np.inf)
    for facing, across, up, text in (
        (-y, x, z - 0.3, JADE), (x, y, z - 0.3, MOUNTAIN), (y, -x, z - 0.3, MIDDLE), (-x, -y, z - 0.3, SKY),
    ):  # fmt: skip
        u, v = across / scale, up / scale
        letter = np.maximum(scale * strokes(u, v, text, 0.13), 0.43 - facing)
        border = np.maximum(scale * strokes(u, v, frame, 0.06), 0.45 - facing)
        cut = np.minimum(cut, np.minimum(np.maximum(letter, -(body + 0.05)), np.maximum(border, -(body + 0.03))))
    foot = np.maximum(0.36 * strokes(-x / 0.36, y / 0.36, JADE, 0.13), z - 0.045)
    groove = np.maximum(np.abs(z - 0.575) - 0.014, -(body + 0.03))
    return np.minimum(cut, np.minimum(foot, groove))


def knot() -> tuple[cKDTree, np.ndarray]:
    """A trefoil that stands upright, as points along its centre line."""
    t = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    flat = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -1.4 * np.sin(3 * t)], -1)
    points = 0.135 * flat[:, [0, 2, 1]] + np.array([0, 0, 1.16])
    return cKDTree(points), t


def distance(p: np.ndarray, curve: tuple[cKDTree, np.ndarray]) -> np.ndarray:
    """The seal's implicit function at points p [..., 3]: negative inside."""
    body = rounded_box(p, (0, 0, 0.33), (0.5, 0.5, 0.33), 0.055)
    seal = smooth_cut(body, engraving(p, body), 0.012)
    plinth = rounded_box(p, (0, 0, 0.69), (0.36, 0.36, 0.07), 0.05)
    seal = smooth_union(seal, plinth, 0.05)
    tube = curve[0].query(p, workers=-1, distance_upper_bound=0.3)[0]
    tube = np.where(np.isfinite(tube), tube, 0.3) - 0.098
    return smooth_union(seal, tube, 0.07)


def gradient(p: np.ndarray, curve: tuple[cKDTree, np.ndarray], step: float = 2e-3) -> np.ndarray:
    """Unit gradient of the implicit function by central differences."""
    g = np.stack([distance(p + step * e, curve) - distance(p - step * e, curve) for e in np.eye(3)], -1)
    return g / np.linalg.norm(g, axis=-1, keepdims=True)


def make_seal(triangles: int, resolution: float) -> tuple[trimesh.Trimesh, np.ndarray]:
    """Watertight mesh with about `triangles` faces, and unit normals at its vertices [V, 3]."""
    curve = knot()
    axes = [np.arange(a, b, resolution) for a, b in zip(LOW, HIGH, strict=True)]
    field = np.empty([len(a) for a in axes], np.float32)
    for i in range(0, len(axes[0]), 16):
        grid = np.stack(np.meshgrid(axes[0][i : i + 16], axes[1], axes[2], indexing="ij"), -1)
        field[i : i + 16] = distance(grid, curve)
    vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=(resolution,) * 3)
    raw = trimesh.Trimesh(vertices + LOW, faces, process=True)
    if raw.volume < 0:
        raw.invert()
    solid = Manifold(Mesh(np.asarray(raw.vertices, np.float32), np.asarray(raw.faces, np.uint32)))
    if solid.status() != Error.NoError:
        raise RuntimeError(f"the mesh came out open ({solid.status()}); try another --resolution")
    solid = max(solid.decompose(), key=lambda part: part.volume())  # drops bubbles where strands of the knot touch
    low, high = 0.0, 0.01  # tolerance by bisection
    for _ in range(12):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if solid.simplify(middle).num_tri() > triangles else (low, middle)
    thin = solid.simplify(high).to_mesh()
    print(f"simplified within {high:.4f}")
    mesh = trimesh.Trimesh(np.asarray(thin.vert_properties)[:, :3], thin.tri_verts, process=True)
    normals = gradient(np.asarray(mesh.vertices), curve)
    mesh.apply_translation([0, 0, -mesh.bounds[0, 2]])
    return mesh, normals


def write_ply(path: Path, mesh: trimesh.Trimesh, normals: np.ndarray) -> None:
    """Binary PLY with vertex positions and normals, little endian."""
    vertices = np.hstack([mesh.vertices, normals]).astype("<f4")
    faces = np.empty(len(mesh.faces), dtype=[("n", "u1"), ("v", "<i4", 3)])
    faces["n"], faces["v"] = 3, mesh.faces
    names = "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n{names}"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    path.write_bytes(header.encode() + vertices.tobytes() + faces.tobytes())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Generate the jade seal's mesh.")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("seal.ply"))
    parser.add_argument("--triangles", type=int, default=24000)
    parser.add_argument("--resolution", type=float, default=0.0073)
    args = parser.parse_args()
    mesh, normals = make_seal(args.triangles, args.resolution)
    write_ply(args.output, mesh, normals)
    print(f"{args.output}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles, extents {mesh.extents.round(3)}")


if __name__ == "__main__":
    main()
