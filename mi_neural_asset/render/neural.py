"""One scattering event on an asset (paper, Algorithm 3 and Eq. 17-20), for lanes that have been gathered.

The networks draw u_i; light is then sampled as seen from u_i, and w_i is drawn for the next ray; light as seen from x_o is
a third technique (`exits`).  Rays start at x_i, the projection of u_i to the boundary.  All techniques use densities over
directions at u_i, so that their weights add up to one: the emitter's density of a hit is asked from u_i as well
(`Continuation.reference`), not from x_i.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import drjit as dr
import mitsuba as mi
from torch import Tensor

from ..flights import mean
from ..occlusion import SELF_OFFSET
from . import exits
from .exits import Techniques
from .instances import Frames, Model
from .lanes import repeat, take

ENOUGH = 0.5  # density of u_i, in parts of one that is even over all directions: what the lobe draws with less plays roulette


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
    lobe: mi.Float  # 1 / q(u), the density of u_i per solid angle at x_o; 0 where the lobe does not reach
    gap: mi.Float  # distance from o to u_i: emitters nearer than this cannot be sampled from u_i


@dataclass
class Statistics:
    """Counters over a render; those of `count` are up to date once `settle` was called."""

    exits: float = 0  # of each hit of a camera ray; below 1: at this share of them; 0: paths do not fork
    events: int = 0  # neural scattering events
    projected: int = 0  # sampled incident rays that were projected back
    missed: int = 0  # of these, how many did not meet the asset
    invalid: int = 0  # paths that were ended because a weight or a direction was not finite
    _waiting: list[tuple[str, mi.UInt32]] = field(default_factory=list, repr=False)

    def count(self, name: str, found: mi.Bool) -> None:
        """Add the number of lanes with `found` to a counter, without waiting for it."""
        self._waiting.append((name, dr.count(found)))

    def settle(self) -> None:
        """Wait for all that was counted."""
        for name, number in self._waiting:
            setattr(self, name, getattr(self, name) + int(number[0]))
        self._waiting.clear()

    @property
    def miss_rate(self) -> float:
        """Share of sampled rays that miss the asset."""
        return self.missed / max(self.projected, 1)


class AssetEvent:
    """What events on assets of all kinds share: the lanes, in the asset's frame, and who is asked about them.

    Args:
        scene: the scene, for emitters and occlusion.
        model: weights and boundary.
        hits: where the asset was hit.
        copies: lanes of each hit, one after the other.
        once: light is sampled from u_i for the first lane of each hit alone.
        techniques: which are in use.
        statistics: counters to add to.
        clear: says whether nothing stands in the way of rays, where that is not for the scene to say (see `volumes`).

    Attributes:
        hits: of each lane.
        lights: lanes of each hit for which light is sampled.
    """

    def __init__(
        self, scene: mi.Scene, model: Model, hits: Hits, *, copies: int, once: bool, techniques: Techniques, statistics: Statistics,
        clear: Callable[[mi.Ray3f, mi.Bool], mi.Bool] | None = None,
    ) -> None:  # fmt: skip
        self._scene, self._model, self._statistics = scene, model, statistics
        self._techniques, self._clear = techniques, clear or (lambda ray, active: active & ~scene.ray_test(ray, active))
        self.hits, self.copies, self.lights = repeat(hits, copies), copies, 1 if once else copies
        self._x_o = self.hits.frames.point_to_asset(self.hits.p)
        dr.eval(self.hits, self._x_o)
        statistics.events += dr.width(self._x_o)

    @property
    def _light_samples(self) -> float:
        """Of an exit, on average."""
        return self.lights / self.copies

    def _inputs(self, hits: Hits) -> tuple[mi.Point3f, mi.Vector3f, mi.Vector3f, Tensor]:
        """Of each hit x_o, w_o and n in the asset's frame, and what `Occlusion` says about x_o."""
        f, model = hits.frames, self._model
        x_o, n = f.point_to_asset(hits.p), f.to_asset(hits.n)
        return x_o, f.to_asset(hits.wo), n, model.projection.occlusion.tensor(x_o, n, model.engine.device)


def _interaction(hits: Hits, p: mi.Point3f) -> mi.SurfaceInteraction3f:
    """A reference point of lanes."""
    return exits.interaction(p, hits.time, hits.wavelengths)


class NeuralEvent(AssetEvent):
    """One event for a batch of lanes.

    Args:
        z_channel, z_exit: uniform numbers of each lane.
        hero: see `Engine.begin`.
        scene, model, hits, **shared: see `AssetEvent`.
    """

    def __init__(
        self, scene: mi.Scene, model: Model, hits: Hits, z_channel: mi.Float, z_exit: mi.Point2f, *, hero: bool, **shared: Any  # noqa: ANN401
    ) -> None:
        super().__init__(scene, model, hits, **shared)
        self._event = model.engine.begin(*self._inputs(hits), z_channel, z_exit, hero)
        self._u = model.engine.exit_point(self._event)
        self._q_u = model.engine.exit_density(self._event)

    def albedo(self) -> mi.Spectrum:
        """alpha: the expected weight of a continuation, known before it is drawn."""
        return mi.Spectrum(self._model.engine.albedo(self._event))

    def _start(self, frames: Frames, u: mi.Point3f, w: mi.Vector3f, x_o: mi.Point3f) -> tuple[mi.Point3f, mi.Float, mi.Bool]:
        """Where the ray (u, w) starts in the world, its distance to u there, and whether it met the asset."""
        gap, met = self._model.projection.gap(u, w, x_o, mi.Bool(True))
        gap = gap - SELF_OFFSET
        return frames.point_to_world(u - gap * w), gap * frames.scale, met

    def _sees(
        self, hits: Hits, x_o: mi.Point3f, u: mi.Point3f, w: mi.Vector3f, d: mi.Vector3f, distance: mi.Float, active: mi.Bool
    ) -> mi.Bool:
        """Whether nothing stands between x_i of the incident ray (u, w), d in the world, and a light `distance` from u."""
        start, gap, _ = self._start(hits.frames, u, w, x_o)
        ray = mi.Ray3f(start, d, hits.time, hits.wavelengths)
        ray.maxt = (distance + gap) * (1 - mi.math.ShadowEpsilon)
        return self._clear(ray, active)

    def _lobe(self, hits: Hits) -> Callable[[mi.Vector3f, mi.Vector3f], mi.Float]:
        """Density of d around a at hits."""
        return lambda a, d: self._model.lobe.density(a, hits.n, d)

    def light_sampling(self, z: mi.Point2f) -> tuple[mi.UInt32, mi.Spectrum]:
        """Light sampled from u_i: (lanes, radiance), the radiance without the path's throughput.

        Without this technique only delta lights are sampled, which rays cannot hit.

        Args:
            z: uniform numbers for `lights` lanes of each hit.
        """
        use, every = self._techniques, self.lights == self.copies
        rows = dr.arange(mi.UInt32, dr.width(z)) * (1 if every else dr.opaque(mi.UInt32, self.copies))
        h, x_o, u_o, q_u = (v if every else take(v, rows) for v in (self.hits, self._x_o, self._u, self._q_u))
        f, u = h.frames, h.frames.point_to_world(u_o)
        ds, light = self._scene.sample_emitter_direction(_interaction(h, u), z, False)
        w = f.to_asset(ds.d)
        useful = (ds.pdf > 0) & dr.any(light != 0)
        if not use.light:
            useful &= ds.delta & (not use.lobe)
        useful = self._sees(h, x_o, u_o, w, ds.d, ds.dist, useful)
        lobe = mi.Float(0)  # density of the lobe, in parts of q(u)
        if use.lobe:
            ds_o = exits.seen_from(ds, h.p)
            lobe = exits.lobe_ray_density(self._scene, self._lobe(h), _interaction(h, h.p), ds_o, ds, dr.normalize(u - h.p)) / q_u
            lobe = dr.select(self._model.projection.leaves(u_o, w), lobe, 0)
        dr.eval(useful, w, light, ds.pdf, ds.delta, lobe)
        chosen = dr.compress(useful)
        if dr.width(chosen) == 0:
            return chosen, dr.zeros(mi.Spectrum, 0)
        w, light, delta, pdf, lobe, lanes = (take(value, chosen) for value in (w, light, ds.delta, ds.pdf, lobe, rows))
        value, density = self._model.engine.evaluate(self._event, lanes, w)
        value, share = mi.Spectrum(value) / self._light_samples, mi.Float(1)
        if use.light:
            share = use.share("light", dr.select(delta, 0, density), pdf * self._light_samples, lobe)
        return lanes, value * light * share

    def lobe_sampling(self, z_light: mi.Point2f, z_exit: mi.Point2f, z_bar: mi.Float) -> tuple[mi.UInt32, mi.Spectrum]:
        """Light sampled from x_o, u_i around its direction: (lanes, radiance), the radiance without the path's throughput.

        Where little of the asset's light leaves at u_i, Russian roulette is played (see `Engine.evaluate_ray`).

        Args:
            z_light, z_exit, z_bar: uniform numbers.
        """
        f, h, use, projection = self.hits.frames, self.hits, self._techniques, self._model.projection
        x_o = _interaction(h, h.p)
        ds_o, _ = self._scene.sample_emitter_direction(x_o, z_light, False)
        d = self._model.lobe.draw(ds_o.d, h.n, z_exit)
        u = projection.exit(self._x_o, f.to_asset(d))
        at_u = _interaction(h, f.point_to_world(u))
        ds_u = exits.seen_from(ds_o, at_u.p)
        w = f.to_asset(ds_u.d)
        density = exits.lobe_ray_density(self._scene, self._lobe(h), x_o, ds_o, ds_u, d)
        bar = ENOUGH / (4 * math.pi) * mean(self.albedo())
        useful = projection.leaves(u, w) & (density > 0)
        radiance = self._scene.eval_emitter_direction(at_u, ds_u, useful)
        useful = self._sees(h, self._x_o, u, w, ds_u.d, ds_u.dist, useful & dr.any(radiance != 0))
        p_light = exits.emitter_density(self._scene, at_u, ds_u)
        dr.eval(useful, u, w, density, radiance, p_light, ds_o.delta, bar)
        lanes = dr.compress(useful)
        if dr.width(lanes) == 0:
            return lanes, dr.zeros(mi.Spectrum, 0)
        ray = (take(v, lanes) for v in (u, w, bar, z_bar))
        value, q_u, q_w = self._model.engine.evaluate_ray(self._event, lanes, *ray)
        delta, density, p_light, radiance = (take(v, lanes) for v in (ds_o.delta, density, p_light, radiance))
        share = use.share("lobe", dr.select(delta, 0, q_w), p_light * self._light_samples, density / q_u)
        return lanes, mi.Spectrum(value) * radiance * (share / density)

    def continuation(self, lanes: mi.UInt32, z: mi.Point2f) -> Continuation:
        """Next rays for some lanes; z: uniform numbers of these lanes."""
        w, weight, density = self._model.engine.draw(self._event, lanes, z)
        frames = take(self.hits.frames, lanes)
        u = take(self._u, lanes)
        start, gap, met = self._start(frames, u, w, take(self._x_o, lanes))
        lobe = dr.select(self._model.projection.leaves(u, w), 1 / take(self._q_u, lanes), 0)
        result = Continuation(start, frames.to_world(w), mi.Spectrum(weight), density, frames.point_to_world(u), lobe, gap)
        dr.eval(result, met)  # together: each evaluation traces the rays
        self._statistics.projected += dr.width(lanes)
        self._statistics.count("missed", ~met)
        return result
