"""The files of the generated scenes, as bytes: meshes, curves, volumes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from .mesh import Mesh


def ply(mesh: Mesh) -> bytes:
    """Binary PLY, little endian; Mitsuba makes vertex normals unless a shape wants flat faces."""
    vertices, faces = np.asarray(mesh[0], "<f4"), mesh[1]
    table = np.empty(len(faces), dtype=[("n", "u1"), ("v", "<i4", 3)])
    table["n"], table["v"] = 3, faces
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return header.encode() + vertices.tobytes() + table.tobytes()


def curves(strands: Sequence[np.ndarray]) -> bytes:
    """Curves as Mitsuba reads them, each [N, 4]: x, y, z, radius."""
    return "\n".join("".join("{:.5f} {:.5f} {:.5f} {:.5f}\n".format(*point) for point in strand) for strand in strands).encode()


def volume(data: np.ndarray, low: Sequence[float], high: Sequence[float]) -> bytes:
    """Mitsuba's grid volume format (version 3, float32) of values [Z, Y, X, C] over a box."""
    z, y, x, channels = data.shape
    return struct.pack("<3sB5i6f", b"VOL", 3, 1, x, y, z, channels, *low, *high) + np.ascontiguousarray(data, "<f4").tobytes()
