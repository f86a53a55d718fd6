"""From a sensor to its film: passes of a bounded width, reconstruction filter, AOVs.

The sampler is driven as Mitsuba's own multi-pass rendering drives it, so that stratified samplers keep their structure:
one seed, then `advance` between passes.  A picture whose pixels do not fit into the memory with a single sample is rendered in
bands of rows, each with a seed of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import drjit as dr
import mitsuba as mi
import numpy as np

from ..memory import bound, text
from .randoms import Samples, Spread, of_camera

# Peaks as measured by benchmarks/memory.py, with a quarter more.
FIXED_BYTES = 128 << 20  # networks' evaluation of a chunk, compiled kernels
PATH_BYTES = 560  # of one path: its state in Dr.Jit
EVENT_BYTES, INPUT_BYTES = 2500, 10  # more, where it can meet an asset: hits, lights, direct lobe; for each number networks are told
EXIT_BYTES, EXIT_INPUT_BYTES = 700, 4  # the same of each exit but the first
PIXEL_BYTES = 5  # of the film, for each byte of its channels: block, film, picture
DEFAULT_LANES = 1 << 20  # paths of a pass where nobody gives a bound, exits counted: the same picture whatever is free
MAX_LANES = 1 << 24


@dataclass(frozen=True)
class Plan:
    """How a picture is cut into passes.

    Attributes:
        rows: of a band.
        spp: samples per pixel of a pass.
    """

    rows: int
    spp: int


def plan(spp: int, width: int, height: int, memory: int, lane: int, fixed: int, lanes: int = MAX_LANES) -> Plan:
    """The largest passes that fit into `memory`.

    Args:
        spp: samples per pixel.
        width, height: of the picture, with its border.
        memory: bound, bytes.
        lane: bytes of a path.
        fixed: bytes of all else.
        lanes: paths of a pass at most.

    Raises:
        ValueError: not even one row with one sample fits; the message says what would.
    """
    limit = min(lanes, max(memory - fixed, 0) // lane)
    if limit < width:
        raise ValueError(
            f'nap_path: "memory" of {text(memory)} is too little for {width} x {height} pixels: the smallest bound is '
            f"{text(fixed + width * lane)}; give that, or render a smaller crop"
        )
    if limit < width * height:
        return Plan(min(limit // width, height), 1)
    return Plan(height, max(k for k in range(1, spp + 1) if spp % k == 0 and k * width * height <= limit))


def _film_size(film: mi.Film) -> tuple[int, int]:
    """(width, height) in pixels, with the border that the reconstruction filter asks for."""
    size = film.crop_size()
    if film.sample_border():
        size = size + 2 * film.rfilter().border_size()
    return int(size[0]), int(size[1])


def _split(aovs: str) -> tuple[str, list[str]]:
    """The AOVs that Mitsuba knows, and the channels of `neural_invalid`."""
    entries = [entry.strip() for entry in aovs.split(",") if entry.strip()]
    ours = [entry for entry in entries if entry.partition(":")[2].strip() == "neural_invalid"]
    return ",".join(entry for entry in entries if entry not in ours), [entry.partition(":")[0].strip() for entry in ours]


class Passes:
    """Renders one sensor.

    Args:
        sensor: the sensor, with film and sampler.
        spp: samples per pixel, 0 for the sampler's own number.
        memory: bound on what the render takes, bytes or a text such as "4GB"; None or "": half of what is free.
        aovs: extra channels in the syntax of Mitsuba's `aov` integrator, and `NAME:neural_invalid`; may be empty.
        progress: called with (work done, of how much) after each pass.
    """

    def __init__(
        self, sensor: mi.Sensor, spp: int, memory: str | int | None, aovs: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:  # fmt: skip
        self.sensor, self._progress = sensor, progress
        theirs, self._marks = _split(aovs)
        self._aovs = mi.load_dict({"type": "aov", "aovs": theirs}, parallel=False) if theirs else None
        self._sampler = sensor.sampler().clone()
        if spp:
            self._sampler.set_sample_count(spp)
        self.spp = self._sampler.sample_count()
        self._size = _film_size(sensor.film())
        self._given, self._memory = memory not in (None, ""), bound(memory, 'nap_path: "memory"')
        self._channels = 5 + len(self._marks) + (len(self._aovs.aov_names()) if self._aovs else 0)

    @property
    def pixels(self) -> int:
        """Of the picture, its border included."""
        return self._size[0] * self._size[1]

    def plan(self, inputs: int = 0, exits: int = 0) -> Plan:
        """Passes for a scene whose assets' networks are told `inputs` numbers of a hit (0: no assets), where a path forks into `exits`."""
        (width, height), more = self._size, max(exits, 1) - 1
        event = EVENT_BYTES + INPUT_BYTES * inputs + more * (EXIT_BYTES + EXIT_INPUT_BYTES * inputs)
        fixed, lane = FIXED_BYTES + width * height * 4 * self._channels * PIXEL_BYTES, PATH_BYTES + (event if inputs else 0)
        return plan(self.spp, width, height, self._memory, lane, fixed, MAX_LANES if self._given else DEFAULT_LANES // (1 + more))

    def render(
        self, scene: mi.Scene, seed: int, trace: Callable, mark: Callable[[mi.Ray3f], mi.Float] | None = None, inputs: int = 0,
        exits: int = 0,
    ) -> None:  # fmt: skip
        """Fill the film.

        Args:
            scene: the scene.
            seed: of the sampler.
            trace: `trace(ray, samples) -> (radiance, valid)`.
            mark: `mark(ray)` gives the AOV `neural_invalid`; None: zeros.
            inputs, exits: see `plan`.

        Raises:
            ValueError: the memory is too little; the message says how much would do.
        """
        film, sampler, passes = self.sensor.film(), self._sampler, self.plan(inputs, exits)
        (width, height), count = self._size, self.spp // passes.spp
        sampler.set_samples_per_wavefront(passes.spp)
        film.prepare([*(self._aovs.aov_names() if self._aovs else []), *self._marks])
        block = film.create_block()
        block.set_coalesce(block.coalesce() and passes.spp >= 4)
        for first in range(0, height, passes.rows):
            rows = min(passes.rows, height - first)
            sampler.seed(seed if first == 0 else int(np.random.SeedSequence([seed, first]).generate_state(1)[0]), rows * width * passes.spp)
            for number in range(count):
                samples = Samples(first * width, passes.spp, number * passes.spp)
                self._render_pass(scene, sampler, film, block, trace, mark, samples, rows, seed)
                if number + 1 < count:
                    sampler.advance()
                    sampler.schedule_state()
                dr.eval(block.tensor())
                if self._progress:
                    self._progress(first * count + rows * (number + 1), height * count)
        film.put_block(block)

    def _render_pass(
        self, scene: mi.Scene, sampler: mi.Sampler, film: mi.Film, block: mi.ImageBlock, trace: Callable, mark: Callable | None,
        samples: Samples, rows: int, seed: int,
    ) -> None:  # fmt: skip
        width = rows * self._size[0] * samples.each
        rays, weight, pos = self.rays_through(samples.pixel(dr.arange(mi.UInt32, width)), of_camera(sampler, samples, width, seed))
        dr.eval(rays, weight, pos)
        extra = self._aovs.sample(scene, sampler, rays)[2] if self._aovs else []
        if self._marks:
            extra = [*extra, *[mark(rays) if mark else mi.Float(0)] * len(self._marks)]
        dr.eval(extra)
        radiance, valid = trace(rays, samples)
        colour = radiance * weight
        channels = [colour.x, colour.y, colour.z]
        if mi.has_flag(film.flags(), mi.FilmFlags.Alpha):
            channels.append(dr.select(valid, mi.Float(1), mi.Float(0)))
        block.put(pos, [*channels, mi.Float(1), *extra])

    def rays_through(self, pixel: mi.UInt32, draw: mi.Sampler | Spread) -> tuple[mi.RayDifferential3f, mi.Spectrum, mi.Vector2f]:
        """Rays through pixels (row by row, the border included), their weights, and where the film is told of them.

        Args:
            pixel: of each ray.
            draw: where their random numbers come from.
        """
        film, (across, _) = self.sensor.film(), self._size
        border = film.rfilter().border_size() if film.sample_border() else 0
        corner = mi.Vector2i(mi.Int32(pixel % across), mi.Int32(pixel // across)) - border + mi.Vector2i(film.crop_offset())
        jittered = mi.Vector2f(corner) + draw.next_2d()
        position = (jittered - mi.Vector2f(film.crop_offset())) / mi.Vector2f(film.crop_size())
        aperture = draw.next_2d() if self.sensor.needs_aperture_sample() else mi.Point2f(0)
        time = mi.Float(self.sensor.shutter_open())
        if self.sensor.shutter_open_time() > 0:
            time += draw.next_1d() * self.sensor.shutter_open_time()
        rays, weight = self.sensor.sample_ray_differential(time, 0, mi.Point2f(position), mi.Point2f(aperture))
        rays.scale_differential(dr.opaque(mi.Float, self.spp**-0.5))
        return rays, weight, mi.Point2f(corner) if film.rfilter().is_box_filter() else mi.Point2f(jittered)
