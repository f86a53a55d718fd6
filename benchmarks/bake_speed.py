"""Speed of a bake, split by stage.

    python benchmarks/bake_speed.py [SCENE] [--steps N] [--json FILE]

A step consists of its share of the path generation and of the distances to the asset itself, the losses with their gradient,
and the optimiser.  Prints the median time of each, and beside the losses the arithmetic limit: the multiply-adds of the
networks, forward and twice backward, at the rate of a large matrix product that is measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from common import machine, product_rate, write_json

SEAL = Path(__file__).resolve().parent.parent / "scenes" / "seal.xml"


def multiply_adds(model, rows: int, flow_rows: int) -> int:  # noqa: ANN001
    """Of the networks in one step, forward: hero channels only in the flow's last layers."""
    albedo = sum(p.numel() for p in model.albedo_net.parameters() if p.ndim == 2)
    flow = 0
    for network in model.flow.steps:
        last = network.last.weight.numel()
        flow += sum(p.numel() for p in network.parameters() if p.ndim == 2) - last + last // network.channels
    return rows * albedo + flow_rows * flow


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", nargs="?", default=str(SEAL))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    from mi_neural_asset.baking.bake import Bake, BakeOptions
    from mi_neural_asset.baking.losses import losses
    from mi_neural_asset.baking.presets import preset
    from mi_neural_asset.threads import torch_at_work

    only = ["seal"] if options.scene == str(SEAL) else None
    bake = Bake(options.scene, None, preset("preview"), minutes=None, seed=0, device="cpu", progress=False, only=only,
                options=BakeOptions(source=False))  # fmt: skip
    trainer, buffer = bake.trainer, bake.buffer
    trainer.advance(0.1)
    times: dict[str, list[float]] = {name: [] for name in ("paths", "rows of a batch", "losses, gradient", "optimisers")}

    start = time.perf_counter()
    buffer.seek(1, 0)
    batch = buffer.next()
    times["paths"].append((time.perf_counter() - start) / len(buffer._order))
    for _ in range(options.steps):
        marks = [time.perf_counter()]
        batch = buffer.next()
        marks.append(time.perf_counter())
        with torch_at_work():
            sum(losses(trainer.model, batch)).backward()
            marks.append(time.perf_counter())
            trainer.optimizer.step(0.1)
            trainer.optimizer.zero_grad()
            marks.append(time.perf_counter())
        if buffer.position > 1:  # else the paths of a new generation are in it
            for name, a, b in zip(list(times)[1:], marks, marks[1:], strict=False):
                times[name].append(b - a)

    with torch_at_work():
        rate = product_rate("cpu")
    work = multiply_adds(trainer.model, batch.x_o.shape[0], batch.flow)
    medians = {name: statistics.median(values) for name, values in times.items()}
    report = {"machine": machine(), "rows": batch.x_o.shape[0], "flow_rows": batch.flow, "seconds": medians,
              "losses_limit": 3 * work / rate, "multiply_adds_per_second": rate}  # fmt: skip
    print(json.dumps(report["machine"]))
    print(f"matrix product: {rate / 1e9:.1f} G multiply-adds/s; {report['rows']} rows, {report['flow_rows']} of them for the flow")
    total = sum(medians.values())
    for name, value in medians.items():
        limit = f"   limit {1e3 * report['losses_limit']:.1f} ms" if name == "losses, gradient" else ""
        print(f"{name:18}{1e3 * value:9.1f} ms{value / total:8.1%}{limit}")
    print(f"{'step':18}{1e3 * total:9.1f} ms")
    write_json(options.json, report)


if __name__ == "__main__":
    main()
