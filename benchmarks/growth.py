"""How costs grow: of a picture with its samples, its size and the number of copies of an asset, of a training step with its batch.

    python benchmarks/growth.py ASSET [--scene SCENE] [--quick] [--json FILE]

Each figure is the median of a few repetitions in one process; the exponent is the slope between the first and the last of a row in
logarithms: 0 where the cost is fixed, 1 where it grows in proportion.  The first picture of a process compiles: told apart.  More
copies are smaller, so that together they fill the same pixels; SCENE is what is baked (default: scenes/seal.xml).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable

from bake_speed import SEAL, measure
from common import machine, row, seconds, write_json

import mi_neural_asset

SIZE, SPP = 64, 16  # of pictures whose other measure grows
BUFFER = 1 << 17  # paths: enough for every batch, and quickly made


def pictures(path: str, repetitions: int) -> Callable[..., float]:
    """Seconds of a picture by its samples, size and number of copies."""
    import mitsuba as mi

    from mi_neural_asset.verify.lights import Stage, light, sensor

    stage = Stage.of(mi_neural_asset.load(path))
    integrator = mi.load_dict({"type": "nap_path"})

    def picture(spp: int = SPP, size: int = SIZE, copies: int = 1) -> float:
        side = math.ceil(copies**0.5)
        shapes = {}
        for k in range(copies):
            place = [stage.radius * (2 * cell + 1 - side) / side for cell in (k % side, k // side)]
            to_world = mi.ScalarTransform4f().translate([*place, 0]).scale(1 / side)
            shapes[f"asset_{k}"] = {"type": "neural_asset", "weights": path, "to_world": to_world}
        scene = mi.load_dict({"type": "scene", **shapes, "sensor": sensor(stage, size), "sky": light("constant", stage)}, parallel=False)
        return seconds(lambda: mi.render(scene, integrator=integrator, spp=spp), repetitions)

    return picture


def steps(scene: str, batch: int, count: int) -> float:
    """Seconds of a training step."""
    from mi_neural_asset.baking.presets import preset

    medians, _, _ = measure(scene, dataclasses.replace(preset("preview"), batch=batch, buffer=BUFFER), count)
    return sum(medians.values())


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("asset")
    parser.add_argument("--scene", default=str(SEAL))
    parser.add_argument("--quick", action="store_true", help="fewer figures and repetitions")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    mi_neural_asset.register()
    on, rows, quick = machine(), [], options.quick
    print(json.dumps(on))
    picture = pictures(options.asset, 1 if quick else 3)
    start = time.perf_counter()
    picture(spp=1)
    first = time.perf_counter() - start
    print(f"first picture of a process, {SIZE} x {SIZE}, 1 sample, and a second one: {first:.2f} s")
    rows.append(row("growth.first_picture", first, "s"))
    work: dict[str, tuple[tuple[int, ...], Callable[[int], float]]] = {
        "samples per pixel": ((1, 4, 16, 64, 256), lambda n: picture(spp=n)),
        "pixels along an edge, squared": ((32**2, 64**2, 128**2, 256**2), lambda n: picture(size=math.isqrt(n))),
        "copies": ((1, 4, 16, 64), lambda n: picture(copies=n)),
        "rows of a batch": ((1024, 4096, 8192, 16384), lambda n: steps(options.scene, n, 5 if quick else 20)),
    }
    for name, (numbers, cost) in work.items():
        numbers = (numbers[0], numbers[-2]) if quick else numbers
        times = [cost(n) for n in numbers]
        rows += [row(f"growth.{name}.{n}", value, "s") for n, value in zip(numbers, times, strict=True)]
        exponent = math.log(times[-1] / times[0]) / math.log(numbers[-1] / numbers[0])
        rows.append(row(f"growth.{name}.exponent", exponent, ""))
        told = ", ".join(f"{n}: {value:.3f} s" for n, value in zip(numbers, times, strict=True))
        print(f"{name}: {told}; exponent {exponent:.2f}")
    write_json(options.json, {"machine": on, "rows": rows})


if __name__ == "__main__":
    main()
