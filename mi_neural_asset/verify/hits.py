"""Viewers' rays that meet an asset, as the networks see them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import drjit as dr
import mitsuba as mi
import torch
from torch import Tensor

from ..asset.asset import NeuralAsset
from ..interop import to_torch, to_vector
from ..occlusion import Occlusion
from ..render.projection import uniform_hits
from ..render.volumes import Density

MAX_ROUNDS = 200


@dataclass
class Hits:
    """Where rays meet an asset, normalised space; lines are uniform among those that meet it."""

    x_o: Tensor  # [N, 3]
    w_o: Tensor  # [N, 3] unit, away from the asset
    n: Tensor  # [N, 3] shading normal on the side of w_o; in a volume w_o itself
    occlusion: Tensor  # [N, K]

    def rows(self, index: slice) -> Hits:
        """Some rows."""
        return Hits(*(getattr(self, field.name)[index] for field in fields(self)))


def viewers(asset: NeuralAsset, count: int, seed: int) -> Hits:
    """`count` hits of lines drawn uniformly among those through the bounding sphere; in a volume, first collisions.

    Raises:
        ValueError: hardly any line meets the asset.
    """
    scene = mi.load_dict(asset.boundary_scene(media=True), parallel=False)
    center, scale = mi.Point3f([float(c) for c in asset.center]), float(asset.scale)
    density = Density(asset, scene) if asset.is_volume else None
    parts, found, width = [], 0, max(count, 4096)
    sampler = mi.load_dict({"type": "independent"}, parallel=False)
    sampler.seed(seed, width)
    for number in range(MAX_ROUNDS):
        flights = MAX_ROUNDS * seed + number & 0xFFFFFFFF
        x, w, n, met = uniform_hits(scene, center, scale, density, sampler.next_2d(), sampler.next_2d(), flights)
        met = to_torch(dr.select(met, mi.Float(1), 0)) > 0
        parts.append(torch.stack([to_torch(value) for value in (x, w, n)], 1)[met])
        found += len(parts[-1])
        sampler.schedule_state()
        if found >= count:
            break
    else:
        raise ValueError(f"verify: only {found} of {MAX_ROUNDS * width} lines through the bounding sphere meet the asset")
    x_o, w_o, n = torch.cat(parts)[:count].unbind(1)
    around = Occlusion.of(asset, scene)
    return Hits(x_o, w_o, n, around.tensor(to_vector(x_o, mi.Point3f), to_vector(n), "cpu"))
