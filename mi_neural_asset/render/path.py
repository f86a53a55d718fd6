"""Wavefront path tracing with neural assets: one Dr.Jit launch or a few a bounce, torch in between.

Ordinary surfaces are treated as Mitsuba's `path` integrator treats them: emitter sampling and BSDF sampling with multiple
importance sampling.  Lanes that hit an asset do the same with the direct lobe f (Eq. 22) where the asset has one, and then
choose the next ray between the direct sample and the neural one (Eq. 23).  Where the camera sees an asset, paths fork instead: the
direct ray goes on, and several neural ones.  Dead lanes are removed after each bounce.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import drjit as dr
import mitsuba as mi
import numpy as np

from ..flights import mean
from ..threads import busy_workers
from . import exits, splitting
from .direct import one_lobe
from .exits import Techniques
from .far_field import FarFieldEvent
from .guard import watch
from .instances import Model, SceneAssets
from .lanes import Branches, Lanes, join, not_from_an_asset, put, repeat, take
from .lobe import density_of
from .neural import Hits, NeuralEvent, Statistics
from .options import PathOptions
from .passes import Passes
from .randoms import Randoms, Samples, Spread
from .single import SingleScattering
from .volumes import Volumes

FEW, FEW_OF = 1024, 256  # a bounce has few paths: not so many, and less than one of so many camera rays
FEW_GO_ON = 0.5  # of these, in parts of those that roulette lets go on otherwise


@dataclass
class _Paths:
    """Of lanes: which path they are of (see `Lanes`), its throughput weight, and its product of indices of refraction."""

    index: mi.UInt32
    β: mi.Spectrum
    η: mi.Float


@dataclass
class _Exits:
    """One batch of events, the paths of all their exits, and uniform numbers for the rays that go on from these."""

    event: NeuralEvent | FarFieldEvent
    paths: _Paths
    z: mi.Point2f


class Gathered:
    """What camera rays have gathered, with a place for each path: their sums have one order.

    Args:
        branches: all paths; stays as an attribute.
        met: what the alpha channel says of rays that meet nothing.
    """

    def __init__(self, branches: Branches, met: bool) -> None:
        self._radiance = dr.zeros(mi.Spectrum, branches.paths)
        self._met = dr.full(mi.Bool, met, branches.rays)
        self.branches = branches
        dr.eval(self._radiance, self._met)

    def add(self, value: mi.Spectrum, index: mi.UInt32, active: mi.Bool = True) -> None:
        """Radiance along the paths of lanes `index`, each of them there once at most."""
        dr.scatter_add(self._radiance, value, index, active, mode=dr.ReduceMode.Direct)

    def settle(self) -> None:
        """Add now: kernels of other widths would run beside, and threads decide in which order values are added."""
        dr.eval(self._radiance)

    def meet(self, index: mi.UInt32, active: mi.Bool) -> None:
        """Note that paths have met something."""
        dr.scatter(self._met, True, index, active & self.branches.is_own(index))  # a path that forks has met an asset

    def parts(self) -> list[mi.Spectrum]:
        """Radiance along the camera's rays, and what each of their exits would add to it."""
        ray = dr.arange(mi.UInt32, self.branches.rays)
        return [take(self._radiance, self.branches.branch(ray, number)) for number in range(1 + self.branches.exits)]

    def result(self) -> tuple[mi.Spectrum, mi.Bool]:
        """Radiance along the camera's rays, that of exits averaged, and which of them met something."""
        own, *exits = self.parts()
        return own + sum(exits, mi.Spectrum(0)) / max(len(exits), 1), self._met


class PathTracer:
    """Traces camera rays through one scene.

    Args:
        scene: the scene.
        assets: its neural assets.
        options: see `PathOptions`.
        seed: of all random numbers but the camera's.
    """

    def __init__(self, scene: mi.Scene, assets: SceneAssets, options: PathOptions, seed: int = 0) -> None:
        self.scene, self.assets, self.options = scene, assets, options
        number = (options.exits or splitting.usual(assets)) if options.split and assets.models else 0
        self.exits, self._share = int(np.ceil(number)), min(number, 1)
        self._seeds = random.Random(seed)
        self._numbers = self._seeds.getrandbits(32)
        self.statistics = Statistics(exits=number)
        techniques = options.techniques
        self._techniques = use = replace(techniques, lobe=techniques.lobe and exits.scene_has_lobe(scene))
        self._lobes = [model.lobe for model in assets.models] if use.lobe else []
        # light from u_i: where the lobe is in use, for one exit of a fork alone
        self._once = use.lobe and all(model.kind != "far_field" for model in assets.models)
        self._volumes = Volumes(scene, assets, self._seeds.getrandbits(32))

    def trace(self, ray: mi.Ray3f, samples: Samples) -> tuple[mi.Spectrum, mi.Bool]:
        """Radiance along rays, [W] lanes, and which of them met something (the alpha channel)."""
        width = dr.width(ray)
        if self.options.max_depth == 0:
            return dr.zeros(mi.Spectrum, width), dr.zeros(mi.Bool, width)
        return self.gather(ray, samples).result()

    def gather(self, ray: mi.Ray3f, samples: Samples, look: Callable[[int, mi.Bool], None] | None = None) -> Gathered:
        """All that rays gather.

        Args:
            ray: camera rays, [W] lanes.
            samples: see `Randoms`.
            look: told before each bounce its depth and which lanes are of the rays' own paths.
        """
        width, options = dr.width(ray), self.options
        branches = Branches(width, self.exits)
        randoms = Randoms(branches, samples, self._numbers)
        lanes = Lanes(
            index=dr.arange(mi.UInt32, width), ray=mi.Ray3f(ray),
            β=dr.full(mi.Spectrum, 1, width), η=dr.full(mi.Float, 1, width),
            reference=dr.zeros(mi.Point3f, width), pdf=dr.full(mi.Float, 1, width), delta=dr.full(mi.Bool, True, width),
            straight=dr.full(mi.Bool, True, width), **not_from_an_asset(width),
        )  # fmt: skip
        dr.eval(lanes)
        gathered = Gathered(branches, not options.hide_emitters and self.scene.environment() is not None)
        depth = 0
        while dr.width(lanes.index) > 0:
            if look:
                look(depth, branches.is_own(lanes.index))
            with busy_workers(dr.width(lanes.index)):
                lanes = self._bounce(depth, lanes, randoms, gathered)
            depth += 1
        self.statistics.settle()
        return gathered

    def _bounce(self, depth: int, lanes: Lanes, randoms: Randoms, gathered: Gathered) -> Lanes:
        """One bounce for all lanes; adds to `gathered`, returns the lanes that go on."""
        options, scene = self.options, self.scene
        def intersect(ray: mi.Ray3f) -> mi.SurfaceInteraction3f:
            si = scene.ray_intersect(ray, +mi.RayFlags.All, depth == 0)
            if options.hide_emitters and dr.any(lanes.straight):
                si = dr.select(lanes.straight, self._skip_emitters(ray, lanes.straight).compute_surface_interaction(ray), si)
            return si

        plays = depth + 1 >= options.rr_depth
        # evaluated here: later, what is added to pictures would trace the rays once more
        draw, roulette = randoms.of(lanes.index, depth, "surface"), randoms.of(lanes.index, depth, "roulette") if plays else None
        si = intersect(lanes.ray)
        if self._volumes:
            lanes.ray, lanes.gap, si = self._volumes.meet(lanes.ray, lanes.gap, si, intersect)
        self._add_emission(depth, lanes, si, gathered)
        active = si.is_valid() & (options.max_depth < 0 or depth + 1 < options.max_depth)
        if len(self.assets):
            model, instance = self.assets.lookup(si)
            neural = active & (model > 0)
        else:
            model = instance = mi.UInt32(0)
            neural = mi.Bool(False)
        surface = active & (~neural | self._separates(model, volumes=False))
        step, null = self._surface_step(lanes, si, surface, draw, gathered)
        gathered.meet(lanes.index, si.is_valid() & (neural | ~null))
        further: list[Lanes | None] = []
        if len(self.assets):
            dr.eval(si, step, model, instance, neural)
            for number in range(len(self.assets.models)):
                chosen = dr.compress(neural & (model == number + 1))
                if dr.width(chosen):
                    further.append(self._neural_step(number, chosen, depth, lanes, si, instance, step, randoms, gathered))
        alive = active & (~neural | self._separates(model, volumes=True))
        going = [(step, alive, roulette)]
        for part in filter(None, further):
            going.append((part, mi.Bool(True), randoms.of(part.index, depth, "roulette") if plays else None))
        return self._survivors(going, gathered.branches.rays)

    def _skip_emitters(self, ray: mi.Ray3f, active: mi.Bool) -> mi.PreliminaryIntersection3f:
        helper = mi.load_dict({"type": "path", "hide_emitters": True}, parallel=False)
        return helper.skip_area_emitters(self.scene, ray, True, active)

    def _separates(self, model: mi.UInt32, volumes: bool) -> mi.Bool:
        """Whether the asset that was hit has a direct lobe of its own, `volumes` (their single scattering) included."""
        result = mi.Bool(False)
        for number, entry in enumerate(self.assets.models):
            if entry.separate_direct and (volumes or not entry.density):
                result |= model == number + 1
        return result

    def _add_emission(self, depth: int, lanes: Lanes, si: mi.SurfaceInteraction3f, gathered: Gathered) -> None:
        emitter = si.emitter(self.scene)
        lit = emitter != None  # noqa: E711 -- an array comparison
        if self.options.hide_emitters:
            lit &= ~lanes.straight | si.is_valid()
        weight = mi.Float(1)
        use = self._techniques
        if self.options.mis or (len(self.assets) and use != Techniques(lobe=False, light=False)):
            ref = exits.interaction(lanes.reference, lanes.ray.time, lanes.ray.wavelengths)
            ds = mi.DirectionSample3f(self.scene, si, ref)
            sampled = lit & ~lanes.delta & (~si.is_valid() | (si.t > lanes.gap))
            light = dr.select(sampled, self.scene.pdf_emitter_direction(ref, ds, sampled), 0)
            weight = exits.power_heuristic(lanes.pdf, light) if self.options.mis else mi.Float(1)
            if len(self.assets):
                lobe = self._lobe_density(lanes, si, ds, sampled) if use.lobe else mi.Float(0)
                samples = 1 / max(self.exits, 1) if self._once and depth == 1 else 1  # of light, for each exit
                share = dr.select(sampled, use.share("path", lanes.pdf, light * samples, lobe), 1)
                weight = dr.select(lanes.asset > 0, share, weight)
        value = lanes.β * emitter.eval(si, lit) * weight
        gathered.add(value, lanes.index, lit)

    def _lobe_density(self, lanes: Lanes, si: mi.SurfaceInteraction3f, ds: mi.DirectionSample3f, active: mi.Bool) -> mi.Float:
        """Density with which the lobe technique would have found this hit on a light, in parts of q(u_i)."""
        x_o = exits.interaction(lanes.x_o, lanes.ray.time, lanes.ray.wavelengths)
        ds_o = mi.DirectionSample3f(self.scene, si, x_o)
        lobe = density_of(self._lobes, lanes.asset, lanes.n)
        density = exits.lobe_ray_density(self.scene, lobe, x_o, ds_o, ds, dr.normalize(lanes.reference - lanes.x_o))
        return dr.select(active & (lanes.lobe > 0), density * lanes.lobe, 0)

    def _surface_step(
        self, lanes: Lanes, si: mi.SurfaceInteraction3f, active: mi.Bool, draw: Spread, gathered: Gathered
    ) -> tuple[Lanes, mi.Bool]:
        """Emitter and BSDF sampling at hits with an analytic BSDF: (the next rays, where a null lobe was drawn)."""
        ctx, index, width = mi.BSDFContext(), lanes.index, dr.width(lanes.index)
        bsdf = si.bsdf(mi.RayDifferential3f(lanes.ray))
        smooth = active & mi.has_flag(bsdf.flags(), mi.BSDFFlags.Smooth)
        ds, light = self.scene.sample_emitter_direction(si, draw.next_2d(), not self._volumes, smooth)
        smooth &= ds.pdf != 0
        if self._volumes:
            smooth = self._volumes.clear(si.spawn_ray_to(ds.p), smooth)
        if not self.options.mis:
            smooth &= ds.delta
        z1, z2 = draw.next_1d(), draw.next_2d()
        wo = si.to_local(ds.d)
        value, pdf, bs, weight = bsdf.eval_pdf_sample(ctx, si, wo, z1, z2, active)
        value = si.to_world_mueller(value, -wo, si.wi)
        mis = dr.select(ds.delta, 1, exits.power_heuristic(ds.pdf, pdf))
        sound = dr.isfinite(dr.sum(value))
        gathered.add(lanes.β * value * light * mis, index, smooth & sound)
        β = dr.select(smooth & ~sound, dr.nan, dr.select(active, lanes.β * weight, 0))  # `_survivors` ends and counts it
        ray = si.spawn_ray(si.to_world(bs.wo))
        null = mi.has_flag(bs.sampled_type, mi.BSDFFlags.Null)
        step = Lanes(
            index=index, ray=mi.Ray3f(ray.o, ray.d, lanes.ray.time, lanes.ray.wavelengths),
            β=β, η=lanes.η * bs.eta, reference=mi.Point3f(si.p), pdf=bs.pdf,
            delta=mi.has_flag(bs.sampled_type, mi.BSDFFlags.Delta), straight=lanes.straight & null,
            **not_from_an_asset(width),
        )  # fmt: skip
        return step, null

    def _neural_step(
        self, number: int, chosen: mi.UInt32, depth: int, lanes: Lanes, si: mi.SurfaceInteraction3f, instance: mi.UInt32,
        step: Lanes, randoms: Randoms, gathered: Gathered,
    ) -> Lanes | None:  # fmt: skip
        """Neural scattering for the lanes `chosen`: returns the rays that leave the asset, if any.

        The direct rays in `step` lose those that meet the asset again.  Where paths fork they go on, and so do the rays of all
        exits; otherwise one ray does, chosen by what they are expected to bring.
        """
        model, fork = self.assets.models[number], depth == 0 and self.exits > 0
        paths = _Paths(*(take(value, chosen) for value in (lanes.index, lanes.β, lanes.η)))
        ray = take(lanes.ray, chosen)
        n_geometric = take(mi.Vector3f(si.n), chosen)
        side = dr.select(dr.dot(n_geometric, ray.d) > 0, -1.0, 1.0)
        n = side * take(mi.Vector3f(si.sh_frame.n), chosen)
        hits = Hits(take(si.p, chosen), -ray.d, n, ray.time, ray.wavelengths, self.assets.frames(take(instance, chosen)))
        dr.eval(hits, paths)
        own, direct = randoms.of(paths.index, depth, "direct"), None
        if model.density:
            direct = self._single_scattering(model, hits, paths, own, gathered)
        elif model.separate_direct:
            lobe = take(si, chosen), ray, paths.β, paths.η, take(step, chosen)
            direct = one_lobe(*lobe, model, hits.frames, own.next_1d(), self._volumes.seed)
        if fork:
            exits = self._forked_exits(model, hits, paths, randoms, gathered)
            rows = exits and dr.arange(mi.UInt32, dr.width(exits.paths.index))
        else:
            exits = self._exits(model, hits, paths, 1, depth, randoms, gathered)
            rows = self._one_of(direct, exits, own) if direct else dr.arange(mi.UInt32, dr.width(chosen))
        if direct:
            dr.eval(direct)
            put(step, direct, chosen)
        return self._rays_of(number, exits, rows) if rows is not None and dr.width(rows) else None

    def _forked_exits(self, model: Model, hits: Hits, paths: _Paths, randoms: Randoms, gathered: Gathered) -> _Exits | None:
        """All exits of camera rays' hits, or one at a share of them; None: at none."""
        if self._share < 1:
            drawn = dr.compress(randoms.of(paths.index, 0, "share").next_1d() < self._share)
            if dr.width(drawn) == 0:
                return None
            hits, paths = take(hits, drawn), take(paths, drawn)
            paths.β /= self._share
            dr.eval(hits, paths)
        return self._exits(model, hits, paths, self.exits, 0, randoms, gathered)

    def _exits(
        self, model: Model, hits: Hits, paths: _Paths, copies: int, depth: int, randoms: Randoms, gathered: Gathered
    ) -> _Exits:  # fmt: skip
        """Draw exits at hits, so many of each, and gather the light that they find."""
        forked = depth == 0 and self.exits > 0
        index = gathered.branches.fork(paths.index) if forked else paths.index
        draw = randoms.of(index, depth, "exit")
        event = (FarFieldEvent if model.kind == "far_field" else NeuralEvent)(
            self.scene, model, hits, draw.next_1d(), draw.next_2d(), copies=copies, once=self._once, hero=self.options.hero,
            techniques=self._techniques, statistics=self.statistics, clear=self._volumes.clear if self._volumes else None,
        )  # fmt: skip
        each = _Paths(index, repeat(paths.β, copies), repeat(paths.η, copies))
        dr.eval(each)
        lit = paths.index if event.lights < copies else index
        found = [event.light_sampling(randoms.of(lit, depth, "light").next_2d())]
        if self._techniques.lobe:
            found.append(event.lobe_sampling(draw.next_2d(), draw.next_2d(), draw.next_1d()))
        for lanes, light in found:
            gathered.add(take(each.β, lanes) * light, take(index, lanes))
            gathered.settle()
        return _Exits(event, each, draw.next_2d())

    def _one_of(self, direct: Lanes, exits: _Exits, draw: Spread) -> mi.UInt32:
        """Choose for each path its direct ray or its exit (Eq. 23): returns the paths that take the exit."""
        weight, indirect = mean(direct.β), mean(exits.paths.β * exits.event.albedo())
        keep = dr.select(indirect > 0, indirect / (indirect + weight), 0)  # 1 - m of Eq. 23
        neural = draw.next_1d() < keep
        direct.β, exits.paths.β = dr.select(neural, 0, direct.β / (1 - keep)), exits.paths.β / keep
        dr.eval(neural, exits.paths, direct)  # together: each evaluation traces the rays
        return dr.compress(neural)

    def _rays_of(self, number: int, exits: _Exits, rows: mi.UInt32) -> Lanes:
        """The rays with which paths go on from exits of a model, for some of these."""
        c, width = exits.event.continuation(rows, take(exits.z, rows)), dr.width(rows)
        h, paths = exits.event.hits, take(exits.paths, rows)
        time, wavelengths, x_o, n = (take(value, rows) for value in (h.time, h.wavelengths, h.p, h.n))
        return Lanes(
            index=paths.index, ray=mi.Ray3f(c.o, c.d, time, wavelengths),
            β=paths.β * c.weight, η=paths.η, reference=c.reference, pdf=c.pdf,
            delta=dr.full(mi.Bool, False, width), straight=dr.full(mi.Bool, False, width),
            gap=c.gap, asset=dr.full(mi.UInt32, number + 1, width), x_o=x_o, n=n, lobe=c.lobe,
        )  # fmt: skip

    def _single_scattering(self, model: Model, hits: Hits, paths: _Paths, draw: Spread, gathered: Gathered) -> Lanes:
        """The counterpart of `_surface_step` and `one_lobe` in a volume."""
        event = SingleScattering(self.scene, model, hits, self._volumes.clear, self._volumes.seed)
        gathered.add(paths.β * event.light_sampling(draw.next_2d(), self.options.mis), paths.index)
        gathered.settle()
        c, width = event.continuation(draw.next_1d(), draw.next_2d()), dr.width(paths.index)
        return Lanes(
            index=paths.index, ray=mi.Ray3f(c.o, c.d, hits.time, hits.wavelengths), β=paths.β * c.weight, η=paths.η,
            reference=hits.p, pdf=c.pdf, delta=dr.full(mi.Bool, False, width), straight=dr.full(mi.Bool, False, width),
            **not_from_an_asset(width) | {"gap": c.gap},
        )  # fmt: skip

    def _survivors(self, going: list[tuple[Lanes, mi.Bool, Spread | None]], rays: int) -> Lanes:
        """Russian roulette as in Mitsuba's `path`, then the lanes that go on, compacted.

        A bounce of a few paths takes as long as one of thousands: so fewer of them go on.

        Args:
            going: lanes, which of them are alive, and numbers for the roulette (None: nobody plays); behind the first all are alive.
            rays: of the camera.
        """
        (step, alive, plays), *further = going
        if plays:
            dr.eval(step, alive)
            number = dr.count(alive) + dr.opaque(mi.UInt32, sum(dr.width(lanes.index) for lanes, *_ in further))
            few = number < dr.opaque(mi.UInt32, min(FEW, rays // FEW_OF))
        left = []
        for lanes, alive, draw in going:
            brightest = dr.max(lanes.β)
            directed = dr.all(dr.isfinite(lanes.ray.d)) | (brightest <= 0)  # a BSDF that reflects nothing may give no direction
            finite = dr.all(dr.isfinite(lanes.β)) & directed
            chosen = alive & (brightest > 0) & finite
            if plays:
                q = dr.minimum(brightest * lanes.η * lanes.η, 0.95) * dr.select(few, mi.Float(FEW_GO_ON), 1)
                chosen &= draw.next_1d() < q
                lanes.β /= q
            left.append((lanes, chosen, alive & ~finite))
        dr.eval(left)
        for _, _, invalid in left:
            self.statistics.count("invalid", invalid)
        found = [take(lanes, dr.compress(chosen)) for lanes, chosen, _ in left]
        filled = [lanes for lanes in found if dr.width(lanes.index)]
        lanes = join(filled) if len(filled) > 1 else (filled or found)[0]
        dr.eval(lanes)
        return lanes


def render_into(passes: Passes, scene: mi.Scene, options: PathOptions, device: str, seed: int) -> Statistics:
    """Render a scene into the film of `passes`; returns what was counted."""
    with dr.suspend_grad():
        assets = SceneAssets(scene, device, options.engine, options.precision)
        mark = watch(scene, assets, passes.sensor, options.strict) if len(assets) else None
        options = splitting.settled(scene, assets, passes, options, seed)
        tracer = PathTracer(scene, assets, options, seed)
        passes.render(scene, seed, tracer.trace, mark, max((model.inputs for model in assets.models), default=0), tracer.exits)
    if tracer.statistics.invalid:
        mi.Log(mi.LogLevel.Warn, f"nap_path: {tracer.statistics.invalid} paths ended at a weight that was not finite")
    return tracer.statistics
