"""Speed of the path sampler on a sphere and on the seal.

    python benchmarks/sampler_speed.py [--quick] [--json FILE]

Prints the machine, the versions and, per scene, the median and the range over repetitions (compilation excluded) of
paths per second, bounces per second, bounces per second of processor time (less disturbed by other programs), the mean
number of bounces, and the share of lane slots that did useful work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from common import machine, row, write_json

SEAL = Path(__file__).resolve().parent.parent / "scenes" / "seal.xml"


def samplers() -> dict:
    """Name -> PathSampler."""
    import mitsuba as mi

    from mi_neural_asset.baking.sampler import PathSampler

    def ball(**medium: object) -> mi.Scene:
        return mi.load_dict({"type": "scene", "ball": {"type": "sphere", "bsdf": {"type": "dielectric"}, "interior": {
            "type": "homogeneous", "albedo": {"type": "rgb", "value": [0.96, 0.994, 0.975]}, **medium}}})  # fmt: skip

    rgb = {"type": "rgb", "value": [0.6, 0.8, 1.0]}
    seal = next(s for s in mi.load_file(str(SEAL)).shapes() if s.id() == "seal")
    box = seal.bbox()
    alone = mi.load_dict({"type": "scene", "seal": seal})
    return {
        "sphere": PathSampler(ball(sigma_t=1.0, scale=20), [0, 0, 0], 1.0),
        "sphere, coloured extinction": PathSampler(ball(sigma_t=rgb, scale=20), [0, 0, 0], 1.0),
        "seal": PathSampler(alone, list(box.center()), box.bounding_sphere().radius),
    }


def measure(sampler: object, count: int, repetitions: int) -> dict:
    """Time `sampler.sample(count)`; the first call compiles and is not counted."""
    start = time.perf_counter()
    sampler.sample(1000, seed=0)
    first = time.perf_counter() - start
    paths_rate, bounce_rate, per_cpu, occupancy = [], [], [], []
    for seed in range(1, repetitions + 1):
        start, cpu = time.perf_counter(), time.process_time()
        paths = sampler.sample(count, seed)
        elapsed = time.perf_counter() - start
        paths_rate.append(count / elapsed)
        bounce_rate.append(paths.bounces / elapsed)
        per_cpu.append(paths.bounces / (time.process_time() - cpu))
        occupancy.append(paths.occupancy)
    return {
        "paths": count,
        "paths_per_second": statistics.median(paths_rate),
        "paths_per_second_range": [min(paths_rate), max(paths_rate)],
        "bounces_per_second": statistics.median(bounce_rate),
        "bounces_per_second_range": [min(bounce_rate), max(bounce_rate)],
        "bounces_per_cpu_second": statistics.median(per_cpu),
        "bounces_per_path": paths.bounces / count,
        "occupancy": statistics.median(occupancy),
        "first_call_seconds": first,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Speed of the path sampler.")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="few paths and repetitions")
    parser.add_argument("--variant", default="llvm_ad_rgb")
    args = parser.parse_args()
    import mitsuba as mi

    mi.set_variant(args.variant)
    on, rows = machine(), []
    print(", ".join(f"{k} {v}" for k, v in on.items()))
    heads = [("paths/s", 10), ("range", 20), ("Mbounces/s", 12), ("per CPU s", 11), ("per path", 10), ("occupancy", 11)]
    print(f"{'scene':28}" + "".join(f"{head:>{width}}" for head, width in heads))
    for name, sampler in samplers().items():
        r = measure(sampler, 50_000 if args.quick else 1_000_000, 2 if args.quick else 5)
        which = "" if name == "seal" else f", {name}"
        rows += [row(f"sampler.{key}_per_s{which}", r[f"{key}_per_second"], "1/s") for key in ("bounces", "paths")]
        rows.append(row(f"sampler.lanes_busy{which}", r["occupancy"], "1", 1.0))
        low, high = r["paths_per_second_range"]
        print(
            f"{name:28}{r['paths_per_second']:10.0f}{low:10.0f} -{high:8.0f}{r['bounces_per_second'] / 1e6:12.1f}"
            f"{r['bounces_per_cpu_second'] / 1e6:11.1f}{r['bounces_per_path']:10.1f}{r['occupancy']:11.2f}"
        )
    write_json(args.json, {"machine": on, "rows": rows})


if __name__ == "__main__":
    main()
