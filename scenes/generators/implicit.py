"""Signed distances of simple bodies, smoothly combined, at points [..., 3]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def ellipsoid(p: np.ndarray, center: Sequence[float], half: Sequence[float], turn: np.ndarray | None = None) -> np.ndarray:
    """Roughly the distance to an ellipsoid; `turn` [3, 3] takes its axes to the world's."""
    q = p - np.asarray(center, p.dtype)
    if turn is not None:
        q = q @ np.asarray(turn, p.dtype)
    half = np.asarray(half, p.dtype)
    inner, outer = np.linalg.norm(q / half, axis=-1), np.linalg.norm(q / half**2, axis=-1)
    return inner * (inner - 1) / np.maximum(outer, 1e-6)


def capsule(p: np.ndarray, a: Sequence[float], b: Sequence[float], r0: float, r1: float) -> np.ndarray:
    """Distance to a segment, with a radius that changes along it."""
    a, b = np.asarray(a, p.dtype), np.asarray(b, p.dtype)
    t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(p - a - t[..., None] * (b - a), axis=-1) - (r0 + (r1 - r0) * t)


def blend(parts: Sequence[np.ndarray], width: float) -> np.ndarray:
    """Union, with the seams rounded over a width (polynomial smooth minimum)."""
    result = parts[0]
    for part in parts[1:]:
        h = np.clip(0.5 + 0.5 * (part - result) / width, 0, 1)
        result = part + (result - part) * h - width * h * (1 - h)
    return result


def mirrored(p: np.ndarray) -> np.ndarray:
    """Points with |x|: bodies that are the same on the left and on the right."""
    return np.concatenate([np.abs(p[..., :1]), p[..., 1:]], -1)
