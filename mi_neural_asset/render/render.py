"""A scene file rendered into an EXR file, by one process or by several that share its samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import drjit as dr
import mitsuba as mi
import torch

from .. import __version__
from ..distributed import ALONE, Processes
from ..loading import load, parsed, parser_config
from ..progress import Progress
from .record import Record, check_name, fingerprint

SEEDS = 1 << 32  # there are so many


def render(
    path: str | os.PathLike, out: str | os.PathLike, *, spp: int = 0, seed: int = 0, params: dict[str, Any] | None = None,
    processes: Processes = ALONE, progress: bool = True,
) -> Record:  # fmt: skip
    """Render a scene file through its first sensor with its own integrator.

    Process k renders its share of the samples with seed + k; the films are added, as if one film had seen all samples, and rank 0
    writes the picture.

    Args:
        path: scene file.
        out: EXR file to write, with 32-bit channels and a `Record`.
        spp: samples per pixel of all processes together; 0: as the scene's sampler says.  Some samplers round it up.
        seed: of the first process.
        params: values of the scene's `$name`s.
        processes: that render together (`distributed.join`).
        progress: show progress on standard error, where the integrator tells it.

    Returns:
        what is written about the picture.

    Raises:
        ValueError: an argument is wrong, or the scene lacks a sensor or an integrator.
        RuntimeError: Mitsuba's own errors.
        OSError: the file cannot be written; an old one stays whole.
        LostProcess, Mismatch: another process has ended, or renders something else.
    """
    config, values = parser_config(parallel=False), {name: str(value) for name, value in (params or {}).items()}

    def prepare() -> tuple[mi.Scene, str, int]:
        check_name(out)
        if not 0 <= seed <= SEEDS - processes.size:
            raise ValueError(f"render: seeds {seed} to {seed + processes.size - 1} are used; they must be from 0 to {SEEDS - 1}")
        with parsed(Path(path), values, config) as state:
            scene_print = fingerprint(state)
        scene = load(Path(path), values, config)
        if not isinstance(scene, mi.Scene) or not scene.sensors() or scene.integrator() is None:
            raise ValueError(f"{path}: to be rendered it must be a <scene> with a sensor and an integrator")
        return scene, scene_print, _share(scene.sensors()[0].sampler(), spp, processes)

    scene, scene_print, share = processes.together(prepare)
    versions = {"mi_neural_asset": __version__, "mitsuba": mi.__version__, "variant": mi.variant()}
    processes.check_same({"scene": scene_print, "spp": spp, "seed": seed, **versions})
    sensor, samples = scene.sensors()[0], int(processes.sum(torch.tensor(share)))
    with Progress(f"render {Path(out).name}", progress and processes.rank == 0) as bar:
        processes.together(lambda: _expose(scene, share, seed + processes.rank, bar))
        _add_up(sensor.film(), processes, share / samples if isinstance(scene.integrator(), mi.AdjointIntegrator) else 1.0)
    record = Record(samples, tuple(range(seed, seed + processes.size)), scene_print)
    processes.together(lambda: processes.rank or record.write(out, sensor.film().bitmap()))
    return record


def _share(sampler: mi.Sampler, spp: int, processes: Processes) -> int:
    """Samples per pixel of this process; samplers round them up."""
    total = spp or sampler.sample_count()
    if total < processes.size:
        raise ValueError(f"render: {processes.size} processes cannot share {total} samples per pixel; give --spp {processes.size} or more")
    sampler = sampler.clone()
    sampler.set_sample_count(total // processes.size + (processes.rank < total % processes.size))
    return sampler.sample_count()


def _expose(scene: mi.Scene, spp: int, seed: int, bar: Progress) -> None:
    """Fill the film."""
    integrator = scene.integrator()
    if hasattr(integrator, "progress"):
        integrator.progress = lambda done, total: bar.update(done / total)
    integrator.render(scene, scene.sensors()[0], seed, spp, False)
    dr.eval(scene.sensors()[0].film().develop(raw=True))


def _add_up(film: mi.Film, processes: Processes, weight: float) -> None:
    """The film of all processes in place of each; `weight`: of this one, for what films do not normalise (light tracing)."""
    if processes.size > 1:
        raw = film.develop(raw=True)
        total = processes.sum(weight * raw.torch().cpu())
        film.clear()
        film.put_block(mi.ImageBlock(mi.TensorXf(total), mi.ScalarPoint2i(film.crop_offset()), rfilter=None, border=False))
