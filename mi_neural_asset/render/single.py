"""Single scattering in volumes, which their networks leave out: what the direct lobe is to a surface.

x_o is a collision already, drawn in proportion to the transmittance of the camera's side.  There the phase function takes the
place of the BSDF: it is multiplied with light seen through the density (ratio tracking), and sampled for a ray that goes on if it
leaves without another collision (delta tracking).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import drjit as dr
import mitsuba as mi

from . import exits
from .instances import Model
from .neural import Hits


@dataclass
class Scattered:
    """Rays that have left after one collision, in the world."""

    o: mi.Point3f  # beyond the asset
    d: mi.Vector3f
    weight: mi.Spectrum  # 0 where they collide again
    pdf: mi.Float  # solid angle density at x_o
    gap: mi.Float  # distance from o to x_o, which lies behind: negative


class SingleScattering:
    """Single scattering at a batch of lanes.

    Args:
        scene: the scene, for emitters.
        model: of a volume.
        hits: first collisions.
        clear: says whether nothing stands in the way of rays (see `volumes`).
        seed: gives a new seed of free flights at each call.
    """

    def __init__(
        self, scene: mi.Scene, model: Model, hits: Hits, clear: Callable[[mi.Ray3f, mi.Bool], mi.Bool], seed: Callable[[], mi.UInt32]
    ) -> None:
        self._scene, self._density, self._hits, self._clear, self._seed = scene, model.density, hits, clear, seed
        f = hits.frames
        self._mei = mei = self._density.collision(f.point_to_asset(hits.p), f.to_asset(hits.wo))
        self._albedo = dr.select(mei.sigma_t > 0, mei.sigma_s / mei.sigma_t, 0)
        dr.eval(self._mei, self._albedo)

    def _way_out(self, w: mi.Vector3f, ratio: bool) -> tuple[mi.Float, mi.Float]:
        """(what passes towards w, in the asset's frame; length to beyond the asset in the world)."""
        passes, length = self._density.way_out(self._mei, w, self._seed(), ratio)
        return passes, length * self._hits.frames.scale

    def light_sampling(self, z: mi.Point2f, mis: bool) -> mi.Spectrum:
        """Light sampled from x_o, without the path's throughput; without `mis` of delta lights alone."""
        h = self._hits
        ds, light = self._scene.sample_emitter_direction(exits.interaction(h.p, h.time, h.wavelengths), z, False)
        w = h.frames.to_asset(ds.d)
        value, pdf = self._mei.medium.phase_function().eval_pdf(mi.PhaseFunctionContext(None), self._mei, w)
        useful = (ds.pdf > 0) & (ds.delta | mis)
        passes, length = self._way_out(w, True)
        ray = mi.Ray3f(h.p + length * ds.d, ds.d, h.time, h.wavelengths)
        ray.maxt = (ds.dist - length) * (1 - mi.math.ShadowEpsilon)
        useful = self._clear(ray, useful & (passes > 0) & (ray.maxt > 0))
        weight = dr.select(ds.delta, 1, exits.power_heuristic(ds.pdf, pdf))
        return dr.select(useful, self._albedo * value * light * (passes * weight), 0)

    def continuation(self, z: mi.Float, z_direction: mi.Point2f) -> Scattered:
        """Rays drawn from the phase function."""
        h = self._hits
        phase = self._mei.medium.phase_function()
        w, weight, pdf = phase.sample(mi.PhaseFunctionContext(None), self._mei, z, z_direction)
        passes, length = self._way_out(w, False)
        d = h.frames.to_world(w)
        return Scattered(h.p + length * d, d, self._albedo * weight * passes, pdf, -length)
