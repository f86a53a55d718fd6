"""One scattering event on an asset (paper, Algorithm 3 and Eq. 17-20), for lanes that have been gathered.

The networks draw u_i; light is then sampled as seen from u_i, and w_i is drawn for the next ray.  Rays start at x_i, the
projection of u_i to the boundary.  Both techniques use densities over directions at u_i, so that their weights add up to
one: the emitter's density of a hit is asked from u_i as well (`Continuation.reference`), not from x_i.
"""

from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import mitsuba as mi

from .instances import Frames, Model
from .lanes import take
from .projection import SELF_OFFSET


@dataclass
class Hits:
    """Lanes that hit one model: the inputs of an event, world space."""

    p: mi.Point3f
    wo: mi.Vector3f  # unit, away from the asset
    n: mi.Vector3f  # shading normal on the side of wo
    time: mi.Float
    wavelengths: mi.Spectrum
    frames: Frames


@dataclass
class Continuation:
    """A sampled incident ray, world space."""

    o: mi.Point3f
    d: mi.Vector3f
    weight: mi.Spectrum
    pdf: mi.Float  # solid angle density at u_i
    reference: mi.Point3f  # u_i
    gap: mi.Float  # distance from o to u_i: emitters nearer than this cannot be sampled from u_i


@dataclass
class Statistics:
    """Counters over a render."""

    events: int = 0  # neural scattering events
    projected: int = 0  # sampled incident rays that were projected back
    missed: int = 0  # of these, how many did not meet the asset
    invalid: int = 0  # paths that were ended because a weight or a direction was not finite

    @property
    def miss_rate(self) -> float:
        """Share of sampled rays that miss the asset."""
        return self.missed / max(self.projected, 1)


def power_heuristic(a: mi.Float, b: mi.Float) -> mi.Float:
    """Weight of technique a against b, exponent 2 (Veach and Guibas 1995), as Mitsuba's path tracer uses it."""
    ratio = b / a
    return dr.select(a > 0, 1 / (1 + ratio * ratio), 0)


class NeuralEvent:
    """One event for a batch of lanes.

    Args:
        scene: the scene, for emitters and occlusion.
        model: weights and boundary.
        hits: the lanes.
        z_channel, z_exit: uniform numbers.
        hero: see `Engine.begin`.
    """

    def __init__(
        self, scene: mi.Scene, model: Model, hits: Hits, z_channel: mi.Float, z_exit: mi.Point2f, *, hero: bool, statistics: Statistics
    ) -> None:
        self._scene, self._model, self._hits, self._statistics = scene, model, hits, statistics
        f = hits.frames
        self._x_o = f.point_to_asset(hits.p)
        self._event = model.engine.begin(self._x_o, f.to_asset(hits.wo), f.to_asset(hits.n), z_channel, z_exit, hero)
        self._u = model.engine.exit_point(self._event)
        dr.eval(self._x_o)
        statistics.events += dr.width(hits.p)

    def albedo(self) -> mi.Spectrum:
        """alpha: the expected weight of a continuation, known before it is drawn."""
        return mi.Spectrum(self._model.engine.albedo(self._event))

    def _start(self, frames: Frames, u: mi.Point3f, w: mi.Vector3f, x_o: mi.Point3f) -> tuple[mi.Point3f, mi.Float, mi.Bool]:
        """Where the ray (u, w) starts in the world, its distance to u there, and whether it met the asset."""
        gap, met = self._model.projection.gap(u, w, x_o, mi.Bool(True))
        gap = gap - SELF_OFFSET
        return frames.point_to_world(u - gap * w), gap * frames.scale, met

    def emitter_sampling(self, z: mi.Point2f, *, delta_only: bool) -> tuple[mi.UInt32, mi.Spectrum]:
        """Light sampled from u_i: (lanes, radiance), the radiance without the path's throughput.

        delta_only: leave everything that rays can hit to them (no multiple importance sampling).
        """
        f, h = self._hits.frames, self._hits
        reference = dr.zeros(mi.SurfaceInteraction3f, dr.width(self._u))
        reference.p, reference.time, reference.wavelengths = f.point_to_world(self._u), h.time, h.wavelengths
        ds, light = self._scene.sample_emitter_direction(reference, z, False)
        w = f.to_asset(ds.d)
        useful = (ds.pdf > 0) & dr.any(light != 0)
        if delta_only:
            useful &= ds.delta
        start, gap, _ = self._start(f, self._u, w, self._x_o)
        ray = mi.Ray3f(start, ds.d, h.time, h.wavelengths)
        ray.maxt = (ds.dist + gap) * (1 - mi.math.ShadowEpsilon)
        useful &= ~self._scene.ray_test(ray, useful)
        dr.eval(useful, w, light, ds.pdf, ds.delta)
        lanes = dr.compress(useful)
        if dr.width(lanes) == 0:
            return lanes, dr.zeros(mi.Spectrum, 0)
        value, density = self._model.engine.evaluate(self._event, lanes, take(w, lanes))
        delta, pdf = take(ds.delta, lanes), take(ds.pdf, lanes)
        mis = dr.select(delta, 1, power_heuristic(pdf, density))
        return lanes, mi.Spectrum(value) * take(light, lanes) * mis

    def continuation(self, lanes: mi.UInt32, z: mi.Point2f) -> Continuation:
        """Next rays for some lanes; z: uniform numbers of these lanes."""
        w, weight, density = self._model.engine.draw(self._event, lanes, z)
        frames = take(self._hits.frames, lanes)
        u = take(self._u, lanes)
        start, gap, met = self._start(frames, u, w, take(self._x_o, lanes))
        result = Continuation(start, frames.to_world(w), mi.Spectrum(weight), density, frames.point_to_world(u), gap)
        missed = dr.count(~met)
        dr.eval(result, missed)
        self._statistics.projected += dr.width(lanes)
        self._statistics.missed += int(missed[0])
        return result
