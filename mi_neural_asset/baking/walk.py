"""The random walk behind PathSampler: one symbolic Dr.Jit loop, one path per lane at a time.

A lane fetches the index of the next path from a shared counter, walks it to its end, writes it at that index and
fetches again.  Every path that is started is finished, and path i draws from the random stream (seed, i), so that
neither the number of lanes nor the order of execution has any influence on the result.  Paths may come in groups of one viewer's
ray: then the ray is drawn from the stream of the group, all that follows its hit from the path's own.

Estimator: Algorithm 1 of the 8DNA paper (arXiv 2604.25129), with balance over colour channels (`mi_neural_asset.flights`).
Russian roulette survives with probability min(1, max_k(beta_k / sqrt(balance_k)) eta^2).  The square root stands for
the second moment of what is still to come: with probability balance_k / K the path is one of channel k, and is then
worth K beta_k / balance_k.  There is no upper bound below 1: it would make the weights of long paths grow and grow.

Where the renderer follows rays by smooth surfaces (`Traits.specular`), networks need not know them: a path whose first event is a mirror
reflection carries nothing, nor does one that leaves without having been scattered, by a medium or by a surface that is not smooth.  But
they must know what is seen from within the asset's folds.  So a share FOLLOWED of the viewer's rays is there for nothing but their mirror
reflection: it becomes the viewer's ray of a point that it meets, with the same choice there.  Others of that share, and reflections that
leave, are drawn again as misses are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import drjit as dr
import mitsuba as mi

from ..flights import Media, channel_of, first_collision, fly, pick

EXITED, ABSORBED, TRUNCATED, INVALID = 0, 1, 2, 3
MAX_MISSES = 1 << 16  # rays in a row that may miss the asset before a path is given up
OWN_STREAM = 0x9E3779B9  # tells the streams of paths from those of their groups
FOLLOWED = 0.5  # of viewer's rays are there for their mirror reflection, where the renderer follows these
SMALLEST = 1e-30  # throughputs below are written as 0: denormal numbers are flushed on some threads and kept on others


@dataclass(frozen=True)
class Traits:
    """What a scene needs of the walk; known before tracing, so that the kernel holds nothing else.

    media: see `Media`; volume: paths begin at their first real collision, not at the first surface; specular: the renderer follows
    mirror reflections of the viewer's ray, and light that is never scattered.
    """

    media: Media
    volume: bool = False
    specular: bool = False


@dataclass(frozen=True)
class Beam:
    """Parallel rays through a parallelogram: corner + a x + b y for x, y in [0, 1), all in one direction."""

    corner: mi.Point3f
    a: mi.Vector3f
    b: mi.Vector3f
    direction: mi.Vector3f  # unit


@dataclass
class Records:
    """Output arrays of a walk over `count` paths; vectors are interleaved (index 3 i + axis)."""

    x_o: mi.Float
    w_o: mi.Float
    n: mi.Float
    x_i: mi.Float
    w_i: mi.Float
    n_i: mi.Float
    x_v: mi.Float
    w_v: mi.Float
    n_v: mi.Float
    beta: mi.Float
    chain: mi.Float
    adjoint: mi.Float  # throughput of the path read backwards, over beta
    events: mi.Int32  # surface and medium scattering events
    status: mi.Int32  # EXITED, ABSORBED, TRUNCATED or INVALID
    steps: mi.Int32  # collisions and crossings, null ones included
    mirrored: mi.Int32  # 1 where the last event was a mirror reflection
    counter: mi.UInt32  # paths started
    misses: mi.UInt32  # rays that missed the asset
    given_up: mi.UInt32  # paths without a hit after MAX_MISSES rays
    lane_steps: mi.UInt32 | None = None  # [lanes] loop iterations of each lane

    @staticmethod
    def empty(count: int) -> Records:
        """Zeroed arrays for `count` paths."""
        vectors = [dr.zeros(mi.Float, 3 * count) for _ in range(11)]
        numbers = [dr.zeros(mi.Int32, count) for _ in range(4)]
        counters = [dr.zeros(mi.UInt32, 1) for _ in range(3)]
        adjoint = dr.zeros(mi.Float, count)
        dr.make_opaque(vectors, adjoint, numbers, counters)
        return Records(*vectors, adjoint, *numbers, *counters)


@dr.syntax
def walk(
    scene: mi.Scene,
    center: mi.Point3f,
    radius: mi.Float,
    traits: Traits,
    beam: Beam | None,
    count: mi.UInt32,
    seed: mi.UInt32,
    lanes: int,
    rr_depth: mi.UInt32,
    max_events: mi.UInt32,
    out: Records,
    group: int = 1,
) -> mi.UInt32:
    """Trace `count` paths, `group` of each viewer's ray, into `out`; return each lane's number of loop iterations."""
    media, null_collisions, coloured = traits.media.some, traits.media.null_collisions, traits.media.coloured
    volume, specular = traits.volume, traits.specular
    enter = _entering_rays(center, radius, beam)
    active = dr.full(mi.Bool, True, lanes)
    idle = mi.Bool(True)  # the lane needs a path
    fresh = mi.Bool(True)  # the path has not hit the asset yet
    ready = mi.Bool(True)  # the lane needs a ray
    index = mi.UInt32(0)
    rng = mi.PCG32(lanes)
    o = dr.zeros(mi.Point3f, lanes)
    d = dr.zeros(mi.Vector3f, lanes)
    x_i = dr.zeros(mi.Point3f, lanes)  # last hit
    n_i = dr.zeros(mi.Normal3f, lanes)
    medium = dr.zeros(mi.MediumPtr, lanes)
    beta = mi.UnpolarizedSpectrum(1)  # path throughput
    balance = mi.UnpolarizedSpectrum(1)  # density of each channel over the mean density
    eta2 = mi.Float(1)  # squared relative index of refraction so far
    adjoint = mi.Float(1)  # cosines with shading and geometric normals so far, see `mi_neural_asset.baking.reciprocity`
    chained = mi.Bool(False)  # mirrored on its way to x_o
    chain = mi.UnpolarizedSpectrum(1)  # throughput of that
    mirrored = mi.Bool(False)  # the last event was a mirror reflection
    scattered = mi.Bool(False)  # by a medium, or a surface that is not smooth
    channel = mi.UInt32(0)
    events = mi.UInt32(0)
    steps = mi.UInt32(0)
    misses = mi.UInt32(0)
    iterations = mi.UInt32(0)

    while active:
        # ------------------------------ the next path, or another ray for it ------------------------------
        if active & idle:
            index = dr.scatter_inc(out.counter, mi.UInt32(0), active & idle)
            active &= index < count
            v0, v1 = mi.sample_tea_32(seed, index // group)
            rng.seed(mi.UInt64(v0), mi.UInt64(v1))
            idle = mi.Bool(False)
            misses = mi.UInt32(0)

        if active & ready:
            o, d = enter(rng)
            ready = mi.Bool(False)
            medium = dr.zeros(mi.MediumPtr)
            beta = mi.UnpolarizedSpectrum(1)
            balance = mi.UnpolarizedSpectrum(1)
            eta2 = mi.Float(1)
            adjoint = mi.Float(1)
            chained = mi.Bool(False)
            chain = mi.UnpolarizedSpectrum(1)
            mirrored = mi.Bool(False)
            scattered = mi.Bool(False)
            events = mi.UInt32(0)
            steps = mi.UInt32(0)
            if dr.hint(coloured, mode="scalar"):
                channel = channel_of(rng.next_float32())

        iterations += 1
        ray = mi.Ray3f(o, d)

        # ------------------------- free flight first, then a ray no longer than that -----------------------
        in_medium = mi.Bool(False)
        mei = None
        if dr.hint(media, mode="scalar"):
            mei, in_medium = first_collision(medium, ray, rng.next_float32(), channel, active)

        pi = scene.ray_intersect_preliminary(ray, coherent=False, active=active)
        surface = active & pi.is_valid()
        collision = in_medium & ~surface
        sample1 = rng.next_float32()
        sample2 = mi.Point2f(rng.next_float32(), rng.next_float32())

        # -------------------------------------- collision with the medium ----------------------------------
        scatter = mi.Bool(collision)
        if dr.hint(media, mode="scalar"):
            if dr.hint(null_collisions, mode="scalar"):
                scatter &= rng.next_float32() * pick(mei.combined_extinction, channel) < pick(mei.sigma_t, channel)
            flying = active & (medium != None)  # noqa: E711
            beta, balance = fly(coloured, mei, pi, beta, balance, flying, collision, scatter)
            phase_context = mi.PhaseFunctionContext(None)
            w, phase_weight, _ = mei.medium.phase_function().sample(phase_context, mei, sample1, sample2, scatter)
            beta[scatter] *= phase_weight
            if dr.hint(volume, mode="scalar"):
                if scatter & fresh:
                    dr.scatter(out.x_o, mei.p, index)
                    dr.scatter(out.w_o, -d, index)
                    dr.scatter(out.n, mi.Normal3f(-d), index)
                fresh &= ~scatter
            o = dr.select(collision, mei.p, o)
            d = dr.select(scatter, w, d)

        # ----------------------------------------- surface scattering --------------------------------------
        si = pi.compute_surface_interaction(ray, mi.RayFlags.All, surface)
        surface &= si.is_valid()  # Mitsuba drops a few hits on B-spline curves here, those on back faces
        escaped = active & ~surface & ~collision
        if dr.hint(not volume, mode="scalar"):
            begins = surface & fresh
            fresh &= ~surface
            normal = dr.select(dr.dot(si.n, d) > 0, -si.sh_frame.n, si.sh_frame.n)
            if begins:
                dr.scatter(out.x_o, si.p, index)
                dr.scatter(out.w_o, -d, index)
                dr.scatter(out.n, normal, index)
                if ~chained:
                    dr.scatter(out.x_v, si.p, index)
                    dr.scatter(out.w_v, -d, index)
                    dr.scatter(out.n_v, normal, index)
                if dr.hint(group > 1, mode="scalar"):
                    v0, v1 = mi.sample_tea_32(seed ^ OWN_STREAM, index)
                    rng.seed(mi.UInt64(v0), mi.UInt64(v1))
                    sample1 = rng.next_float32()
                    sample2 = mi.Point2f(rng.next_float32(), rng.next_float32())
        bs, bsdf_weight = si.bsdf().sample(mi.BSDFContext(), si, sample1, sample2, surface)
        w = si.to_world(bs.wo)
        beta[surface] *= bsdf_weight
        eta2[surface] *= dr.square(bs.eta)
        adjoint[surface] *= dr.abs(si.wi.z * dr.dot(si.n, w)) / dr.maximum(dr.abs(bs.wo.z * dr.dot(si.n, d)), 1e-9)
        again = mi.Bool(False)  # the ray was mirrored, and is the viewer's ray of what it meets next
        unfit = mi.Bool(False)  # it was there for its mirror reflection, and has none
        if dr.hint(specular, mode="scalar"):
            mirror = surface & mi.has_flag(bs.sampled_type, mi.BSDFFlags.DeltaReflection) & (dr.dot(si.n, d) * dr.dot(si.n, w) < 0)
            mirrored = dr.select(surface | scatter, mirror, mirrored)
            scattered |= scatter | (surface & ~mi.has_flag(bs.sampled_type, mi.BSDFFlags.Delta))
            chosen = begins & (rng.next_float32() < FOLLOWED)
            again = chosen & mirror
            unfit = chosen & ~mirror
            chain[again] *= bsdf_weight / FOLLOWED
            chained |= again
            beta = dr.select(again, 1, dr.select(begins & mirror, 0, beta))
            eta2 = dr.select(again, 1, eta2)
            fresh |= again | unfit
        real = surface & ~mi.has_flag(bs.sampled_type, mi.BSDFFlags.Null)
        if dr.hint(media, mode="scalar"):
            crossing = surface & si.is_medium_transition()
            medium[crossing] = si.target_medium(w)
        x_i = dr.select(surface, si.p, x_i)
        n_i = dr.select(surface, dr.select(dr.dot(si.n, w) < 0, -si.sh_frame.n, si.sh_frame.n), n_i)
        spawned = si.spawn_ray(w)
        o = dr.select(surface, spawned.o, o)
        d = dr.select(surface, w, d)

        # --------------------------------- what has become of the path -------------------------------------
        missed = (escaped & fresh) | unfit
        exited = escaped & ~fresh
        misses[missed] += 1
        steps[surface | collision] += 1
        events[scatter | real] += 1
        if dr.hint(specular, mode="scalar"):
            steps = dr.select(again, 0, steps)
            events = dr.select(again, 0, events)
        survival = dr.max(beta) * eta2
        if dr.hint(coloured, mode="scalar"):
            survival = dr.max(beta * dr.rsqrt(dr.maximum(balance, 1e-12))) * eta2
        going = _usable(o, d) | (dr.max(beta) <= 0)  # a BSDF that reflects nothing may give no direction
        finite = dr.isfinite(survival) & dr.isfinite(dr.sum(beta)) & going
        invalid = active & (~finite | (collision & (dr.norm(o - center) > 1.01 * radius)))
        playing = (scatter | surface) & ~invalid & ~unfit
        roulette = playing & (events >= rr_depth)
        absorbed = playing & (survival <= 0) | (roulette & (rng.next_float32() >= survival))
        beta = dr.select(roulette & (survival > 0), beta * dr.rcp(dr.minimum(survival, 1)), beta)
        truncated = active & ~(exited | absorbed | invalid) & ~fresh & (steps >= max_events)
        lost = missed & (misses >= MAX_MISSES)

        # ------------------------------------------- write, and go on --------------------------------------
        idle |= exited | absorbed | truncated | invalid | lost
        if active & idle:
            status = dr.select(absorbed, ABSORBED, dr.select(truncated, TRUNCATED, EXITED))
            status = dr.select(invalid, INVALID, status)
            weight = dr.select(exited & ~invalid & (beta > SMALLEST), beta, 0)
            if dr.hint(specular, mode="scalar"):
                weight = dr.select(scattered, weight, 0)
            dr.scatter(out.x_i, x_i, index)
            dr.scatter(out.w_i, dr.select(_usable(o, d), d, 0), index)
            dr.scatter(out.n_i, n_i, index)
            dr.scatter(out.beta, mi.Color3f(weight), index)
            dr.scatter(out.chain, mi.Color3f(chain), index)
            dr.scatter(out.adjoint, adjoint * eta2, index)
            dr.scatter(out.mirrored, dr.select(mirrored, mi.Int32(1), 0), index)
            dr.scatter(out.events, mi.Int32(events), index)
            dr.scatter(out.status, mi.Int32(status), index)
            dr.scatter(out.steps, mi.Int32(steps), index)
            dr.scatter_add(out.misses, misses, mi.UInt32(0))
            dr.scatter_add(out.given_up, mi.UInt32(1), mi.UInt32(0), lost)
        fresh |= idle
        ready = idle | missed

    return iterations


def _entering_rays(
    center: mi.Point3f, radius: mi.Float, beam: Beam | None
) -> Callable[[mi.PCG32], tuple[mi.Point3f, mi.Vector3f]]:
    """What draws rays of the beam; without one: uniform point on the bounding sphere (0.1 % larger), cosine-weighted direction into it.

    The latter is the uniform density over the lines that meet the sphere; the margin changes nothing but the rate of misses.
    """

    def from_all_around(rng: mi.PCG32) -> tuple[mi.Point3f, mi.Vector3f]:
        outward = mi.warp.square_to_uniform_sphere(mi.Point2f(rng.next_float32(), rng.next_float32()))
        local = mi.warp.square_to_cosine_hemisphere(mi.Point2f(rng.next_float32(), rng.next_float32()))
        return mi.Point3f(center + 1.001 * radius * outward), mi.Frame3f(-outward).to_world(local)

    def from_beam(rng: mi.PCG32) -> tuple[mi.Point3f, mi.Vector3f]:
        return mi.Point3f(beam.corner + beam.a * rng.next_float32() + beam.b * rng.next_float32()), mi.Vector3f(beam.direction)

    return from_all_around if beam is None else from_beam


def _usable(o: mi.Point3f, d: mi.Vector3f) -> mi.Bool:
    """Whether a ray may be handed to the ray tracer: finite, with a direction of length one."""
    return dr.isfinite(dr.sum(o)) & (dr.abs(dr.squared_norm(d) - 1) < 1e-2)
