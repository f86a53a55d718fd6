"""`bake`: from a scene to an asset, with budgets, checkpoints, interruption, validation and previews."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import signal
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import mitsuba as mi
import torch

from .. import __version__
from ..allocator import keep_memory_mapped
from ..asset.asset import NeuralAsset
from ..asset.description import Description, bounding_box, bounding_sphere, describe, scene_dict
from ..asset.hull import half_spaces
from ..asset.reciprocal import is_reciprocal
from ..asset.validate import check
from ..distributed import ALONE, Processes
from ..files import Lock, remove_leftovers
from ..model.coordinates import coordinates
from ..model.kinds import build, leaves_specular
from ..model.probes import Tables
from ..model.proxy import HULL_PLANES
from ..occlusion import Occlusion
from ..probes import ProbeMesh
from ..progress import Progress
from ..specular import lets_through
from .buffer import PathBuffer
from .checkpoint import CheckpointError, checkpoint_path, load_checkpoint, make_way, save_checkpoint, to_continue
from .delivery import deliver
from .errors import BakeError, BakeInterrupted
from .footprint import check_fits
from .kinds import kind_of
from .log import BakeLog
from .options import OPTION_NAMES, BakeOptions
from .presets import BakeConfig, budgeted, fitted, paths_of_tables, preset
from .preview import Preview
from .rows import Rows
from .sampler import Paths, PathSampler
from .signals import Signals
from .trainer import NonFiniteLoss, Trainer
from .transfer import probe_tables

CHECKPOINT_INTERVAL = 60.0  # seconds
GOOD_INTERVAL = 200  # steps between states that a non-finite loss goes back to
SPHERE_SLACK = 1.0001  # the sampling sphere is this much larger than the bounding sphere


def bake(
    scene: str | os.PathLike | dict | mi.Scene, out: str | os.PathLike | None = None, *, preset: str = "preview", kind: str = "transport",
    steps: int | None = None, minutes: float | None = None, seed: int = 0, device: str | None = None,
    resume: str | os.PathLike | bool | None = None, progress: bool = True, only: Sequence[str] | None = None,
    options: BakeOptions | None = None, processes: Processes = ALONE, **more: Any,  # noqa: ANN401
) -> NeuralAsset:  # fmt: skip
    """Bake the light transport of a scene's shapes into an asset.

    Args:
        scene: path of a scene file, a dict for `mi.load_dict`, or a loaded scene.  Emitters and sensors are ignored.
        out: asset file to write (`.pt`); None: only return the asset.
        preset: "preview" (about 10 CPU minutes), "standard" (about an hour) or "paper" (the paper's sizes: for a GPU).
        kind: "transport" (the 8D transport), or "far_field" (the baseline that takes all light to be far away).
        steps: optimisation steps, instead of the preset's.
        minutes: wall-clock budget instead of a number of steps; the result then depends on the machine's speed.
        seed: of everything; the same seed and steps give the same asset on the CPU.
        device: torch device of the networks; None: "cuda" if there is one, else "cpu".
        resume: a checkpoint, or True for the one beside `out`.
        progress: show progress on standard error.
        only: ids of the shapes to bake, of a larger scene.
        options: see `BakeOptions`.
        processes: that bake together (`distributed.join`): batches and buffers are divided among them, rank 0 does all else.
        **more: fields of `BakeOptions`, such as log="bake.jsonl", and of `ModelConfig`, such as coordinates="paper".

    Returns:
        the asset, reloaded and compared with the trained model where `out` is given (by rank 0).

    Raises:
        ValueError: the scene holds something that cannot be baked, or an option is wrong; the message names it.
        BakeError: the optimisation diverged, or the asset could not be written; the last good state is in the checkpoint.
        Busy: another process bakes into `out`.
        CheckpointError: the checkpoint is damaged or belongs to another bake; the message names the difference.
        BakeInterrupted: stopped by Ctrl-C or SIGTERM; the checkpoint is written if `out` is given.
        LostProcess, Mismatch: another process has ended, or bakes something else.
    """
    if steps is not None and minutes is not None:
        raise ValueError("bake: give steps or minutes, not both")
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is not None and not value > 0:
            raise ValueError(f"bake: {name} must be positive, got {value}")
    options = dataclasses.replace(options or BakeOptions(), **{name: more.pop(name) for name in OPTION_NAMES if name in more})
    config = _config(preset, steps, more, kind, minutes)
    run = processes.together(lambda: Bake(
        scene, out, config, minutes=minutes, seed=seed, device=device, progress=progress, only=only, options=options, processes=processes,
        given=more,
    ))  # fmt: skip
    return run.run(resume)


def _config(name: str, steps: int | None, model: dict[str, Any], kind: str = "transport", minutes: float | None = None) -> BakeConfig:
    return budgeted(name, preset(name, kind, **model), minutes, steps)


class Bake:
    """One bake; see `bake` for the arguments.

    given: fields of the model's configuration that somebody has chosen.
    """

    def __init__(
        self, scene: Any, out: str | os.PathLike | None, config: BakeConfig, *, minutes: float | None, seed: int, device: str | None,  # noqa: ANN401
        progress: bool, only: Sequence[str] | None, options: BakeOptions, processes: Processes = ALONE,
        given: Collection[str] = (),
    ) -> None:  # fmt: skip
        if mi.variant() is None or not mi.variant().startswith(("llvm_ad_rgb", "cuda_ad_rgb")):
            raise ValueError(f"bake: needs a JIT RGB variant, the active one is {mi.variant()}: call mitsuba.set_variant('llvm_ad_rgb')")
        if processes.rank:  # rank 0 writes and speaks
            out, progress = None, False
            options = dataclasses.replace(
                options, log=None, tensorboard=None, preview_image=None, certify=False, validation_interval=math.inf
            )
        self.processes = processes
        self.out = None if out is None else Path(out)
        if self.out is not None and not self.out.absolute().parent.is_dir():
            raise ValueError(f"bake: folder {self.out.absolute().parent} does not exist; make it, or choose another output file")
        self.minutes, self.seed, self.options = minutes, seed, options
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.progress = Progress(f"bake {self.out.name}" if self.out else "bake", progress)
        self._asked = self._stop = ""  # the signal that has arrived here, and the one that stops the bake
        keep_memory_mapped()
        self.description: Description = describe(scene, only, options.params)
        self.notices = [str(notice) for notice in check(self.description)]
        config = fitted(config, self.description, given)
        share, size = config.share(processes.size), processes.size
        self.config = dataclasses.replace(config, batch=size * share.batch, buffer=size * share.buffer)
        if size > 1:
            self.notices.append(f"{size} processes, each with batches of {share.batch} rows and {share.buffer} paths at once")
        self._prepare(share)

    def _prepare(self, share: BakeConfig) -> None:
        center, radius = bounding_sphere(self.description)
        low, high = (torch.as_tensor(v, dtype=torch.float64) for v in bounding_box(self.description))
        self.center, self.scale = torch.as_tensor(center, dtype=torch.float64), float(radius)
        scene, c = mi.load_dict(scene_dict(self.description), parallel=False), self.config
        specular = leaves_specular(c.kind, c.model)
        sampler = PathSampler(
            scene, self.center.tolist(), self.scale * SPHERE_SLACK, volume=self.description.is_volume,
            specular=specular,
        )  # fmt: skip
        self._passable = self.description.is_volume or (specular and lets_through(scene))
        torch.manual_seed(self.seed)
        model = build(c.kind, c.model)
        extent = torch.maximum(high - self.center, self.center - low) / self.scale
        model.proxy.extent.copy_(extent)
        if model.proxy.kind == "hull":
            planes = half_spaces(self.description, self.center.tolist(), self.scale, HULL_PLANES)
            model.proxy.planes.copy_(torch.as_tensor(planes))
        told = dataclasses.replace(share, probe_paths=paths_of_tables(c, self.minutes))
        check_fits(told, model, self.options.memory, bulks=1 if self.device.type == "cpu" else 2)  # see `PathBuffer`
        on_cpu = model if self.device.type == "cpu" else copy.deepcopy(model)
        model.to(self.device)
        self._probes = ProbeMesh(self.description.shapes, self.center, self.scale, c.model.probes) if c.model.probes else None
        self.kind = kind_of(c)
        reciprocal = c.reciprocity and c.kind == "transport" and is_reciprocal(self.description)
        center = self.center.float()
        occlusion = Occlusion(scene, center.tolist(), self.scale, c.model.occlusion, self._probes)

        def rows(paths: Paths) -> Rows:
            return self.kind.rows(paths, on_cpu, center, self.scale, occlusion)

        self.buffer = PathBuffer(
            sampler, rows, share, seed=self.seed, reciprocal=reciprocal, device=self.device, processes=self.processes
        )
        self.trainer = Trainer(model, self.buffer, c, self.processes)
        self.elapsed = 0.0

    def _tables(self) -> Tables | None:
        """What the networks are told of the probes."""
        if self._probes is None:
            return None
        self.progress.update(self._fraction(), "filling the probes' tables")
        c = self.config
        count, bulk, buffer = paths_of_tables(c, self.minutes), c.share(self.processes.size).buffer, self.buffer
        placed = coordinates(c.model.coordinates, copy.deepcopy(self.trainer.model.proxy).cpu())
        return probe_tables(self._probes, placed, buffer.sampler, count, bulk, self.seed, buffer.reciprocal, self.processes)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this bake."""
        scene = {f"shape {shape['id']}": Description([shape]).digest()[:16] for shape in self.description.shapes}
        scene |= {f"medium {name}": Description([], {name: tree}).digest()[:16] for name, tree in self.description.media.items()}
        return {
            "config": self.config.to_dict(), "seed": self.seed, "minutes": self.minutes, "scene": scene, "mi_neural_asset": __version__,
            "processes": self.processes.size,
        }  # fmt: skip

    @property
    def _versions(self) -> dict[str, str]:
        """What else can change a resumed bake's last bits."""
        return {"mitsuba": mi.__version__, "torch": str(torch.__version__), "variant": mi.variant(), "device": self.device.type}

    def _fraction(self) -> float:
        if self.minutes is not None:
            return self.elapsed / (60 * self.minutes)
        return self.trainer.step / self.config.steps

    def run(self, resume: str | os.PathLike | bool | None) -> NeuralAsset:
        """Bake to the end."""
        self.processes.check_same({**self.identity, **self._versions})
        with ExitStack() as held:
            self.processes.together(lambda: self.out and held.enter_context(Lock(self._checkpoint())))
            return self._run(resume)

    def _run(self, resume: str | os.PathLike | bool | None) -> NeuralAsset:
        notices = [*self.notices, *self._clear(bool(resume)), *self._resume(resume)]
        options = self.options
        log = BakeLog(options.log, options.tensorboard, options.log_interval, self.trainer.step > 0, self.progress.say)
        with log, self.progress, Signals(self._request_stop):
            for notice in notices:
                self.progress.say(notice)
            asset = self._logged(log, notices)
        if self.out is not None and (checkpoint := self._checkpoint()).exists():
            checkpoint.unlink()
        return asset

    def _logged(self, log: BakeLog, notices: list[str]) -> NeuralAsset:
        """Optimise and write, from the first line of the log to its last."""
        log.start(
            self.buffer.counts.paths, step=self.trainer.step, seconds=self.elapsed, **self.identity, **self._versions, notices=notices
        )
        try:
            self._optimise(log)
            self.buffer.rest()
            if self.processes.rank:
                return self.asset()
            figures = self.kind.validate(self.trainer.average, self.held_out)
            log.validation(self.trainer.step, self.elapsed, figures)
            asset = self._finish(figures)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            log.end(status, self.trainer.step, self.elapsed, message=str(error) or type(error).__name__)
            raise
        log.end("done", self.trainer.step, self.elapsed, asset=self.out)
        return asset

    def _clear(self, resumes: bool) -> list[str]:
        """Remove what killed saves left; say what is found."""
        if self.out is None:
            return []
        parts = [part.name for path in (self.out, self._checkpoint()) for part in remove_leftovers(path)]
        said = [f"removed {', '.join(parts)}: left by a save that was killed"] if parts else []
        if not resumes and not self.processes.restarts:
            said += make_way(self._checkpoint(), self.processes.restartable)
        return said

    def _resume(self, resume: str | os.PathLike | bool | None) -> list[str]:
        """Continue from a checkpoint where there is one to; returns what is to be said."""
        restarts = self.processes.restarts

        def load() -> tuple[dict[str, Any], float, dict[str, str], str] | None:
            path = to_continue(self._checkpoint(), resume, restarts > 0)
            return path and (*load_checkpoint(path, self.identity), str(path))

        found = self.processes.by_first(load)
        if found is None:
            return []
        state, self.elapsed, versions, name = found
        try:
            self.trainer.load_state(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            said = f"{name}: its state does not fit this bake ({error!r:.200}); start the bake without resume"
            raise self.processes.said(CheckpointError(said)) from error
        said = [f"restarted by torchrun: going on from {name}, step {self.trainer.step}"] if restarts else []
        if versions != self._versions:
            said.append(f"the checkpoint was written with {versions}, this is {self._versions}: the result may differ in its last bits")
        return said

    def _optimise(self, log: BakeLog) -> None:
        self.progress.update(self._fraction(), "sampling paths")
        mean = torch.zeros(3, device=self.device)
        if self.processes.rank == 0:
            self.held_out = self.buffer.validation(self.config.validation)
            mean = self.held_out.beta.mean(0)
        if self.trainer.step == 0:
            self.trainer.start(mean, self._tables())
        preview = Preview(self) if self.options.preview_image else None
        try:
            self._advance(log, preview)
        except NonFiniteLoss as error:
            self.trainer.restore_good()
            where = self.save_checkpoint()
            raise self.processes.said(BakeError(
                f"the optimisation diverged: {error}; the state of step {self.trainer.step} is kept{where}. "
                "Bake with another seed, or with a smaller learning rate"
            )) from None  # fmt: skip

    def _advance(self, log: BakeLog, preview: Preview | None) -> None:
        """All steps, with what is due between them."""
        last_save = last_check = last = time.monotonic()
        text = ""
        while self._fraction() < 1:
            flow, albedo = self.trainer.advance(self._fraction())
            now = time.monotonic()
            self.elapsed, last = self.elapsed + now - last, now
            self._agree()
            log.step(self.trainer.step, self.elapsed, self._fraction(), self.config.batch, flow, albedo, self.trainer)
            if self.trainer.step % GOOD_INTERVAL == 0:
                self.trainer.keep_good()
            if now - last_check > self.options.validation_interval:
                figures = self.kind.validate(self.trainer.average, self.held_out)
                log.validation(self.trainer.step, self.elapsed, figures)
                text = f", held-out NLL {figures['nll']:.3f}, albedo x{sum(figures['albedo_ratio']) / 3:.4f}"
                last_check = time.monotonic()
            if now - last_save > CHECKPOINT_INTERVAL:
                if (said := self.save_checkpoint()).startswith(";"):
                    self.progress.say(f"the bake goes on{said}")
                last_save = now
            if preview:
                preview.update()
            self.progress.update(min(self._fraction(), 1.0), f"step {self.trainer.step}, loss {flow:.3f}{text}")
            if self._stop:
                where = self.save_checkpoint()
                raise self.processes.said(BakeInterrupted(f"bake stopped by {self._stop} at step {self.trainer.step}{where}"))

    def _agree(self) -> None:
        """Rank 0's clock holds for all, and so does a wish to stop, whoever was asked."""
        own = [0.0 if self.processes.rank else self.elapsed, signal.Signals[self._asked] if self._asked else 0]
        self.elapsed, number = self.processes.greatest(torch.tensor(own, dtype=torch.float64)).tolist()
        self._stop = signal.Signals(int(number)).name if number else ""

    def _request_stop(self, name: str) -> None:
        self._asked = name

    def _checkpoint(self) -> Path | None:
        return None if self.out is None else checkpoint_path(self.out)

    def save_checkpoint(self) -> str:
        """Save; returns what to say about it.  A bake goes on where its checkpoint cannot be written."""
        path = self._checkpoint()
        if path is None:
            return ""
        try:
            save_checkpoint(path, self.identity, self.trainer.state(), self.elapsed, self._versions)
        except OSError as error:
            return f"; no checkpoint: {error.strerror or error}"
        return f" in {path}; continue with resume ({path})"

    def asset(self, provenance: dict[str, Any] | None = None) -> NeuralAsset:
        """The asset as it stands, in memory."""
        average = self.trainer.average
        return NeuralAsset(
            boundary=self.description if self._passable else self.description.without_media(),
            source=self.description if self.options.source else None,
            center=self.center.tolist(), scale=self.scale, config=self.config.model,
            weights={name: value.detach().cpu().clone() for name, value in average.state_dict().items()},
            provenance=provenance or {}, units=self.options.units, up_axis=self.options.up_axis,
            kind=self.config.kind,
        )  # fmt: skip

    def _finish(self, figures: dict[str, Any]) -> NeuralAsset:
        return deliver(self, figures)
