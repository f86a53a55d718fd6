"""How many exits a hit is worth: the number for which a picture's variance x work is least, found by a few paths before the render.

Splitting and Russian roulette by what they bring for what they cost: Bolin and Meyer 1997, "An error metric for Monte Carlo ray
tracing", Eq. 12 to 17, there for each hit, here one number for the picture.  Below one exit, exits are drawn at some hits alone.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi
import numpy as np

from .instances import SceneAssets
from .randoms import Samples, Spread

if TYPE_CHECKING:
    from .options import PathOptions
    from .passes import Passes
    from .path import PathTracer

LADDER = tuple(2.0**k for k in range(-3, 4))
# Of the paths that are traced to find out: each pixel has two groups of so many camera rays, even within it as in the picture.
PIXELS, EACH, EXITS, DEPTH = 384, 16, 2, 4
FEWEST_RAYS = 1 << 18  # a smaller picture is done sooner than it is worth to ask
DEEP_EXITS, FLAT_EXITS = 4, 1  # it has these: of assets that light goes into, and of others, where the direct lobe is as noisy
BRIGHT = 16  # times the mean of what is not black: more of a path does not count, for a few paths cannot tell how often it happens
# What a bounce of a path takes, what a hit that has exits, and what each of these: parts of one another, by the CPU engine.
RAY_WORK, HIT_WORK, EXIT_WORK = 1.0, 5.0, 8.0


@dataclass(frozen=True)
class Splitting:
    """What is known of a picture with n exits a hit, for one camera ray on average.

    Attributes:
        rest: variance that no number of exits lowers.
        single: variance of one exit at the hits of a pixel.
        even: the same of each of `EACH * EXITS` exits whose random numbers are even over the pixel.
        squared: mean square of what an exit is expected to bring.
        samples: per pixel; hits with an exit are spread evenly over them.
        rest_work: of all but the exits.
        hit_work: of a hit that has an exit.
        exit_work: of an exit.
    """

    rest: float
    single: float
    even: float
    squared: float
    samples: int
    rest_work: float
    hit_work: float
    exit_work: float

    def variance(self, n: float) -> float:
        """Of n exits; below 1: of one at a share n of hits."""
        known = EACH * EXITS
        evenness = math.log(min(max(n * self.samples, 1), known)) / math.log(known)  # of the exits of a pixel
        each = self.single ** (1 - evenness) * self.even**evenness
        return self.rest + each / n + self.squared * max(1 / n - self.samples, 0)

    def work(self, n: float) -> float:
        """The same's work."""
        return self.rest_work + self.hit_work * min(n, 1) + self.exit_work * n

    def best(self) -> float:
        """The number in `LADDER` that takes the least work for the same error."""
        return min(LADDER, key=lambda n: self.variance(n) * self.work(n))


def usual(assets: SceneAssets) -> int:
    """Exits of a hit where nobody asks."""
    return DEEP_EXITS if any(model.deep for model in assets.models) else FLAT_EXITS


def settled(scene: mi.Scene, assets: SceneAssets, passes: Passes, options: PathOptions, seed: int) -> PathOptions:
    """The same options with the number of exits that pays, where none is given and the picture is large enough."""
    if not len(assets) or not options.split or options.exits is not None or passes.pixels * passes.spp < FEWEST_RAYS:
        return options
    told = measured(scene, assets, passes, options, seed)
    return replace(options, exits=told.best()) if told else options


def measured(scene: mi.Scene, assets: SceneAssets, passes: Passes, options: PathOptions, seed: int) -> Splitting | None:
    """What some paths tell; None where they meet no asset, bring nothing, or something that is not finite."""
    from .path import PathTracer

    drawn = random.Random(f"{seed} splitting")
    depth = DEPTH if options.max_depth < 0 else min(DEPTH, options.max_depth)
    tracer = PathTracer(scene, assets, replace(options, exits=EXITS, max_depth=depth), drawn.getrandbits(32))
    pixels = np.array(sorted(drawn.sample(range(passes.pixels), min(PIXELS, passes.pixels))), np.uint32)
    count, samples = 2 * EACH * len(pixels), Samples(0, EACH, 0)
    index = dr.arange(mi.UInt32, count)
    draw = Spread(samples.pixel(index), samples.number(index), drawn.getrandbits(32))  # even over each group
    rays, weight, _ = passes.rays_through(mi.UInt32(np.repeat(pixels, 2 * EACH)), draw)
    counted = _Counted(tracer)
    found = tracer.gather(rays, samples, counted.look).parts()
    own, *exits = (np.asarray(part * weight, dtype=np.float64).mean(0) for part in found)
    exits = np.stack(exits)
    bright = own + exits.mean(0)
    bright = bright[bright > 0]
    if not counted.hits or not len(bright) or not np.isfinite([own, *exits]).all():
        return None
    bound = BRIGHT * bright.mean()
    own, exits = (np.minimum(part, bound).reshape(*part.shape[:-1], -1, 2, EACH) for part in (own, exits))
    whole, exit_ = own.mean(-1), exits.mean((0, -1))  # means of groups
    rest, even, single = (float((np.diff(part, axis=axis) ** 2).mean()) / 2 for part, axis in ((whole, -1), (exit_, -1), (exits, -2)))
    return Splitting(
        EACH * rest, single, EACH * EXITS * even, float(exit_.prod(-1).mean()), passes.spp,
        RAY_WORK + counted.later(own=True) / count, HIT_WORK * counted.hits / count,
        (EXIT_WORK * counted.hits + counted.later(own=False) / EXITS) / count,
    )  # fmt: skip


class _Counted:
    """What a tracer's bounces take, by whether they are of the camera rays' own paths or of their exits."""

    def __init__(self, tracer: PathTracer) -> None:
        self._statistics, self._lanes, self.hits = tracer.statistics, [0, 0], 0

    def look(self, depth: int, own: mi.Bool) -> None:
        """Told before each bounce which of the lanes are own."""
        if depth == 1:
            self.hits = self._statistics.events // EXITS  # of camera rays
        if depth:
            number = int(dr.count(own)[0])
            self._lanes[0] += dr.width(own) - number
            self._lanes[1] += number

    def later(self, own: bool) -> float:
        """After the camera's hits; neural events there are shared out by the number of lanes."""
        events = self._statistics.events - EXITS * self.hits
        return self._lanes[own] * (RAY_WORK + (HIT_WORK + EXIT_WORK) * events / max(sum(self._lanes), 1))
