"""Independent renders of one scene, with their times; and which pixels show the asset."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import drjit as dr
import mitsuba as mi
import numpy as np

from .references import Runs

MIN_RUNS = 4
MAX_LANES = 1 << 21  # samples of one run; more spp means more runs
WARM_UP_SPP = 4
GRID = 4  # rays per pixel and axis that look for the asset


@dataclass
class Measured:
    """Runs of one picture.

    Attributes:
        images: [N, H, W, 3] float32.
        seconds: of each run that was rendered now, not loaded.
        spp: samples per pixel of each run.
        missed, projected: sampled rays that did not meet the asset, and all of them; 0 where the integrator counts none.
    """

    images: np.ndarray
    seconds: list[float]
    spp: int
    missed: int = 0
    projected: int = 0

    @property
    def mean(self) -> np.ndarray:
        """Mean over runs, [H, W, 3]."""
        return self.images.mean(0, dtype=np.float64)


def plan(spp: int, size: int) -> tuple[int, int]:
    """How many runs, and samples per pixel of each, for at least `spp` samples per pixel in all."""
    runs = max(MIN_RUNS, -(-spp * size * size // MAX_LANES))
    return runs, -(-spp // runs)


def measure(
    scene: mi.Scene, integrator: mi.Integrator, spp: int, size: int, entropy: tuple[int, ...], done: Callable[[float], None],
    kept: Runs | None = None,
) -> Measured:  # fmt: skip
    """Render a scene several times with independent seeds.

    Args:
        scene: with one sensor of size x size pixels.
        integrator: renders it; `nap_path` leaves statistics that are added up.
        spp: samples per pixel of all runs together (rounded up to a whole number for each).
        size: pixels along each edge.
        entropy: numbers that the seeds derive from.
        done: called with the fraction done.
        kept: runs that need not be rendered again.
    """
    runs, each = plan(spp, size)
    seeds = np.random.SeedSequence(entropy).generate_state(runs + 1).tolist()
    result = Measured(np.empty((runs, size, size, 3), np.float32), [], each)
    for k in range(runs):
        old = kept.load(k, result.images[k].shape) if kept else None
        if old is None:
            if not result.seconds:
                _render(scene, integrator, min(WARM_UP_SPP, each), seeds[runs])  # compiles; its time does not count
            start = time.perf_counter()
            old = _render(scene, integrator, each, seeds[k])
            result.seconds.append(time.perf_counter() - start)
            if kept:
                kept.save(k, old)
            statistics = getattr(integrator, "statistics", None)
            if statistics is not None:
                result.missed += statistics.missed
                result.projected += statistics.projected
        result.images[k] = old
        done((k + 1) / runs)
    return result


def _render(scene: mi.Scene, integrator: mi.Integrator, spp: int, seed: int) -> np.ndarray:
    image = mi.render(scene, integrator=integrator, spp=spp, seed=seed)
    dr.eval(image)
    dr.sync_thread()
    return np.asarray(image)[..., :3]


def coverage(boundary: dict, sensor: dict, size: int) -> np.ndarray:
    """Share of each pixel that the boundary covers, [size, size], from a regular grid of rays.

    Args:
        boundary: the asset's shapes as a scene dict.
        sensor: as a dict.
        size: pixels along each edge.
    """
    scene = mi.load_dict({**boundary, "verify_sensor": sensor}, parallel=False)
    n = size * GRID
    index = dr.arange(mi.UInt32, n * n)
    position = (mi.Point2f(mi.Float(index % n), mi.Float(index // n)) + 0.5) / n
    rays, _ = scene.sensors()[0].sample_ray(mi.Float(0), mi.Float(0.5), position, mi.Point2f(0.5))
    hit = np.asarray(scene.ray_test(rays)).astype(np.float64).reshape(size, GRID, size, GRID)
    return hit.mean((1, 3))
