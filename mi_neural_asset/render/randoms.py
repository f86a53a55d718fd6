"""Uniform numbers for the lanes that are alive."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import drjit as dr
import mitsuba as mi

from .lanes import Branches, repeat

INDEPENDENT = "IndependentSampler"  # Mitsuba's class


class Streams:
    """A sequence of numbers for each lane (O'Neill 2014, PCG32, seeded as Mitsuba's samplers are); only lanes that ask go on in theirs.

    Args:
        width: number of lanes.
        seed: of all sequences.
    """

    def __init__(self, width: int, seed: int) -> None:
        generator = mi.PCG32()
        generator.seed(*map(mi.UInt64, mi.sample_tea_32(dr.opaque(mi.UInt32, seed), dr.arange(mi.UInt32, width))))
        self._state, self._inc = generator.state, generator.inc
        dr.eval(self._state, self._inc)

    def next(self, count: int, lane: mi.UInt32, active: mi.Bool = True) -> list[mi.Float]:
        """The next `count` numbers of some lanes, each of them there once at most."""
        generator = mi.PCG32()
        generator.state, generator.inc = (dr.gather(mi.UInt64, values, lane, active) for values in (self._state, self._inc))
        values = [generator.next_float32() for _ in range(count)]
        dr.eval(values, generator.state)  # what still waits to be read from would be copied before it is written to
        dr.scatter(self._state, generator.state, lane, active)
        dr.eval(self._state)
        return values


@dataclass(frozen=True)
class Samples:
    """Which samples of a picture the rays of a pass are, pixel by pixel.

    Attributes:
        first: pixel of the first ray.
        each: rays of a pixel.
        before: rays of each pixel in earlier passes.
    """

    first: int
    each: int
    before: int

    def pixel(self, ray: mi.UInt32) -> mi.UInt32:
        """Of rays of the pass."""
        first, each = (dr.opaque(mi.UInt32, number) for number in (self.first, self.each))  # the same kernel for all passes
        return first + ray // each

    def number(self, ray: mi.UInt32) -> mi.UInt32:
        """Numbers of rays of the pass among all rays of their pixel."""
        before, each = (dr.opaque(mi.UInt32, number) for number in (self.before, self.each))
        return before + ray % each


class Randoms:
    """Uniform numbers for some of the paths of a wavefront.

    The camera's rays use the sensor's sampler, other branches have streams.  So have all where the sampler is Mitsuba's `independent`
    one: it would make numbers for dead lanes too.

    Args:
        sampler: the sensor's, seeded.
        branches: all paths.
        samples: which of the picture the camera's rays are.
        seed: of the streams.
        spread: seed of the numbers of exits, the same for the whole picture.
    """

    def __init__(self, sampler: mi.Sampler, branches: Branches, samples: Samples, seed: int, spread: int) -> None:
        self._sampler = None if sampler.class_name() == INDEPENDENT else sampler
        self._branches, self._samples, self._spread = branches, samples, spread
        streams = branches.paths - (branches.rays if self._sampler else 0)
        self._streams = Streams(streams, seed) if streams else None

    def next_1d(self, index: mi.UInt32) -> mi.Float:
        return self._next(1, index)[0]

    def next_2d(self, index: mi.UInt32) -> mi.Point2f:
        return mi.Point2f(*self._next(2, index))

    def _next(self, count: int, index: mi.UInt32) -> list[mi.Float]:
        if self._sampler is None:
            return self._streams.next(count, index)
        every = self._sampler.next_2d() if count == 2 else [self._sampler.next_1d()]
        self._sampler.schedule_state()  # otherwise each number is counted from the first one
        dr.eval(every)
        theirs = self._branches.is_own(index)
        values = [dr.gather(mi.Float, column, index, theirs) for column in every]
        if self._streams is None:
            return values
        others = self._streams.next(count, index - self._branches.branch(mi.UInt32(0), 1), ~theirs)
        return [dr.select(theirs, value, other) for value, other in zip(values, others, strict=True)]

    def of(self, index: mi.UInt32) -> Own:
        """Numbers of some lanes."""
        return Own(self, index)

    def of_exits(self, ray: mi.UInt32) -> Spread:
        """Numbers of all exits of camera rays, ray by ray: even over all exits of a pixel."""
        exits = self._branches.exits
        point = repeat(self._samples.number(ray), exits) * exits + self._branches.exit_numbers(dr.width(ray))
        return Spread(repeat(self._samples.pixel(ray), exits), point, self._spread)


class Own:
    """Numbers of lanes from their own sequences.

    Args:
        randoms: all sequences.
        index: of the lanes.
    """

    def __init__(self, randoms: Randoms, index: mi.UInt32) -> None:
        self._randoms, self._index = randoms, index

    def next_1d(self) -> mi.Float:
        return self._randoms.next_1d(self._index)

    def next_2d(self) -> mi.Point2f:
        return self._randoms.next_2d(self._index)


class Spread:
    """Numbers of points in groups: each is uniform, and those of a group fill the square evenly.

    They are points of a (0, 2)-sequence (Sobol' 1967), for each pair of numbers in another order, which keeps blocks together (nested
    shuffling, Burley 2020), and with other bits flipped (random digit scrambling, Kollig and Keller 2002).

    Args:
        group: of each lane.
        point: number of the lane within its group; a group's first 2^m points fill the square best, and so do 2^m consecutive ones.
        seed: of orders and bits; the same seed gives the same numbers.
    """

    def __init__(self, group: mi.UInt32, point: mi.UInt32, seed: int) -> None:
        self._group, self._point, self._seeds = group, point, Random(seed)
        dr.eval(group, point)

    def next_1d(self) -> mi.Float:
        return self.next_2d().x

    def next_2d(self) -> mi.Point2f:
        bits = mi.sample_tea_32(self._group, dr.opaque(mi.UInt32, self._seeds.getrandbits(32)))
        point = shuffled(self._point, mi.sample_tea_32(*bits)[0])
        return mi.Point2f(mi.radical_inverse_2(point, bits[0]), mi.sobol_2(point, bits[1]))


def shuffled(number: mi.UInt32, seed: mi.UInt32) -> mi.UInt32:
    """A permutation of the 32-bit numbers that maps each aligned block of 2^m to another one (Burley 2020, Laine and Karras 2011)."""
    result = dr.brev(number) + seed
    for factor in (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6):
        result ^= result * factor
    return dr.brev(result)
