"""What the exit techniques of `nap_path` bring: variance and time of one asset under many lights.

    python benchmarks/exits.py ASSET [--lights LIST] [--size N] [--spp N] [--runs N] [--settings LIST] [--json FILE]

Each line is one light and one setting of the integrator: its mean over the asset's pixels with its standard error, the
variance of one sample, the median seconds of a render, and variance x time of the first setting (without `exit_mis`)
divided by its own.  All settings of a light are rendered in turn, run by run, so that other programs disturb all of them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from common import write_json

import mi_neural_asset
from mi_neural_asset.verify import metrics

SETTINGS = {
    "without": {"exit_mis": False, "split": False},
    "exit_mis": {"exit_mis": True, "split": False},
    "split": {"exit_mis": False, "split": True},
    "both": {"exit_mis": True, "split": True},
    "path": {"techniques": "path"},
    "light": {"techniques": "light"},
    "lobe": {"techniques": "lobe"},
    "path+light": {"techniques": "path,light"},
    "path+lobe": {"techniques": "path,lobe"},
    "light+lobe": {"techniques": "light,lobe"},
}


def lights(stage) -> dict:  # noqa: ANN001
    """Name -> dictionary of a light around an asset of radius r."""
    import mitsuba as mi

    from mi_neural_asset.verify.lights import LAMP, LAMP_DISTANCE, light

    r, at = stage.radius, stage.point(LAMP, LAMP_DISTANCE)
    place = stage.look_at(at)
    checks = {"type": "checkerboard", "color0": 2.0, "color1": 20.0, "to_uv": mi.ScalarTransform4f().scale([4, 4, 1])}
    lamp = light("area", stage)
    sphere = {"type": "sphere", "center": at, "emitter": {"type": "area", "radiance": 100.0}}
    return {
        "constant": light("constant", stage), "envmap": light("envmap", stage), "area": lamp,
        "textured": {**lamp, "emitter": {"type": "area", "radiance": checks}},
        "mesh": {"type": "cube", "to_world": place.scale(0.2 * r), "emitter": {"type": "area", "radiance": 10.0}},
        "sphere": {**sphere, "radius": 0.2 * r}, "small sphere": {**sphere, "radius": 0.05 * r},
        "point": {"type": "point", "position": at, "intensity": 10.0 * r * r},
        "spot": {"type": "spot", "to_world": place, "intensity": 20.0 * r * r, "cutoff_angle": 30},
        "directional": {"type": "directional", "to_world": place, "irradiance": 3.0},
        "many": {"lamp": lamp, "sky": {"type": "constant", "radiance": 0.2}, "ball": {**sphere, "radius": 0.05 * r},
                 "point": {"type": "point", "position": stage.point([-p for p in LAMP], 3.0), "intensity": 5.0 * r * r}},
    }  # fmt: skip


def measure(path: str, name: str, entry: dict, settings: list[str], options: argparse.Namespace, stage) -> list[dict]:  # noqa: ANN001
    """One row a setting."""
    import mitsuba as mi

    from mi_neural_asset.verify.lights import sensor
    from mi_neural_asset.verify.measure import coverage

    asset, camera = mi_neural_asset.load(path), sensor(stage, options.size)
    shape = {"type": "neural_asset", "weights": path}
    several = {f"light_{key}": value for key, value in entry.items()} if name == "many" else {"light": entry}
    scene = mi.load_dict({"type": "scene", "asset": shape, "sensor": camera, **several})
    mask = coverage(asset.boundary_scene(), camera, options.size) > 0.5
    integrators = {key: mi.load_dict({"type": "nap_path", "rr_depth": 1000, **SETTINGS[key]}) for key in settings}
    pictures, seconds = {key: [] for key in settings}, {key: [] for key in settings}
    for run in range(options.runs + 1):
        for number, (key, integrator) in enumerate(integrators.items()):
            start = time.perf_counter()
            picture = np.asarray(mi.render(scene, integrator=integrator, spp=options.spp, seed=1000 * options.seed + 50 * run + number))
            if run:  # the first one compiles
                pictures[key].append(picture)
                seconds[key].append(time.perf_counter() - start)
    rows = []
    for key in settings:
        runs = np.stack(pictures[key]).astype(np.float64)
        means = runs[:, mask].mean((1, 2))
        rows.append({
            "light": name, "setting": key, "mean": means.mean(), "error": means.std(ddof=1) / np.sqrt(len(means)),
            "variance": metrics.variance_per_sample(runs, mask, options.spp), "seconds": float(np.median(seconds[key])),
        })  # fmt: skip
        first = rows[0]
        rows[-1]["gain"] = first["variance"] * first["seconds"] / (rows[-1]["variance"] * rows[-1]["seconds"])
    return rows


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("asset")
    parser.add_argument("--lights", default="constant,envmap,area,textured,mesh,sphere,small sphere,point,spot,directional,many")
    parser.add_argument("--settings", default="without,exit_mis,both", help=", ".join(SETTINGS))
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--spp", type=int, default=16)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    from mi_neural_asset.verify.lights import Stage

    mi_neural_asset.register()
    stage = Stage.of(mi_neural_asset.load(options.asset))
    table, rows = lights(stage), []
    print(f"{'light':14}{'setting':12}{'mean':>10}{'+-':>9}{'variance':>11}{'seconds':>9}{'gain':>8}")
    for name in options.lights.split(","):
        for row in measure(options.asset, name, table[name], options.settings.split(","), options, stage):
            rows.append(row)
            print(
                f"{row['light']:14}{row['setting']:12}{row['mean']:10.5f}{row['error']:9.5f}{row['variance']:11.5g}"
                f"{row['seconds']:9.2f}{row['gain']:8.2f}", flush=True
            )  # fmt: skip
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
