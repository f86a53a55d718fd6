"""Fabric: cloth in twill, every yarn a twisted bundle of fibres, laid in folds; the hair BSDF with an absorption of its own."""

from __future__ import annotations

import numpy as np

from . import files, xml
from .asset import Asset

YARNS, FIBRES, SUBDIVISION = 64, 24, 2
SIZE = 1.35  # edge of the cloth, laid flat
PITCH = SIZE / YARNS


def folds(p: np.ndarray) -> np.ndarray:
    """The flat cloth (x, y in the plane, z above it), [..., 3], laid in soft folds that rise to the back."""
    x, y, z = np.moveaxis(p, -1, 0)
    lift = 0.5 / (1 + np.exp(-(y - 0.08) / 0.13))
    slope = lift * (1 - lift / 0.5) / 0.13
    wave = 0.07 * np.sin(5.5 * x + 1.6 * y + 0.4) * (0.4 + 1.2 * lift)
    dx = 0.385 * np.cos(5.5 * x + 1.6 * y + 0.4) * (0.4 + 1.2 * lift)
    n = np.stack([-dx, -slope, np.ones_like(x)], -1)
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    return np.stack([x, 0.86 * y, 0.3 + lift + wave], -1) + z[..., None] * n


def yarn(number: int, over: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Fibres of one yarn along the first axis, flat: [N, 4] each; `over`: +1 or -1 at each crossing [YARNS]."""
    count = SUBDIVISION * YARNS
    t = (np.arange(count + 1) - count / 2) / count * SIZE
    middle = (np.arange(YARNS) - YARNS / 2 + 0.5) * PITCH
    height = 0.26 * PITCH * np.interp(t, middle, over.astype(float))
    across = (number - YARNS / 2 + 0.5) * PITCH
    result = []
    for k in range(FIBRES):
        inside = k >= 15  # an outer layer of 15, an inner one of 9
        ring, angle = (0.17, 2 * np.pi * k / 9) if inside else (0.37, 2 * np.pi * k / 15)
        turn = angle + 2 * np.pi * t / (5.5 * PITCH) + rng.normal() * 0.1
        ring = ring * PITCH * (1 + 0.08 * rng.normal())
        wobble = 0.02 * PITCH * rng.normal(size=(2, count + 1))
        y, z = across + ring * np.cos(turn) + wobble[0], height + 0.62 * ring * np.sin(turn) + wobble[1]
        result.append(np.stack([t, y, z, np.full_like(t, 0.056 * PITCH)], -1))
    return result


def make() -> Asset:
    """The cloth: warp and weft, two over and two under."""
    rng = np.random.default_rng(5)
    k = np.arange(YARNS)
    warp, weft = [], []
    for number in range(YARNS):
        warp += yarn(number, np.where((k + number) % 4 < 2, 1, -1), rng)
        weft += [fibre[:, [1, 0, 2, 3]] for fibre in yarn(number, np.where((k + number) % 4 < 2, -1, 1), rng)]
    laid = [[np.column_stack([folds(fibre[:, :3]), fibre[:, 3]]) for fibre in fibres] for fibres in (warp, weft)]
    lowest = min(fibre[:, 2].min() for fibres in laid for fibre in fibres) - 0.01
    for fibres in laid:
        for fibre in fibres:
            fibre[:, 2] -= lowest
    body = (
        xml.bsdf("hair", "blue_fibre", xml.rgb("sigma_a", (1.1, 0.55, 0.12)), longitudinal_roughness=0.45, azimuthal_roughness=0.6)
        + xml.bsdf("hair", "pale_fibre", xml.rgb("sigma_a", (0.05, 0.07, 0.12)), longitudinal_roughness=0.45, azimuthal_roughness=0.6)
        + xml.shape("bsplinecurve", "warp", "fabric_warp.txt", "blue_fibre")
        + xml.shape("bsplinecurve", "weft", "fabric_weft.txt", "pale_fibre")
    )
    return Asset(body, {f"fabric_{name}.txt": files.curves(fibres) for name, fibres in zip(("warp", "weft"), laid, strict=True)})
