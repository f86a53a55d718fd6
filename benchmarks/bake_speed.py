"""Speed of a bake, split by stage.

    python benchmarks/bake_speed.py [SCENE] [--steps N] [--device D] [--quick] [--json FILE]

A step consists of its share of the path generation and of the distances to the asset itself, the losses with their gradient,
and the optimiser.  Prints the median time of each, and beside the losses the arithmetic limit: the multiply-adds of the
networks, forward and twice backward, at the rate of a large matrix product that is measured in the same run; and, in turns with
ours, the time of the same gradient by torch alone: its own gradient of the losses, splines by the plain twin.  On a GPU also the
whole steps of a bake, which are recorded there, paths and all, and samples/s.  Then the same with
16 knots and 12288 rows, and for a few steps of the preset `paper`, and what its 240000 steps would take (`bake.paper_s` in the file).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

from common import add_device, finish, machine, product_rate, row, write_json

PLAIN, RECORDED = "losses, gradient, plain twin", "recorded step, paths and all"
SEAL = Path(__file__).resolve().parent.parent / "scenes" / "seal.xml"


def multiply_adds(model, rows: int, flow_rows: int) -> int:  # noqa: ANN001
    """Of the networks in one step, forward."""
    albedo, flow = (sum(p.numel() for p in part.parameters() if p.ndim == 2) for part in (model.albedo_net, model.flow.steps))
    return rows * albedo + flow_rows * flow


def measure(scene: str, config, steps: int, device: str) -> tuple[dict[str, float], int, object]:  # noqa: ANN001
    """Median seconds of a step's stages; multiply-adds of its networks, forward; the last batch."""
    import torch

    from mi_neural_asset import splines
    from mi_neural_asset.baking.bake import Bake, BakeOptions
    from mi_neural_asset.baking.gradient import plain_gradient
    from mi_neural_asset.threads import torch_at_work

    bake = Bake(scene, None, config, minutes=None, seed=0, device=device, progress=False,
                only=["seal"] if scene == str(SEAL) else None, options=BakeOptions(source=False))  # fmt: skip
    trainer, buffer = bake.trainer, bake.buffer
    trainer.advance(0.1)
    plain, factor = plain_gradient(trainer.model, config), torch.tensor(1.0, device=device)
    times: dict[str, list[float]] = {name: [] for name in ("paths", "rows of a batch", "losses, gradient", "optimisers", PLAIN)}
    start = time.perf_counter()
    buffer.seek(1, 0)
    batch = buffer.next()
    times["paths"].append((time.perf_counter() - start) / max(len(buffer._order), 1))
    for _ in range(steps):
        if buffer.position == 0:
            buffer.seek(1, 1)
            buffer.next()
        marks = [time.perf_counter()]
        batch = buffer.next()
        finish()
        marks.append(time.perf_counter())
        trainer.gradient(batch, factor)
        finish()
        marks.append(time.perf_counter())
        with torch_at_work():
            trainer.optimizer.schedule(0.1)
            trainer.optimizer.apply()
        finish()
        marks.append(time.perf_counter())
        with splines.only_plain():
            plain(batch, factor)
        finish()
        marks.append(time.perf_counter())
        for name, a, b in zip(list(times)[1:], marks, marks[1:], strict=False):
            times[name].append(b - a)
    medians = {name: statistics.median(values) for name, values in times.items()}
    if device.startswith("cuda"):
        for _ in range(8):
            trainer.advance(0.1)
        finish()
        start = time.perf_counter()
        for _ in range(20 * steps):
            trainer.advance(0.1)
        finish()
        medians[RECORDED] = (time.perf_counter() - start) / (20 * steps)
    return medians, multiply_adds(trainer.model, batch.x_o.shape[0], batch.flow), batch


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", nargs="?", default=str(SEAL))
    parser.add_argument("--steps", type=int, default=60)
    add_device(parser)
    parser.add_argument("--quick", action="store_true", help="few steps")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    from mi_neural_asset.baking.presets import preset
    from mi_neural_asset.threads import torch_at_work

    on, rows = machine(options.device), []
    print(json.dumps(on))
    few, many = (2, 10) if options.quick else (5, options.steps)
    larger = dataclasses.replace(preset("preview", knots=16), batch=12288)
    for name, config, steps in (("preview", preset("preview"), many), ("preview, 16 knots, 12288 rows", larger, many),
                                ("paper", preset("paper"), few)):  # fmt: skip
        config = dataclasses.replace(config, buffer=min(config.buffer, 1 << 17)) if name == "paper" or options.quick else config
        medians, work, batch = measure(options.scene, config, steps, options.device)
        with torch_at_work():
            rate = product_rate(options.device)
        print(f"{name}: matrix product: {rate / 1e9:.1f} G multiply-adds/s; {len(batch.x_o)} rows, {batch.flow} of them for the flow")
        plain, recorded = medians.pop(PLAIN), medians.pop(RECORDED, None)
        total, limit = sum(medians.values()), 3 * work / rate
        for stage, value in medians.items():
            bounded = stage.startswith("losses")
            rows.append(row(f"bake.{name}.{stage}", value, "s", limit if bounded else None))
            print(f"{stage:18}{1e3 * value:9.1f} ms{value / total:8.1%}" + (f"   limit {1e3 * limit:.1f} ms" if bounded else ""))
        rows += [row(f"bake.{name}.step", total, "s", limit), row(f"bake.{name}.{PLAIN}", plain, "s", limit)]
        print(f"{'step':18}{1e3 * total:9.1f} ms")
        if recorded:
            rows += [row(f"bake.{name}.{RECORDED}", recorded, "s", limit), row(f"bake.{name}.samples_per_s", batch.flow / recorded, "1/s")]
            print(f"{RECORDED}: {1e3 * recorded:.2f} ms, {batch.flow / recorded / 1e6:.2f} M samples/s")
            total = recorded
        print(f"{PLAIN}: {1e3 * plain:.1f} ms, {plain / medians['losses, gradient']:.2f} times as long")
    rows.append(row("bake.paper_s", total * config.steps, "s", limit * config.steps))
    print(f"{config.steps} steps of the preset paper: {total * config.steps / 3600:.1f} h")
    write_json(options.json, {"machine": on, "rows": rows})


if __name__ == "__main__":
    main()
