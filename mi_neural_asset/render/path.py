"""Wavefront path tracing with neural assets: one Dr.Jit launch or a few a bounce, torch in between.

Ordinary surfaces are treated as Mitsuba's `path` integrator treats them: emitter sampling and BSDF sampling with multiple
importance sampling.  Lanes that hit an asset do the same with the direct lobe f (Eq. 22) where the asset has one, and then
choose the next ray between the direct sample and the neural one (Eq. 23).  Dead lanes are removed after each bounce.
"""

from __future__ import annotations

from dataclasses import dataclass

import drjit as dr
import mitsuba as mi

from .instances import SceneAssets
from .lanes import take
from .neural import Hits, NeuralEvent, Statistics, power_heuristic
from .passes import Passes


@dataclass(frozen=True)
class PathOptions:
    """How paths are traced; the names are those of `nap_path`'s properties."""

    max_depth: int = -1
    rr_depth: int = 5
    hide_emitters: bool = False
    mis: bool = True
    hero: bool = False

    @classmethod
    def from_properties(cls, props: mi.Properties, max_depth: int, rr_depth: int) -> PathOptions:
        """Reads the remaining properties of `nap_path`.

        Raises:
            ValueError: `channels` is neither "balance" nor "hero", or the variant has no RGB colours.
        """
        if not mi.is_rgb or mi.is_polarized:
            raise ValueError(f"nap_path: variant {mi.variant()!r} has no plain RGB colours; use llvm_ad_rgb or cuda_ad_rgb")
        channels = props.get("channels", "balance")
        if channels not in ("balance", "hero"):
            raise ValueError(f'nap_path: "channels" must be "balance" or "hero", got {channels!r}')
        return cls(max_depth, rr_depth, props.get("hide_emitters", False), props.get("mis", True), channels == "hero")


@dataclass
class Lanes:
    """State of the paths that are alive, one lane each."""

    index: mi.UInt32  # lane of the full wavefront
    ray: mi.Ray3f
    β: mi.Spectrum  # path throughput weight
    η: mi.Float  # product of relative indices of refraction
    reference: mi.Point3f  # where emitter sampling was done for this ray
    pdf: mi.Float  # density of this ray's direction there
    delta: mi.Bool  # emitter sampling could not have found it
    gap: mi.Float  # distance from the ray's start to `reference`, along the ray (0 on ordinary surfaces)


class Randoms:
    """Uniform numbers of a full-width sampler, for the lanes that are alive."""

    def __init__(self, sampler: mi.Sampler) -> None:
        self._sampler = sampler

    def next_1d(self, index: mi.UInt32) -> mi.Float:
        value = self._sampler.next_1d()
        dr.eval(value)
        return take(value, index)

    def next_2d(self, index: mi.UInt32) -> mi.Point2f:
        value = self._sampler.next_2d()
        dr.eval(value)
        return take(value, index)


class PathTracer:
    """Traces camera rays through one scene.

    Args:
        scene: the scene.
        assets: its neural assets.
        options: see `PathOptions`.
    """

    def __init__(self, scene: mi.Scene, assets: SceneAssets, options: PathOptions) -> None:
        self.scene, self.assets, self.options = scene, assets, options
        self.statistics = Statistics()

    def trace(self, ray: mi.Ray3f, sampler: mi.Sampler) -> tuple[mi.Spectrum, mi.Bool]:
        """Radiance along rays, [W] lanes, and which of them met something (the alpha channel)."""
        width, options = dr.width(ray), self.options
        radiance = dr.zeros(mi.Spectrum, width)
        valid = dr.full(mi.Bool, not options.hide_emitters and self.scene.environment() is not None, width)
        dr.eval(radiance, valid)
        if options.max_depth == 0:
            return radiance, dr.zeros(mi.Bool, width)
        randoms = Randoms(sampler)
        lanes = Lanes(
            index=dr.arange(mi.UInt32, width), ray=mi.Ray3f(ray), β=dr.full(mi.Spectrum, 1, width), η=dr.full(mi.Float, 1, width),
            reference=dr.zeros(mi.Point3f, width), pdf=dr.full(mi.Float, 1, width), delta=dr.full(mi.Bool, True, width),
            gap=dr.zeros(mi.Float, width),
        )  # fmt: skip
        dr.eval(lanes)
        depth = 0
        while dr.width(lanes.index) > 0:
            lanes = self._bounce(depth, lanes, randoms, radiance, valid)
            depth += 1
        return radiance, valid

    def _bounce(self, depth: int, lanes: Lanes, randoms: Randoms, radiance: mi.Spectrum, valid: mi.Bool) -> Lanes:
        """One bounce for all lanes; adds to `radiance`, returns the lanes that go on."""
        options, scene = self.options, self.scene
        if depth == 0 and options.hide_emitters:
            pi = self._skip_emitters(lanes.ray)
            si = pi.compute_surface_interaction(lanes.ray)
        else:
            si = scene.ray_intersect(lanes.ray, +mi.RayFlags.All, depth == 0)
        self._add_emission(depth, lanes, si, radiance)
        active = si.is_valid() & (options.max_depth < 0 or depth + 1 < options.max_depth)
        if len(self.assets):
            model, instance = self.assets.lookup(si)
            neural = active & (model > 0)
        else:
            model = instance = mi.UInt32(0)
            neural = mi.Bool(False)
        direct = active & (~neural | self._separates(model))
        step, null = self._surface_step(lanes, si, direct, randoms, radiance)
        dr.scatter(valid, True, lanes.index, si.is_valid() & (neural | ~null))
        if len(self.assets):
            dr.eval(si, step, model, instance, neural)
            for number in range(len(self.assets.models)):
                chosen = dr.compress(neural & (model == number + 1))
                if dr.width(chosen):
                    self._neural_step(number, chosen, lanes, si, instance, step, randoms, radiance)
            alive = direct | neural
        else:
            alive = direct
        return self._survivors(depth, step, alive, randoms)

    def _skip_emitters(self, ray: mi.Ray3f) -> mi.PreliminaryIntersection3f:
        helper = mi.load_dict({"type": "path", "hide_emitters": True})
        return helper.skip_area_emitters(self.scene, ray, True, mi.Bool(True))

    def _separates(self, model: mi.UInt32) -> mi.Bool:
        """Whether the asset that was hit has a direct lobe of its own."""
        result = mi.Bool(False)
        for number, entry in enumerate(self.assets.models):
            if entry.separate_direct:
                result |= model == number + 1
        return result

    def _add_emission(self, depth: int, lanes: Lanes, si: mi.SurfaceInteraction3f, radiance: mi.Spectrum) -> None:
        emitter = si.emitter(self.scene)
        lit = emitter != None  # noqa: E711 -- an array comparison
        if depth == 0 and self.options.hide_emitters:
            lit &= si.is_valid()
        if self.options.mis:
            ref = dr.zeros(mi.Interaction3f, dr.width(lanes.index))
            ref.p, ref.time, ref.wavelengths = lanes.reference, lanes.ray.time, lanes.ray.wavelengths
            ds = mi.DirectionSample3f(self.scene, si, ref)
            sampled = lit & ~lanes.delta & (~si.is_valid() | (si.t > lanes.gap))
            pdf = dr.select(sampled, self.scene.pdf_emitter_direction(ref, ds, sampled), 0)
            weight = power_heuristic(lanes.pdf, pdf)
        else:
            weight = mi.Float(1)
        value = lanes.β * emitter.eval(si, lit) * weight
        dr.scatter_add(radiance, value, lanes.index, lit)

    def _surface_step(
        self, lanes: Lanes, si: mi.SurfaceInteraction3f, active: mi.Bool, randoms: Randoms, radiance: mi.Spectrum
    ) -> tuple[Lanes, mi.Bool]:
        """Emitter and BSDF sampling at hits with an analytic BSDF: (the next rays, where a null lobe was drawn)."""
        ctx, index = mi.BSDFContext(), lanes.index
        bsdf = si.bsdf(mi.RayDifferential3f(lanes.ray))
        smooth = active & mi.has_flag(bsdf.flags(), mi.BSDFFlags.Smooth)
        ds, light = self.scene.sample_emitter_direction(si, randoms.next_2d(index), True, smooth)
        smooth &= ds.pdf != 0
        if not self.options.mis:
            smooth &= ds.delta
        z1, z2 = randoms.next_1d(index), randoms.next_2d(index)
        wo = si.to_local(ds.d)
        value, pdf, bs, weight = bsdf.eval_pdf_sample(ctx, si, wo, z1, z2, active)
        value = si.to_world_mueller(value, -wo, si.wi)
        mis = dr.select(ds.delta, 1, power_heuristic(ds.pdf, pdf))
        dr.scatter_add(radiance, lanes.β * value * light * mis, index, smooth)
        ray = si.spawn_ray(si.to_world(bs.wo))
        step = Lanes(
            index=index, ray=mi.Ray3f(ray.o, ray.d, lanes.ray.time, lanes.ray.wavelengths), β=dr.select(active, lanes.β * weight, 0),
            η=lanes.η * bs.eta, reference=si.p, pdf=bs.pdf, delta=mi.has_flag(bs.sampled_type, mi.BSDFFlags.Delta),
            gap=dr.zeros(mi.Float, dr.width(index)),
        )  # fmt: skip
        return step, mi.has_flag(bs.sampled_type, mi.BSDFFlags.Null)

    def _neural_step(
        self, number: int, chosen: mi.UInt32, lanes: Lanes, si: mi.SurfaceInteraction3f, instance: mi.UInt32,
        step: Lanes, randoms: Randoms, radiance: mi.Spectrum,
    ) -> None:  # fmt: skip
        """Neural scattering for the lanes `chosen`; overwrites their entries of `step`."""
        model = self.assets.models[number]
        index = take(lanes.index, chosen)
        β = take(lanes.β, chosen)
        ray = take(lanes.ray, chosen)
        frames = self.assets.frames(take(instance, chosen))
        n_geometric = take(mi.Vector3f(si.n), chosen)
        side = dr.select(dr.dot(n_geometric, ray.d) > 0, -1.0, 1.0)
        n = side * take(mi.Vector3f(si.sh_frame.n), chosen)
        hits = Hits(take(si.p, chosen), -ray.d, n, ray.time, ray.wavelengths, frames)
        dr.eval(hits)
        event = NeuralEvent(
            self.scene, model, hits, randoms.next_1d(index), randoms.next_2d(index), hero=self.options.hero, statistics=self.statistics
        )
        lit, light = event.emitter_sampling(randoms.next_2d(index), delta_only=not self.options.mis)
        if dr.width(lit):
            dr.scatter_add(radiance, take(β, lit) * light, take(index, lit))
        z, rows = randoms.next_2d(index), dr.arange(mi.UInt32, dr.width(chosen))
        keep = mi.Float(1)  # probability of the neural ray
        if model.separate_direct:
            direct = take(step, chosen)
            shadowed = model.projection.shadows_itself(
                frames.point_to_asset(hits.p), frames.to_asset(direct.ray.d), frames.to_asset(n_geometric), dr.any(direct.β != 0)
            )
            weight, indirect = dr.select(shadowed, 0, dr.mean(direct.β)), dr.mean(β * event.albedo())
            keep = dr.select(indirect > 0, indirect / (indirect + weight), 0)  # 1 - m of Eq. 23
            neural = randoms.next_1d(index) < keep
            β_direct = dr.select(shadowed | neural, 0, direct.β / (1 - keep))
            dr.eval(keep, neural, β_direct)
            dr.scatter(step.β, β_direct, chosen)
            rows = dr.compress(neural)
            if dr.width(rows) == 0:
                return
            keep, z, β = take(keep, rows), take(z, rows), take(β, rows)
        self._write(step, take(chosen, rows), event.continuation(rows, z), β / keep, lanes)

    @staticmethod
    def _write(step: Lanes, target: mi.UInt32, c, β: mi.Spectrum, lanes: Lanes) -> None:  # noqa: ANN001
        """Put sampled incident rays into the lanes `target` of `step`."""
        o, d = mi.Point3f(step.ray.o), mi.Vector3f(step.ray.d)
        dr.scatter(o, c.o, target)
        dr.scatter(d, c.d, target)
        step.ray.o, step.ray.d = o, d
        dr.scatter(step.β, β * c.weight, target)
        dr.scatter(step.η, take(lanes.η, target), target)
        dr.scatter(step.reference, c.reference, target)
        dr.scatter(step.pdf, c.pdf, target)
        dr.scatter(step.delta, False, target)
        dr.scatter(step.gap, c.gap, target)

    def _survivors(self, depth: int, step: Lanes, alive: mi.Bool, randoms: Randoms) -> Lanes:
        """Russian roulette as in Mitsuba's `path`, then the lanes that go on, compacted."""
        brightest = dr.max(step.β)
        finite = dr.all(dr.isfinite(step.β)) & dr.all(dr.isfinite(step.ray.d))
        invalid = dr.count(alive & ~finite)
        alive &= (brightest > 0) & finite
        if depth + 1 >= self.options.rr_depth:
            q = dr.minimum(brightest * step.η * step.η, 0.95)
            alive &= randoms.next_1d(step.index) < q
            step.β /= q
        dr.eval(step, alive, invalid)
        self.statistics.invalid += int(invalid[0])
        rows = dr.compress(alive)
        lanes = take(step, rows)
        dr.eval(lanes)
        return lanes


def render_into(passes: Passes, scene: mi.Scene, options: PathOptions, device: str, seed: int) -> Statistics:
    """Render a scene into the film of `passes`; returns what was counted."""
    with dr.suspend_grad():
        tracer = PathTracer(scene, SceneAssets(scene, device), options)
        passes.render(scene, seed, tracer.trace)
    if tracer.statistics.invalid:
        mi.Log(mi.LogLevel.Warn, f"nap_path: {tracer.statistics.invalid} paths ended at a weight that was not finite")
    return tracer.statistics
