"""Uniform numbers that are even over a pixel, for the lanes that are alive."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import drjit as dr
import mitsuba as mi

from .lanes import Branches

INDEPENDENT = "IndependentSampler"  # Mitsuba's class


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
    """Numbers of the paths of a pass: for each depth and each purpose, even over all samples of a pixel, exits counted.

    Args:
        branches: all paths.
        samples: which of the picture the camera's rays are.
        seed: the same for the whole picture.
    """

    def __init__(self, branches: Branches, samples: Samples, seed: int) -> None:
        self._branches, self._samples, self._seed = branches, samples, seed

    def of(self, index: mi.UInt32, depth: int, purpose: str) -> Spread:
        """Numbers of some paths; the same depth and purpose give the same ones."""
        seed = f"{self._seed} {depth} {purpose}"
        ray, branch = self._branches.parts(index)
        number, exit_ = self._samples.number(ray), branch > 0
        point = dr.select(exit_, number * max(self._branches.exits, 1) + branch - 1, number)
        group = 2 * self._samples.pixel(ray) + dr.select(exit_, mi.UInt32(1), 0)  # those of exits among themselves
        return Spread(group, point, seed)


def of_camera(sampler: mi.Sampler, samples: Samples, width: int, seed: int) -> mi.Sampler | Spread:
    """Numbers of so many camera rays for the film, the aperture and the shutter: the sensor's sampler, or numbers that are even over a
    pixel where that is Mitsuba's `independent` one.
    """
    if sampler.class_name() != INDEPENDENT:
        return sampler
    ray = dr.arange(mi.UInt32, width)
    return Spread(samples.pixel(ray), samples.number(ray), seed)


class Spread:
    """Numbers of points in groups: each is uniform, and those of a group fill the square evenly.

    They are points of a (0, 2)-sequence (Sobol' 1967), for each pair of numbers in another order, which keeps blocks together (nested
    shuffling, Burley 2020), and with other bits flipped (random digit scrambling, Kollig and Keller 2002).

    Args:
        group: of each lane.
        point: number of the lane within its group; a group's first 2^m points fill the square best, and so do 2^m consecutive ones.
        seed: of orders and bits; the same seed gives the same numbers.
    """

    def __init__(self, group: mi.UInt32, point: mi.UInt32, seed: int | str) -> None:
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
