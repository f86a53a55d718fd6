"""A bake that is killed again and again at random instants and resumed: `python tests/kills.py --kills 50`.

Each bake is a fork of this process, which has loaded the libraries and started nothing.  A bake saves its checkpoint after
every step, so that many kills meet a save.  Whenever a chain of killed bakes reaches its end, its weights are compared with
those of a bake that nobody disturbed, bit for bit.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import mi_neural_asset  # noqa: F401  (names the LLVM library before Dr.Jit is imported)

MODEL = {
    "width": 8, "depth": 1, "knots": 4, "triplane": 8, "cubemap": 4, "line": 4, "features": 2, "albedo_width": 8, "occlusion": 2,
    "probes": 64,
}  # fmt: skip
STEPS = 24  # more than two generations of paths
BALL = {
    "type": "sphere",
    "bsdf": {"type": "dielectric", "int_ior": 1.5},
    "interior": {"type": "homogeneous", "albedo": 0.9, "sigma_t": 3.0},
}


@dataclasses.dataclass
class Result:
    """What became of the bakes."""

    seconds: float  # of the bake that nobody disturbed
    kills: int = 0
    saving: int = 0  # kills that left a part file: they met a save
    resumed: int = 0  # bakes that went on from a checkpoint
    compared: int = 0  # chains of killed bakes that reached their end, and were compared
    different: int = 0
    failed: int = 0  # bakes that ended with an error
    left: int = 0  # files beside the asset at the end of a chain


def bake(out: Path) -> None:
    """Bake, from the checkpoint if there is one; ends this process."""
    code = 1
    try:
        import mitsuba as mi

        mi.set_variant("llvm_ad_rgb")
        from mi_neural_asset.baking import bake as module
        from mi_neural_asset.baking import presets
        from mi_neural_asset.baking.checkpoint import checkpoint_path

        module.CHECKPOINT_INTERVAL = -1.0
        presets.PRESETS["preview"] = presets.BakeConfig(batch=192, buffer=1024, validation=256)
        resume = checkpoint_path(out).exists()
        module.bake({"type": "scene", "ball": BALL}, out, steps=STEPS, resume=resume, progress=False, device="cpu", certify=False, **MODEL)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def start(out: Path) -> int:
    """A process that bakes; its id."""
    sys.stdout.flush()
    return os.fork() or bake(out)


def finish(process: int) -> bool:
    """Wait for a process; whether it ended well."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def run(kills: int, seed: int, folder: Path) -> Result:
    """Kill bakes until `kills` of them died, and bring the last chain to its end."""
    from mi_neural_asset import load

    begin = time.monotonic()
    if not finish(start(folder / "whole.pt")):
        raise RuntimeError("the undisturbed bake failed")
    result = Result(time.monotonic() - begin)
    whole = load(folder / "whole.pt").weights
    chance = random.Random(seed)
    chain, name = folder / "chain", "a.pt"
    chain.mkdir()
    while True:
        result.resumed += (chain / "a.checkpoint").exists()
        process = start(chain / name)
        deadline = time.monotonic() + chance.uniform(0.2, 1.0) * result.seconds
        done = 0
        while not done and (result.kills >= kills or time.monotonic() < deadline):
            time.sleep(0.001)
            done, status = os.waitpid(process, os.WNOHANG)
        if not done:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            result.kills += 1
            result.saving += any(".part" in n for n in os.listdir(chain))
            continue
        result.failed += os.waitstatus_to_exitcode(status) != 0
        if (chain / name).exists():
            weights = load(chain / name).weights
            result.compared += 1
            result.different += any(weights[key].numpy().tobytes() != v.numpy().tobytes() for key, v in whole.items())
        result.left += len(os.listdir(chain)) - 1
        for file in chain.iterdir():
            file.unlink()
        if result.kills >= kills:
            return result


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description="Kill bakes at random instants, resume them, compare the weights.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    # before the forks; Dynamo, which takes seconds to load, is what torch's optimisers ask for
    import torch._dynamo

    import mi_neural_asset.baking.bake  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        result = run(options.kills, options.seed, Path(folder))
    print(", ".join(f"{name} {round(value, 2)}" for name, value in dataclasses.asdict(result).items()))
    return int(result.different or result.failed or result.left or not result.compared)


if __name__ == "__main__":
    sys.exit(main())
