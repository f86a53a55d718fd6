"""How much memory a render takes for each path in flight, by kind of scene: peak of the process at two widths, and the slope.

    python benchmarks/memory.py seal.pt [--lanes 131072 524288] [--kinds plain,area,envmap]
    python benchmarks/memory.py seal.pt --passes 1000         # does a render grow with its passes?
    python benchmarks/memory.py seal.pt --large 20            # 3840 x 2160 pixels, 4096 samples, memory 2GB, stopped after 20 passes

Every render is a process of its own, with the camera so near that all rays meet the asset.  What is printed first is what
`render/passes.py` must allow for.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import mi_neural_asset  # noqa: F401  (names the LLVM library before Dr.Jit is imported)
from mi_neural_asset.memory import resident

SIZE = 256


def scene_of(kind: str, weights: str, width: int = SIZE, height: int = SIZE) -> dict:
    """One scene that is filled by an asset (or, "plain", by a diffuse ball) under a lamp or an environment."""
    import mitsuba as mi

    from mi_neural_asset.asset.asset import NeuralAsset
    from mi_neural_asset.verify.lights import Stage, light, sensor

    asset = NeuralAsset.load(weights)
    stage = Stage.of(asset)
    camera = sensor(stage, SIZE)
    camera["fov"] = 4.0
    camera["film"] |= {"width": width, "height": height}
    body = {"type": "neural_asset", "weights": weights}
    if kind == "plain":
        body = {"type": "sphere", "center": list(asset.center), "radius": asset.scale, "bsdf": {"type": "diffuse", "reflectance": 0.8}}
    floor = {"type": "rectangle", "to_world": stage.look_at(stage.point([0, -1, 0], 1.2)).scale(20 * stage.radius)}
    return mi.load_dict(
        {"type": "scene", "body": body, "floor": floor, "light": light("area" if kind == "plain" else kind, stage), "sensor": camera},
        parallel=False,
    )


def child(kind: str, weights: str, lanes: int, options: dict) -> None:
    """Render one pass of so many lanes, print the peak of the process before and after."""
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    scene = scene_of(kind, weights)
    integrator = mi.load_dict({"type": "nap_path", "memory": "64GB", **options})
    mi.render(scene, integrator=integrator, spp=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    image = mi.render(scene, integrator=integrator, spp=lanes // SIZE**2, seed=1)
    image.numpy()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    events = integrator.statistics.events
    print(json.dumps({"kind": kind, "lanes": lanes, "before": before, "after": after, "events_per_lane": events / lanes}))


class Enough(Exception):
    """Ends a render."""


def grow(weights: str, passes: int, large: bool) -> None:
    """Print what the process holds, in MiB beside what it held before, after some passes of a render."""
    import mitsuba as mi

    from mi_neural_asset.render import passes as planning

    mi.set_variant("llvm_ad_rgb")
    small, seen = scene_of("area", weights, 16, 16), []
    mi.render(small, integrator=mi.load_dict({"type": "nap_path"}), spp=1)
    scene = scene_of("area", weights, 3840, 2160) if large else small
    integrator = mi.load_dict({"type": "nap_path", "exits": 4, **({"memory": "2GB"} if large else {})})
    if not large:
        planning.DEFAULT_LANES = 4 * 256  # of 4 exits

    def look(done: int, total: int) -> None:  # noqa: ARG001
        seen.append(resident())
        if len(seen) == passes:
            raise Enough

    before = resident()
    integrator.progress = look
    try:
        mi.render(scene, integrator=integrator, spp=4096 if large else passes)
    except (Enough, RuntimeError):
        if len(seen) < passes:
            raise
    for k in sorted({1, 5, 10, 50, 100, passes // 2, passes}):
        if k <= passes:
            print(f"after pass {k}: {(seen[k - 1] - before) / 2**20:.1f} MiB beside {before / 2**20:.0f} MiB")


def main() -> int:
    """Measure, print a table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("--lanes", type=int, nargs=2, default=[1 << 17, 1 << 19])
    parser.add_argument("--kinds", default="plain,area,envmap")
    parser.add_argument("--integrator", type=json.loads, default={}, metavar="JSON", help='properties: {"engine": "torch", "exits": 1}')
    parser.add_argument("--passes", type=int, help="of one render of 256 paths each")
    parser.add_argument("--large", type=int, metavar="PASSES", help="of one large picture")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "LANES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.weights, int(options.child[1]), options.integrator)
        return 0
    if options.passes or options.large:
        grow(options.weights, options.passes or options.large, bool(options.large))
        return 0
    for kind in options.kinds.split(","):
        rows = []
        for lanes in options.lanes:
            command = [sys.executable, __file__, options.weights, "--integrator", json.dumps(options.integrator)]
            command += ["--child", kind, str(lanes)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
        slope = (rows[1]["after"] - rows[0]["after"]) / (rows[1]["lanes"] - rows[0]["lanes"])
        peaks = ", ".join(f"{row['lanes']} lanes {row['after'] >> 20} MiB" for row in rows)
        print(f"{kind:<8} {slope:6.0f} bytes a lane ({peaks}; {rows[1]['events_per_lane']:.2f} events a lane)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
