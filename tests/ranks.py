"""What the processes of test_distributed.py do: `torchrun --nproc-per-node 2 tests/ranks.py FOLDER`.

They bake a tiny ball together, several times, and render a scene; what each has found goes into FOLDER/rank_K.pt.  Then rank 0
bakes the ball alone on the joined batches of all: FOLDER/alone.pt.  `tests/ranks.py FOLDER STEPS` is `mi-neural-asset bake
FOLDER/ball.xml -o FOLDER/ball.pt` instead, with tiny networks and a checkpoint after every step.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mi_neural_asset  # noqa: F401  (names the LLVM library before Dr.Jit is imported)

STEPS = 12  # about two generations of paths
SPP, SEED = 9, 3  # of the render


def main(folder: Path) -> None:
    """One process."""
    import mitsuba as mi
    import torch
    from kills import BALL

    mi.set_variant("llvm_ad_rgb")
    from mi_neural_asset.baking import bake as module
    from mi_neural_asset.baking import presets
    from mi_neural_asset.distributed import join

    presets.PRESETS["preview"] = presets.BakeConfig(batch=192, buffer=1024, validation=256)
    scene = {"type": "scene", "ball": BALL}
    with join("cpu") as processes:
        found = {"threads": torch.get_num_threads(), **bakes(scene, folder, processes)}
        found["record"] = vars(picture(folder, processes))
    torch.save(found, folder / f"rank_{processes.rank}.pt")
    if processes.rank == 0:
        with noted(module.Trainer, "_losses") as losses:
            weights = alone(scene, processes.size)
        torch.save({"weights": weights, "losses": losses}, folder / "alone.pt")


@contextmanager
def noted(place: Any, name: str, before: Any = lambda self: None) -> Any:  # noqa: ANN401
    """What the function `name` returns while this lasts; `before` is called with its first argument."""
    function, results = getattr(place, name), []

    def wrapper(self, *arguments):  # noqa: ANN001, ANN002, ANN202
        before(self)
        results.append(function(self, *arguments))
        return results[-1]

    setattr(place, name, wrapper)
    try:
        yield results
    finally:
        setattr(place, name, function)


def bakes(scene: dict, folder: Path, processes: Any) -> dict:  # noqa: ANN401
    """A whole bake; one that the last rank stops, and its continuation; one that diverges there; one with a budget of time."""
    import torch
    from kills import MODEL

    from mi_neural_asset.baking import bake as module

    last = processes.rank == processes.size - 1

    def bake(name: str, **settings: Any) -> Any:  # noqa: ANN401
        settings = {"steps": STEPS, "progress": False, "certify": False, **settings, **MODEL}
        return module.bake(scene, folder / name, processes=processes, **settings)

    def stop(trainer: Any) -> None:  # noqa: ANN401
        if last and trainer.step == 4:
            signal.raise_signal(signal.SIGTERM)

    def poison(trainer: Any) -> None:  # noqa: ANN401
        if last and trainer.step == 4:
            next(trainer.model.parameters()).data.fill_(torch.nan)

    def ended(name: str, event: Any) -> str:  # noqa: ANN401
        with noted(module.Trainer, "advance", event):
            try:
                bake(name)
            except BaseException as error:
                return f"{type(error).__name__}: {error}"

    with noted(module.Trainer, "_losses") as losses:
        whole = bake("whole.pt")
    found = {"weights": whole.weights, "losses": losses, "paths": whole.provenance.get("paths")}
    found["stopped"] = ended("parts.pt", stop)
    found["resumed"] = bake("parts.pt", resume=True).weights
    found["diverged"] = ended("bad.pt", poison)
    with noted(module.Trainer, "_losses") as steps:
        bake("timed.pt", steps=None, minutes=0.005)
    return {**found, "timed": len(steps)}


def picture(folder: Path, processes: Any) -> Any:  # noqa: ANN401
    """A picture of FOLDER/scene.xml, which is there."""
    from mi_neural_asset.render.render import render

    return render(folder / "scene.xml", folder / "together.exr", spp=SPP, seed=SEED, processes=processes, progress=False)


def alone(scene: dict, size: int) -> dict:
    """Weights that one process reaches on the joined batches of `size` ranks."""
    from kills import MODEL

    from mi_neural_asset.baking import bake as module
    from mi_neural_asset.distributed import Processes

    config = module._config("preview", STEPS, MODEL)
    share = config.share(size)
    settings = {"minutes": None, "seed": 0, "device": "cpu", "progress": False, "only": None, "options": module.BakeOptions()}
    runs = [module.Bake(scene, None, share, **settings, processes=Processes(rank)) for rank in range(size)]
    first = runs[0]
    first.config = replace(config, batch=size * share.batch, buffer=share.buffer)
    trainer = module.Trainer(first.trainer.model, Joined([run.buffer for run in runs]), first.config)
    trainer.start(first.buffer.validation(config.validation).beta.mean(0), first._tables())
    while trainer.step < STEPS:
        trainer.advance(trainer.step / STEPS)
    return trainer.average.state_dict()


class Joined:
    """Batches of several buffers as one: first the rows with throughput of all, then those without."""

    def __init__(self, buffers: list) -> None:
        self._buffers = buffers
        self.counts, self.generation, self.position = buffers[0].counts, 0, 0

    def next(self) -> Any:  # noqa: ANN401
        import torch

        from mi_neural_asset.baking.buffer import joined

        latest = max(buffer.generation for buffer in self._buffers)
        for buffer in self._buffers:  # all begin a generation with the one that has the fewest batches
            if buffer.generation < latest:
                buffer.seek(latest, 0)
        batches = [buffer.next() for buffer in self._buffers]
        rows = [torch.arange(len(b.x_o)) for b in batches]
        alive = [b.rows(r[: b.flow]) for b, r in zip(batches, rows, strict=True)]
        dead = [b.rows(r[b.flow :]) for b, r in zip(batches, rows, strict=True)]
        return replace(joined([*alive, *dead]), flow=sum(b.flow for b in batches))


def command(folder: Path, steps: str) -> int:
    """The command; returns its exit code."""
    from kills import MODEL

    from mi_neural_asset import cli
    from mi_neural_asset.baking import bake as module
    from mi_neural_asset.baking import presets
    from mi_neural_asset.model.config import ModelConfig

    module.CHECKPOINT_INTERVAL = -1.0
    presets.PRESETS["preview"] = presets.BakeConfig(ModelConfig(**MODEL), batch=192, buffer=1024, validation=256)
    return cli.main(["bake", str(folder / "ball.xml"), "-o", str(folder / "ball.pt"), "--steps", steps, "--no-certificate"])


if __name__ == "__main__":
    sys.exit(command(Path(sys.argv[1]), sys.argv[2]) if len(sys.argv) > 2 else main(Path(sys.argv[1])))
