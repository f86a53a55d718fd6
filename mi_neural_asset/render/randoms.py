"""Uniform numbers for the lanes that are alive."""

from __future__ import annotations

import drjit as dr
import mitsuba as mi

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


class Randoms:
    """Uniform numbers for some of the lanes of a wavefront.

    Lanes 0 to W - 1 are the camera's rays and use the sensor's sampler, lanes W to 2 W - 1 (the second halves of paths that were split)
    have streams.  So have all where the sampler is Mitsuba's `independent` one: it would make numbers for dead lanes too.

    Args:
        sampler: the sensor's, seeded.
        width: W.
        split: whether there are second halves.
        seed: of the streams.
    """

    def __init__(self, sampler: mi.Sampler, width: int, split: bool, seed: int) -> None:
        self._sampler = None if sampler.class_name() == INDEPENDENT else sampler
        self._width = dr.opaque(mi.UInt32, width)
        streams = (0 if self._sampler else width) + (width if split else 0)
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
        theirs = index < self._width
        values = [dr.gather(mi.Float, column, index, theirs) for column in every]
        if self._streams is None:
            return values
        others = self._streams.next(count, index - self._width, ~theirs)
        return [dr.select(theirs, value, other) for value, other in zip(values, others, strict=True)]
