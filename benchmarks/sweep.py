"""Choices of the model and of its training, one at a time against the default, at equal time.

    python benchmarks/sweep.py SCENE [--steps N] [--seed N] [--only NAME ...] [--out FILE]

The default bakes SCENE for N steps; each other variant gets as many as take it the same time, by the ratio of step times that
is measured in turns before it starts: so the load of the machine does not matter.  (3600 steps are about five minutes on two
quiet cores.)  Judged on held-out paths: negative log-likelihood of rays [nats] and the albedo's squared error (the paths' own
noise included: compare differences).  Results are kept in FILE by variant, scene, seed and steps; what is there is not done
again, so that the sweep can be stopped and started.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import mi_neural_asset  # noqa: F401  (names the LLVM library before Dr.Jit is imported)
from mi_neural_asset.files import replacing

Patch = Callable[[], Any]  # a context in which something of the library is replaced: an experiment, not an option


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:  # noqa: ANN401
    """`module.name` is `value` within this context."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def open_angles() -> Any:  # noqa: ANN401
    """Angles as numbers with two ends instead of periodic ones."""
    from mi_neural_asset.model import flow

    return replaced(flow, "PERIODIC", (False,) * 4)


def warp(exponent: float) -> Patch:
    """Another exponent of s3."""

    def patch() -> Any:  # noqa: ANN401
        from mi_neural_asset.model import coordinates

        return replaced(coordinates, "WARP_EXPONENT", exponent)

    return patch


def schedule(shape: Callable[[float], float]) -> Patch:
    """Another course of the learning rate over the bake, in parts of its peak."""

    def patch() -> Any:  # noqa: ANN401
        from mi_neural_asset.baking.trainer import Trainer

        return replaced(Trainer, "schedule", lambda self, progress: min(1.0, (self.step + 1) / 50) * shape(min(progress, 1.0)))

    return patch


def growing_batch() -> Any:  # noqa: ANN401
    """A third of the batch in the first half of the time."""
    from mi_neural_asset.baking.trainer import Trainer

    advance = Trainer.advance

    def grow(self, progress: float):  # noqa: ANN001, ANN202
        buffer, full = self.buffer, self.config.batch
        if buffer.position == len(buffer._order):  # the buffer cuts what it generates into batches of one size
            buffer._batch = full if progress > 0.5 else full // 3
        return advance(self, progress)

    return replaced(Trainer, "advance", grow)


def face_normals() -> Any:  # noqa: ANN401
    """Geometric normals at x_o instead of interpolated ones: flat faces."""
    from mi_neural_asset.baking import bake

    whole = bake.scene_dict

    def flat(description, **options):  # noqa: ANN001, ANN003, ANN202
        shapes = [
            {**s, "geometry": {**s["geometry"], "normals": None, "face_normals": True}} if s["geometry"]["type"] == "mesh" else s
            for s in description.shapes
        ]
        return whole(description.replace(shapes=shapes), **options)

    return replaced(bake, "scene_dict", flat)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What differs from the default: fields of the model, of the bake, or an experiment."""

    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    bake: dict[str, Any] = dataclasses.field(default_factory=dict)
    patch: Patch = nullcontext
    formula: bool = False  # the patch changes a formula that kernels have as well: torch takes the gradient, in as many steps

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the experiment is on."""
        from mi_neural_asset.baking import gradient, trainer

        with self.patch(), replaced(trainer, "gradient_of", gradient.plain_gradient) if self.formula else nullcontext():
            yield


VARIANTS = {
    "default": Variant(),
    "Adam alone": Variant(bake={"matrix_rate": 0.0}),
    "Adam alone, rate 8e-3": Variant(bake={"matrix_rate": 0.0, "learning_rate": 8e-3}),
    "rate 2e-3": Variant(bake={"learning_rate": 2e-3}),
    "rate 8e-3": Variant(bake={"learning_rate": 8e-3}),
    "matrix rate 2e-2": Variant(bake={"matrix_rate": 2e-2}),
    "matrix rate 5e-2": Variant(bake={"matrix_rate": 5e-2}),
    "no occlusion input": Variant({"occlusion": 0}),
    "occlusion 4": Variant({"occlusion": 4}),
    "occlusion 12": Variant({"occlusion": 12}),
    "occlusion 24": Variant({"occlusion": 24}),
    "occlusion 64": Variant({"occlusion": 64}),
    "no probes": Variant({"probes": 0}),
    "no occlusion input, no probes": Variant({"occlusion": 0, "probes": 0}),
    "4096 probes": Variant({"probes": 4096}),
    "paths forwards alone": Variant(bake={"reciprocity": False}),
    "triplane 16": Variant({"triplane": 16}),
    "triplane 32": Variant({"triplane": 32}),
    "triplane 128": Variant({"triplane": 128}),
    "cubemap 16": Variant({"cubemap": 16}),
    "features 4": Variant({"features": 4}),
    "width 48": Variant({"width": 48}),
    "width 96": Variant({"width": 96}),
    "depth 3": Variant({"depth": 3}),
    "knots 8": Variant({"knots": 8}),
    "knots 16": Variant({"knots": 16}),
    "knots 24": Variant({"knots": 24}),
    "albedo width 128": Variant({"albedo_width": 128}),
    "box proxy": Variant({"proxy": "box"}),
    "paper's coordinates": Variant({"coordinates": "paper", "proxy": "box"}),
    "open angles": Variant(patch=open_angles, formula=True),
    "warp exponent 3": Variant(patch=warp(3), formula=True),
    "warp exponent 6": Variant(patch=warp(6), formula=True),
    "face normals": Variant(patch=face_normals),
    "batch 2048": Variant(bake={"batch": 2048}),
    "batch 8192": Variant(bake={"batch": 8192}),
    "batch 16384": Variant(bake={"batch": 16384}),
    "growing batch": Variant(patch=growing_batch),
    "constant rate": Variant(bake={"cosine": False}),
    "rate falls in the last third": Variant(patch=schedule(lambda t: 1.0 if t < 2 / 3 else max(3 * (1 - t), 0.01))),
    "no average": Variant(bake={"ema": 0.0}),
    "average 0.9995": Variant(bake={"ema": 0.9995}),
    "each path once": Variant(bake={"reuse": 1}),
    "each path 4 times": Variant(bake={"reuse": 4}),
}

TURNS, STEPS_A_TURN = 10, 5  # of the comparison of step times


def prepare(scene: str, variant: Variant, steps: int, seed: int):  # noqa: ANN201
    """A bake that has not begun."""
    from mi_neural_asset.baking.bake import Bake, BakeOptions
    from mi_neural_asset.baking.presets import preset

    config = dataclasses.replace(preset("preview", **variant.model), **variant.bake, steps=steps)
    options = BakeOptions(source=False, validation_interval=1e9)
    return Bake(
        scene, None, config, minutes=None, seed=seed, device="cpu", progress=False, only=None, options=options, given=variant.model
    )


def step_ratio(scene: str, variant: Variant, seed: int) -> float:
    """Time of a step of a variant, in parts of the default's; generating paths is in it with its share.

    Both take turns, in the first and the second half of a bake; the fastest turn of each half counts, which other work has
    disturbed least.
    """
    trainers, halves = {}, (0.25, 0.75)
    steps, paths = ({(name, half): float("inf") for name in ("variant", "default") for half in halves} for _ in range(2))
    for name, context in (("variant", variant.applied), ("default", nullcontext)):
        with context():
            trainers[name] = prepare(scene, variant if name == "variant" else VARIANTS["default"], 100, seed).trainer
            trainers[name].advance(halves[0])
    for turn in range(TURNS):
        half = halves[turn % 2]
        for name, trainer in trainers.items():
            with variant.applied() if name == "variant" else nullcontext():
                start = time.perf_counter()
                trainer.buffer.seek(trainer.buffer.generation + 1, 0)
                trainer.advance(half)  # generates paths
                middle = time.perf_counter()
                for _ in range(STEPS_A_TURN):
                    trainer.advance(half)
                step = (time.perf_counter() - middle) / STEPS_A_TURN
                steps[name, half] = min(step, steps[name, half])
                paths[name, half] = min((middle - start - step) / len(trainer.buffer._order), paths[name, half])
    cost = {name: sum(steps[name, half] + paths[name, half] for half in halves) for name in trainers}
    return cost["variant"] / cost["default"]


def run(scene: str, name: str, steps: int, seed: int) -> dict[str, Any]:
    """Bake and judge one variant."""
    from mi_neural_asset.baking.losses import validate

    variant = VARIANTS[name]
    ratio = 1.0 if name == "default" or variant.formula else step_ratio(scene, variant, seed)
    with variant.applied():
        bake = prepare(scene, variant, max(1, round(steps / ratio)), seed)
        bake.run(None)
        figures = validate(bake.trainer.average, bake.buffer.validation(1 << 18))
    kept = {key: figures[key] for key in ("ray_nll", "albedo_mse", "albedo_ratio")}
    return {**kept, "steps": bake.trainer.step, "step_time": ratio, "seconds": round(bake.elapsed, 1)}


def main() -> None:
    """Parse the command line, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene")
    parser.add_argument("--steps", type=int, default=3600, help="of the default (default: 3600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=VARIANTS)
    parser.add_argument("--out", type=Path, default=Path("sweep.json"))
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    mi_neural_asset.register()
    done = json.loads(options.out.read_text()) if options.out.exists() else {}
    print(f"{'variant':30}{'ray NLL':>10}{'albedo error':>14}{'steps':>8}")
    for name in options.only or VARIANTS:
        key = f"{name} | {Path(options.scene).stem} | {options.seed} | {options.steps}"
        if key not in done:
            done[key] = run(options.scene, name, options.steps, options.seed)
            with replacing(options.out) as stream:
                stream.write(json.dumps(done, indent=1).encode() + b"\n")
        row = done[key]
        print(f"{name:30}{row['ray_nll']:10.4f}{row['albedo_mse']:14.5f}{row['steps']:8}", flush=True)


if __name__ == "__main__":
    main()
