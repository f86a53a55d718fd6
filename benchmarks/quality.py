"""How much quality a bake's time buys: error against seconds.

    python benchmarks/quality.py [SCENE] [--minutes 0.5,1,2,4,8] [--lights constant,area] [--only ID] [--out DIR] [--quick] [--json FILE]

Each budget is a bake of its own with its own schedule, from nothing, and is verified against the same references (kept in DIR, with
the assets and each bake's log: what is there is not made again).  Prints steps, held-out NLL, energy and RMS error for each light,
noise subtracted, with two standard errors.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from bake_speed import SEAL
from common import machine, row, write_json

import mi_neural_asset

MINUTES, QUICK = (0.5, 1.0, 2.0, 4.0, 8.0), (0.25, 0.5)


def baked(scene: str, only: list[str] | None, minutes: float, out: Path) -> dict[str, float]:
    """Bake for some minutes, unless that was done; the last line of the bake's log."""
    log = out.with_suffix(".jsonl")
    if not out.exists():
        mi_neural_asset.bake(scene, out, minutes=minutes, only=only, log=str(log), certify=False, progress=False)
    figures: dict[str, float] = {}
    for line in log.read_text().splitlines():
        figures |= {key: value for key, value in json.loads(line).items() if key in ("step", "nll", "seconds")}
    return figures


def bounds(figures: dict[str, float]) -> tuple[float, float, float]:
    """RMS error over the mean and two standard errors below and above, not below zero."""
    square, error = figures["rms_square"], 2 * figures["rms_square_error"]
    return tuple(math.sqrt(max(value, 0.0)) for value in (square, square - error, square + error))


def main() -> None:
    """Parse the command line, bake, verify, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", nargs="?", default=str(SEAL))
    parser.add_argument("--minutes", help=f"budgets with commas between them (default: {','.join(f'{m:g}' for m in MINUTES)})")
    parser.add_argument("--lights", default="constant,area")
    parser.add_argument("--only", help="ids of the shapes to bake (default for the seal's scene: seal)")
    parser.add_argument("--out", default="out/quality")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--spp", type=int, default=128)
    parser.add_argument("--reference-spp", type=int, default=2048)
    parser.add_argument("--quick", action="store_true", help="two short bakes, coarse pictures")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    budgets = [float(text) for text in options.minutes.split(",")] if options.minutes else list(QUICK if options.quick else MINUTES)
    only = options.only.split(",") if options.only else ["seal"] if options.scene == str(SEAL) else None
    size, spp, reference = (32, 32, 128) if options.quick else (options.size, options.spp, options.reference_spp)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    on, rows = machine(), []
    print(json.dumps(on))
    print(f"{'minutes':>8}{'steps':>7}{'NLL':>8}  {'light':9}{'energy R, G, B':24}{'RMS error':>10}  two standard errors")
    for minutes in budgets:
        path = out / f"{Path(options.scene).stem}_{minutes:g}.pt"
        log = baked(options.scene, only, minutes, path)
        rows += [row(f"quality.{minutes:g}.{name}", log[name], unit) for name, unit in (("step", "steps"), ("nll", "nats"))]
        lights = mi_neural_asset.verify(path, lights=options.lights.split(","), size=size, spp=spp, reference_spp=reference,
                                        references=out / "references", progress=False)["lights"]  # fmt: skip
        for light, figures in lights.items():
            rms, low, high = bounds(figures)
            energy = ", ".join(f"{value:.3f}" for value in figures["energy_ratio"])
            print(f"{minutes:8g}{log['step']:7d}{log['nll']:8.3f}  {light:9}{energy:24}{rms:10.1%}  {low:.1%} to {high:.1%}", flush=True)
            rows.append(row(f"quality.{minutes:g}.{light}.rms", rms, "of the mean"))
    write_json(options.json, {"machine": on, "rows": rows})


if __name__ == "__main__":
    main()
