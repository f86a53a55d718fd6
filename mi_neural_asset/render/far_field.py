"""One scattering event on a far-field asset, for lanes that have been gathered: the counterpart of `neural`.

Light is sampled as seen from x_o, and w_i is drawn from the model's own sampler (paper, "Baseline rendering": the standard
emitter and path sampling at x_o).  Rays pass through the asset itself, whose shadow is part of F': they start where the line from
x_o along w_i leaves the asset, and everything else is in their way.
"""

from __future__ import annotations

from typing import Any

import drjit as dr
import mitsuba as mi

from ..occlusion import SELF_OFFSET
from . import exits
from .instances import Frames, Model
from .lanes import take
from .neural import AssetEvent, Continuation, Hits


class FarFieldEvent(AssetEvent):
    """One event for a batch of lanes; arguments and methods are those of `NeuralEvent`.

    `z_channel` and `hero` have no meaning here: one density serves all channels.  The lobe technique has none either.
    """

    def __init__(
        self, scene: mi.Scene, model: Model, hits: Hits, z_channel: mi.Float, z_exit: mi.Point2f, *, hero: bool, **shared: Any  # noqa: ANN401
    ) -> None:
        super().__init__(scene, model, hits, **shared)
        self._sites = model.engine.begin(*self._inputs(hits), self.copies)
        self._w, self._weight, self._density = model.engine.draw(self._sites, z_exit)

    def albedo(self) -> mi.Spectrum:
        """The weight of the continuation that has been drawn (paper: the lobes are chosen by the weights of their samples)."""
        return mi.Spectrum(self._weight)

    def _start(self, frames: Frames, x_o: mi.Point3f, w: mi.Vector3f) -> mi.Point3f:
        """Where the line from x_o along w leaves the asset, in the world."""
        projection = self._model.projection
        u = projection.exit(x_o, w)
        gap, _ = projection.gap(u, w, x_o, mi.Bool(True))
        return frames.point_to_world(u - (gap - SELF_OFFSET) * w)

    def light_sampling(self, z: mi.Point2f) -> tuple[mi.UInt32, mi.Spectrum]:
        """Light sampled from x_o: (lanes, radiance), the radiance without the path's throughput."""
        f, h = self.hits.frames, self.hits
        ds, light = self._scene.sample_emitter_direction(exits.interaction(h.p, h.time, h.wavelengths), z, False)
        w = f.to_asset(ds.d)
        useful = (ds.pdf > 0) & dr.any(light != 0)
        if not self._techniques.light:
            useful &= ds.delta
        start = self._start(f, self._x_o, w)
        ray = mi.Ray3f(start, ds.d, h.time, h.wavelengths)
        ray.maxt = (ds.dist - dr.norm(start - h.p)) * (1 - mi.math.ShadowEpsilon)
        useful = self._clear(ray, useful & (ray.maxt > 0))
        dr.eval(useful, w, light, ds.pdf, ds.delta)
        lanes = dr.compress(useful)
        if dr.width(lanes) == 0:
            return lanes, dr.zeros(mi.Spectrum, 0)
        value, density = self._model.engine.evaluate(self._sites, lanes, take(w, lanes))
        delta, pdf = take(ds.delta, lanes), take(ds.pdf, lanes)
        share = mi.Float(1)
        if self._techniques.light:
            share = self._techniques.share("light", dr.select(delta, 0, density), pdf, mi.Float(0))
        return lanes, mi.Spectrum(value) * take(light, lanes) * share

    def lobe_sampling(self, z_light: mi.Point2f, z_exit: mi.Point2f, z_bar: mi.Float) -> tuple[mi.UInt32, mi.Spectrum]:
        """No light: F' does not know where light enters."""
        return dr.zeros(mi.UInt32, 0), dr.zeros(mi.Spectrum, 0)

    def continuation(self, lanes: mi.UInt32, z: mi.Point2f) -> Continuation:
        """Next rays for some lanes, as drawn when the event began."""
        frames, w, x_o = take(self.hits.frames, lanes), take(self._w, lanes), take(self._x_o, lanes)
        result = Continuation(
            o=self._start(frames, x_o, w), d=frames.to_world(w), weight=mi.Spectrum(take(self._weight, lanes)),
            pdf=take(self._density, lanes), reference=take(self.hits.p, lanes),
            lobe=dr.zeros(mi.Float, dr.width(lanes)), gap=dr.zeros(mi.Float, dr.width(lanes)),
        )  # fmt: skip
        dr.eval(result)
        return result
