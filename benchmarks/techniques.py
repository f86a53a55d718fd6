"""Do the exit techniques of `nap_path` agree?  Each alone where it has a mean of its own, every pair, and all three, under every light.

    python benchmarks/techniques.py ASSET ... [--lights LIST] [--seeds 0,1] [--size N] [--spp N] [--runs N] [--json FILE]

Prints a Markdown table: a row for each asset, light and seed, with the mean radiance of all three techniques and, for every other
set, how far its mean is from that one in per cent and in standard errors of the difference.  The last line says which of them is
largest, and the limit that all tests together keep in 99 of 100 cases (Sidak; Student's t).  No path meets a delta light, so that sets
of `path` alone have no mean there, and the lobe does not look where no light is seen from x_o: it is never alone.  Where all
light looks the same everywhere (`constant`) the renderer leaves the lobe out, and its pairs are those of one technique.
"""

from __future__ import annotations

import argparse
import math

from common import write_json
from exits import lights, measure
from scipy import stats

import mi_neural_asset

SETS = ("path", "light", "path+light", "path+lobe", "light+lobe")
DELTA = ("point", "spot", "directional")
SIGNIFICANCE = 0.01


def sets(light: str) -> list[str]:
    """Those that have a mean: `many` holds a point light."""
    return [name for name in SETS if not (light in (*DELTA, "many") and name in ("path", "path+lobe"))]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", nargs="+")
    parser.add_argument("--lights", default="constant,envmap,area,textured,mesh,sphere,point,spot,directional,many")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--spp", type=int, default=64)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--json")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    from mi_neural_asset.verify.lights import Stage

    mi_neural_asset.register()
    rows, largest, tests = [], (0.0, ""), 0
    print(f"| asset | light | seed | all three | {' | '.join(SETS)} |")
    print("|---" * (4 + len(SETS)) + "|")
    for path in options.assets:
        stage = Stage.of(mi_neural_asset.load(path))
        table = lights(stage)
        for name in options.lights.split(","):
            for seed in map(int, options.seeds.split(",")):
                options.seed = seed
                found = measure(path, name, table[name], ["exit_mis", *sets(name)], options, stage)
                rows += [{**row, "asset": path, "seed": seed} for row in found]
                whole, cells = found[0], dict.fromkeys(SETS, "-")
                for row in found[1:]:
                    t = (row["mean"] - whole["mean"]) / math.hypot(row["error"], whole["error"])
                    cells[row["setting"]] = f"{100 * (row['mean'] / whole['mean'] - 1):+.2f} % ({t:+.1f})"
                    largest, tests = max(largest, (abs(t), f"{path}, {name}, seed {seed}, {row['setting']}")), tests + 1
                mean = f"{whole['mean']:.5f} +- {100 * whole['error'] / whole['mean']:.2f} %"
                print(f"| {path} | {name} | {seed} | {mean} | {' | '.join(cells.values())} |", flush=True)
    limit = stats.t.isf((1 - (1 - SIGNIFICANCE) ** (1 / tests)) / 2, options.runs - 1)
    print(f"\nlargest: {largest[0]:.1f} standard errors ({largest[1]}); limit of {tests} tests at {options.runs} runs: {limit:.1f}")
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
