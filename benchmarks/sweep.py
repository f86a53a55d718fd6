"""Choices of the model and of its training, one at a time against the default, at equal time.

    python benchmarks/sweep.py SCENE [--seconds S] [--seed N] [--only NAME ...] [--out FILE]

Each variant bakes SCENE for S seconds of wall-clock time and is judged on held-out paths: negative log-likelihood of rays
[nats] and the albedo's squared error (the paths' own noise included: compare differences).  Results are kept in FILE by
variant, scene, seed and time; what is there is not done again, so that the sweep can be stopped and started.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import mi_neural_asset  # noqa: F401  (names the LLVM library before Dr.Jit is imported)

VARIANTS = {
    "default": {},
    "no occlusion input": {"model": {"occlusion": 0}},
    "occlusion 32": {"model": {"occlusion": 32}},
    "triplane 128": {"model": {"triplane": 128}},
    "triplane 32": {"model": {"triplane": 32}},
    "width 96": {"model": {"width": 96}},
    "depth 3": {"model": {"depth": 3}},
    "knots 12": {"model": {"knots": 12}},
    "knots 24": {"model": {"knots": 24}},
    "albedo width 128": {"model": {"albedo_width": 128}},
    "box proxy": {"model": {"proxy": "box"}},
    "paper's coordinates": {"model": {"coordinates": "paper", "proxy": "box"}},
    "batch 4095": {"batch": 4095},
    "batch 16383": {"batch": 16383},
    "rate 2e-3": {"learning_rate": 2e-3},
    "rate 8e-3": {"learning_rate": 8e-3},
    "constant rate": {"cosine": False},
    "no average": {"ema": 0.0},
    "each path once": {"reuse": 1},
    "each path 4 times": {"reuse": 4},
}


def run(scene: str, variant: dict, seconds: float, seed: int) -> dict:
    """Bake and judge one variant."""
    from mi_neural_asset.baking.bake import Bake, BakeOptions
    from mi_neural_asset.baking.losses import validate
    from mi_neural_asset.baking.presets import preset

    config = preset("preview", **variant.get("model", {}))
    config = dataclasses.replace(config, **{key: value for key, value in variant.items() if key != "model"})
    bake = Bake(
        scene, None, config, minutes=seconds / 60, seed=seed, device="cpu", progress=False, only=None,
        options=BakeOptions(source=False, validation_interval=1e9),
    )  # fmt: skip
    bake.run(None)
    held_out = bake.buffer.validation(1 << 18)
    figures = validate(bake.trainer.average, held_out)
    return {**{name: figures[name] for name in ("ray_nll", "albedo_mse", "albedo_ratio")}, "steps": bake.trainer.step}


def main() -> None:
    """Parse the command line, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=VARIANTS)
    parser.add_argument("--out", type=Path, default=Path("sweep.json"))
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    mi_neural_asset.register()
    done = json.loads(options.out.read_text()) if options.out.exists() else {}
    print(f"{'variant':22}{'ray NLL':>10}{'albedo error':>14}{'steps':>8}")
    for name in options.only or VARIANTS:
        key = f"{name} | {Path(options.scene).stem} | {options.seed} | {options.seconds:g}"
        if key not in done:
            done[key] = run(options.scene, VARIANTS[name], options.seconds, options.seed)
            options.out.write_text(json.dumps(done, indent=1))
        row = done[key]
        print(f"{name:22}{row['ray_nll']:10.4f}{row['albedo_mse']:14.5f}{row['steps']:8}", flush=True)


if __name__ == "__main__":
    main()
