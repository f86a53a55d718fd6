"""Training paths: forward random walks through an asset, from where a viewer's ray enters to where it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import drjit as dr
import mitsuba as mi
import torch
from torch import Tensor

from ..flights import Media
from ..specular import has_mirrors
from . import walk as _walk
from .walk import Beam

EXITED, ABSORBED, TRUNCATED, INVALID = _walk.EXITED, _walk.ABSORBED, _walk.TRUNCATED, _walk.INVALID


@dataclass
class Paths:
    """N paths in asset space (float32 on the CPU unless said otherwise).

    Directions have length one.  w_o points from x_o to the viewer, w_i from x_i away from the asset, to the light.
    """

    x_o: Tensor  # [N, 3] first hit of the viewer's ray
    w_o: Tensor  # [N, 3]
    n: Tensor  # [N, 3] shading normal at x_o, on the side where the geometric normal faces w_o
    x_i: Tensor  # [N, 3] last hit, where the path leaves
    w_i: Tensor  # [N, 3]
    n_i: Tensor  # [N, 3] shading normal at x_i, on the side where the geometric normal faces w_i
    x_v: Tensor  # [N, 3] first hit of the ray from all around: x_o, unless it was mirrored on its way there
    w_v: Tensor  # [N, 3] against that ray
    n_v: Tensor  # [N, 3] as n, there
    beta: Tensor  # [N, 3] throughput per colour channel; 0 unless the path exited
    chain: Tensor  # [N, 3] throughput from x_v to x_o over the probability of going there; 1 where they are one
    adjoint: Tensor  # [N] throughput of the path read backwards, over beta (see `mi_neural_asset.baking.reciprocity`)
    events: Tensor  # [N] int32, surface and medium scattering events (null collisions and null crossings do not count)
    steps: Tensor  # [N] int32, collisions and crossings, null ones included
    status: Tensor  # [N] uint8: EXITED, ABSORBED (zero throughput or roulette), TRUNCATED or INVALID
    mirrored: Tensor  # [N] bool, the last event was a reflection by a smooth surface; False unless the sampler is `specular`
    misses: int  # entering rays that missed the asset, or had no mirror reflection to follow; they are retried and give no path
    truncated: int  # paths cut at `max_events`
    invalid: int  # paths with a non-finite weight or direction, or scattering outside the bounding sphere
    bounces: int  # collisions and crossings of all paths, null ones included
    occupancy: float  # share of the loop's lane slots that did useful work, at a vector width of 16
    volume: bool = False  # paths begin at a collision, in a medium without a boundary

    def __len__(self) -> int:
        return self.x_o.shape[0]

    def rows(self, index: Tensor) -> Paths:
        """Some of the paths; the counts stay those of all."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self) if f.type == "Tensor"})

    @property
    def direct(self) -> Tensor:
        """[N] bool: rendered analytically: left straight from x_o, by any lobe of the BSDF there, a null one too; single scattering
        in a volume."""
        return (self.status == EXITED) & ((self.events if self.volume else self.steps) == 1)


class PathSampler:
    """Samples paths through an asset.

    Each path starts at a uniform point of the bounding sphere in a cosine-weighted direction, meets the asset at x_o,
    and scatters at surfaces (BSDF sampling) and in media (delta tracking, balance over colour channels) until it leaves
    or is absorbed.  The mean of beta over paths with the same (x_o, w_o) is the asset's directional albedo.

    Parameters
    ----------
    scene: the asset alone; emitters and sensors have no influence.
    center, radius: the asset's bounding sphere, in the scene's units.  A sphere that is too small loses paths.
    lanes: paths in flight; without influence on the result.
    rr_depth: events before Russian roulette; survival is min(1, max(beta) eta^2).
    max_events: collisions and crossings, null ones included, after which a path is cut.
    volume: x_o is the first real collision in a medium, and w_o the normal there; null boundaries are crossed on the way.
    specular: paths whose first event is a reflection by a smooth surface carry nothing, nor do those that leave unscattered, for the
        renderer follows both; some viewer's rays are followed to what their reflection meets, which becomes x_o.

    Raises ValueError for a scene without shapes, a bad sphere or bad limits, and where no ray meets the asset.
    """

    def __init__(
        self,
        scene: mi.Scene,
        center: Sequence[float],
        radius: float,
        *,
        lanes: int = 32768,
        rr_depth: int = 8,
        max_events: int = 4096,
        volume: bool = False,
        specular: bool = False,
    ) -> None:
        if not scene.shapes():
            raise ValueError("scene: holds no shape; pass the scene of the asset to be sampled")
        center = [float(v) for v in center]
        if len(center) != 3 or not all(abs(v) < float("inf") for v in center):
            raise ValueError(f"center: expected 3 finite numbers, got {center}")
        if not 0 < float(radius) < float("inf"):
            raise ValueError(f"radius: expected a positive number, got {radius}")
        for name, value in (("lanes", lanes), ("max_events", max_events)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        self.scene, self.center, self.radius = scene, center, float(radius)
        self.lanes, self.rr_depth, self.max_events = int(lanes), int(rr_depth), int(max_events)
        self._traits = _walk.Traits(Media.of(scene), volume, specular and not volume and has_mirrors(scene))
        if volume and self._traits.media.coloured:
            raise ValueError("a volume without boundary must have the same extinction in all channels; make its sigma_t grey")

    def sample(self, count: int, seed: int, beam: Beam | None = None, group: int = 1) -> Paths:
        """Exactly `count` paths that hit the asset; the same for the same (count, seed) whatever the number of lanes.

        Path i depends on (seed, i) alone: a larger count continues a smaller one.  With a `beam` the viewer's rays are drawn from
        it instead of from all around.  With a `group`, that many paths in a row have one viewer's ray, so one (x_o, w_o).
        """
        if count < 1:
            raise ValueError(f"count: expected at least 1, got {count}")
        if group < 1 or count % group:
            raise ValueError(f"group: expected a divisor of the {count} paths, got {group}")
        out = _walk.Records.empty(count)
        lane_steps = _walk.walk(
            self.scene,
            dr.opaque(mi.Point3f, self.center),
            dr.opaque(mi.Float, self.radius),
            self._traits,
            beam,
            dr.opaque(mi.UInt32, count),
            dr.opaque(mi.UInt32, seed & 0xFFFFFFFF),
            self.lanes,
            dr.opaque(mi.UInt32, self.rr_depth),
            dr.opaque(mi.UInt32, self.max_events),
            out,
            group,
        )
        dr.eval(lane_steps)
        dr.sync_thread()
        if out.given_up[0] > 0:
            raise ValueError(
                f"{out.given_up[0]} of {count} paths found no hit in {_walk.MAX_MISSES} rays from the sphere around "
                f"{self.center} of radius {self.radius}; check that it bounds the asset tightly"
            )
        return self._paths(out, lane_steps)

    def _paths(self, out: _walk.Records, lane_steps: mi.UInt32) -> Paths:
        fields = (out.x_o, out.w_o, out.n, out.x_i, out.w_i, out.n_i, out.x_v, out.w_v, out.n_v, out.beta, out.chain)
        vectors = [v.torch().reshape(-1, 3).cpu() for v in fields]
        status = out.status.torch().cpu().to(torch.uint8)
        steps = out.steps.torch().cpu()
        bounces = int(steps.sum(dtype=torch.int64))
        slots = torch.nn.functional.pad(lane_steps.torch().cpu().to(torch.int64), (0, -self.lanes % 16))
        slots = 16 * int(slots.view(-1, 16).amax(1).sum())
        return Paths(
            *vectors,
            adjoint=out.adjoint.torch().cpu(),
            events=out.events.torch().cpu(),
            steps=steps,
            status=status,
            mirrored=out.mirrored.torch().cpu() > 0,
            misses=int(out.misses[0]),
            truncated=int((status == TRUNCATED).sum()),
            invalid=int((status == INVALID).sum()),
            bounces=bounces,
            occupancy=bounces / max(slots, 1),
            volume=self._traits.volume,
        )
