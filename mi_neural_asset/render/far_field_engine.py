"""Who evaluates the networks of far-field assets; the counterpart of `engine`."""

from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import mitsuba as mi
import torch
from torch import Tensor

from ..interop import to_float, to_torch, to_vector
from ..threads import torch_at_work
from .engine import CHUNK, Networks


@dataclass
class Sites:
    """Tensors of one batch of events, [N, ...]; the renderer treats them as opaque."""

    n: Tensor
    sites: list[Tensor]


class FarFieldEngine(Networks):
    """Evaluates one far-field model.

    Args:
        model: a `FarField` (or any module with its methods).
        device: torch device.
    """

    @torch_at_work()
    @torch.no_grad()
    def begin(self, x_o: mi.Point3f, w_o: mi.Vector3f, n: mi.Vector3f, occlusion: Tensor, copies: int = 1) -> Sites:
        """What the networks read about lanes that hit the asset; occlusion [N, K] is what `Occlusion` says about x_o.

        Each hit is there `copies` times, one after the other.
        """
        x_o, w_o, n = (to_torch(v, self.device) for v in (x_o, w_o, n))
        sites = self.model.sites(x_o, w_o, n, occlusion)
        if copies > 1:
            n, *sites = (value.repeat_interleave(copies, 0) for value in (n, *sites))
        return Sites(n, sites)

    @torch_at_work()
    @torch.no_grad()
    def evaluate(self, batch: Sites, lanes: mi.UInt32, w: mi.Vector3f) -> tuple[mi.Color3f, mi.Float]:
        """For some lanes and directions w (asset frame): F' and the sampler's density."""
        value, density = self._in_chunks(batch, lanes, to_torch(w, self.device), self._evaluate)
        return to_vector(value, mi.Color3f), to_float(density)

    @torch_at_work()
    @torch.no_grad()
    def draw(self, batch: Sites, z: mi.Point2f) -> tuple[mi.Vector3f, mi.Color3f, mi.Float]:
        """For all lanes: w_i (asset frame), F' / density, and the density, from uniform z."""
        lanes = dr.arange(mi.UInt32, dr.width(z))
        w, weight, density = self._in_chunks(batch, lanes, to_torch(z, self.device), self._draw)
        return to_vector(w), to_vector(weight, mi.Color3f), to_float(density)

    def _in_chunks(self, batch: Sites, lanes: mi.UInt32, values: Tensor, function) -> tuple:  # noqa: ANN001
        index = to_torch(lanes, self.device)
        parts = []
        for k in range(0, index.shape[0], CHUNK):
            rows = index[k : k + CHUNK]
            parts.append(function([site[rows] for site in batch.sites], batch.n[rows], values[k : k + CHUNK]))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _evaluate(self, sites: list[Tensor], n: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.value(sites, w, n), self.model.log_density(sites, w, n).exp()

    def _draw(self, sites: list[Tensor], n: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w, log_p = self.model.sample(sites, n, z)
        density = log_p.exp()
        return w, self.model.value(sites, w, n) / density[:, None], density
