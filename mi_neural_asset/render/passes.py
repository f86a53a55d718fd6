"""From a sensor to its film: passes of a bounded width, reconstruction filter, AOVs.

The sampler is driven as Mitsuba's own multi-pass rendering drives it, so that stratified samplers keep their structure:
one seed, then `advance` between passes.
"""

from __future__ import annotations

from collections.abc import Callable

import drjit as dr
import mitsuba as mi

BYTES_PER_LANE = 600  # measured peak of Dr.Jit's state for one path, bytes
MIN_PASS_LANES = 1 << 16


def pass_size(spp: int, pixels: int, memory: int) -> int:
    """Samples per pixel of one pass: the largest divisor of spp whose wavefront fits into `memory` bytes (at least 1)."""
    limit = max(MIN_PASS_LANES, memory // BYTES_PER_LANE) // max(pixels, 1)
    return max((k for k in range(1, spp + 1) if spp % k == 0 and k <= limit), default=1)


def _film_pixels(film: mi.Film) -> int:
    size = film.crop_size()
    if film.sample_border():
        size = size + 2 * film.rfilter().border_size()
    return int(size[0]) * int(size[1])


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
        memory: bound on the wavefront, MiB.
        aovs: extra channels in the syntax of Mitsuba's `aov` integrator, and `NAME:neural_invalid`; may be empty.
        progress: called with (samples per pixel done, of how many) after each pass.
    """

    def __init__(
        self, sensor: mi.Sensor, spp: int, memory: int, aovs: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:  # fmt: skip
        self.sensor, self._progress = sensor, progress
        theirs, self._marks = _split(aovs)
        self._aovs = mi.load_dict({"type": "aov", "aovs": theirs}, parallel=False) if theirs else None
        self._sampler = sensor.sampler().clone()
        if memory <= 0:
            raise ValueError(f'nap_path: "memory" must be a positive number of MiB, got {memory}')
        if spp:
            self._sampler.set_sample_count(spp)
        self.spp = self._sampler.sample_count()
        self._pixels = _film_pixels(sensor.film())
        self.spp_per_pass = pass_size(self.spp, self._pixels, memory << 20)

    def render(self, scene: mi.Scene, seed: int, trace: Callable, mark: Callable[[mi.Ray3f], mi.Float] | None = None) -> None:
        """Fill the film; `trace(ray, sampler) -> (radiance, valid)`; `mark(ray)` gives the AOV `neural_invalid`, None zeros."""
        film, sampler = self.sensor.film(), self._sampler
        sampler.set_samples_per_wavefront(self.spp_per_pass)
        sampler.seed(seed, self._pixels * self.spp_per_pass)
        film.prepare([*(self._aovs.aov_names() if self._aovs else []), *self._marks])
        block = film.create_block()
        block.set_coalesce(block.coalesce() and self.spp_per_pass >= 4)
        count = self.spp // self.spp_per_pass
        for number in range(count):
            self._render_pass(scene, sampler, film, block, trace, mark)
            if number + 1 < count:
                sampler.advance()
                sampler.schedule_state()
            dr.eval(block.tensor())
            if self._progress:
                self._progress((number + 1) * self.spp_per_pass, self.spp)
        film.put_block(block)

    def _render_pass(
        self, scene: mi.Scene, sampler: mi.Sampler, film: mi.Film, block: mi.ImageBlock, trace: Callable, mark: Callable | None
    ) -> None:
        rays, weight, pos = self._camera_rays(scene, sampler)
        dr.eval(rays, weight, pos)
        extra = self._aovs.sample(scene, sampler, rays)[2] if self._aovs else []
        if self._marks:
            extra = [*extra, *[mark(rays) if mark else mi.Float(0)] * len(self._marks)]
        dr.eval(extra)
        radiance, valid = trace(rays, sampler)
        colour = radiance * weight
        channels = [colour.x, colour.y, colour.z]
        if mi.has_flag(film.flags(), mi.FilmFlags.Alpha):
            channels.append(dr.select(valid, mi.Float(1), mi.Float(0)))
        block.put(pos, [*channels, mi.Float(1), *extra])

    def _camera_rays(self, scene: mi.Scene, sampler: mi.Sampler) -> tuple[mi.RayDifferential3f, mi.Spectrum, mi.Vector2f]:
        width = self._pixels * self.spp_per_pass
        film = self.sensor.film()
        size, border = film.crop_size(), 0
        if film.sample_border():
            border = film.rfilter().border_size()
            size = size + 2 * border
        pixel = dr.arange(mi.UInt32, width) // self.spp_per_pass
        corner = mi.Vector2i(mi.Int32(pixel % int(size[0])), mi.Int32(pixel // int(size[0]))) - border + mi.Vector2i(film.crop_offset())
        jittered = mi.Vector2f(corner) + sampler.next_2d()
        position = (jittered - mi.Vector2f(film.crop_offset())) / mi.Vector2f(film.crop_size())
        aperture = sampler.next_2d() if self.sensor.needs_aperture_sample() else mi.Point2f(0)
        time = mi.Float(self.sensor.shutter_open())
        if self.sensor.shutter_open_time() > 0:
            time += sampler.next_1d() * self.sensor.shutter_open_time()
        rays, weight = self.sensor.sample_ray_differential(time, 0, mi.Point2f(position), mi.Point2f(aperture))
        scale = 1 / dr.sqrt(mi.Float(self.spp)) if self.spp > 1 else 1
        rays.scale_differential(scale)
        return rays, weight, mi.Point2f(corner) if film.rfilter().is_box_filter() else mi.Point2f(jittered)
