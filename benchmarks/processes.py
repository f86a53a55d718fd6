"""Speed of a bake by several processes, beside that of one.

    OMP_NUM_THREADS=1 python benchmarks/processes.py [SCENE] [--steps N]
    torchrun --nproc-per-node 2 benchmarks/processes.py [SCENE] [--steps N]

Prints what each process takes for its paths, per step, and for the steps themselves, whose global batch is the same: medians of wall
time and of processor time.  The latter is without waiting, and says what a step would take if each process had cores of its own.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from common import machine

SEAL = Path(__file__).resolve().parent.parent / "scenes" / "seal.xml"


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", nargs="?", default=str(SEAL))
    parser.add_argument("--steps", type=int, default=16)
    options = parser.parse_args()

    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    from mi_neural_asset.baking.bake import Bake, BakeOptions
    from mi_neural_asset.baking.presets import preset
    from mi_neural_asset.distributed import join

    with join("cpu") as processes:
        bake = Bake(options.scene, None, preset("preview"), minutes=None, seed=0, device="cpu", progress=False, only=None,
                    options=BakeOptions(source=False), processes=processes)  # fmt: skip
        trainer, buffer = bake.trainer, bake.buffer
        trainer.advance(0.1)  # compiles
        rows = [[], []]  # seconds, processor seconds
        start = time.perf_counter(), time.process_time()
        buffer.seek(1, 0)
        buffer.next()
        paths = [now - before for now, before in zip((time.perf_counter(), time.process_time()), start, strict=True)]
        for _ in range(options.steps):
            start = time.perf_counter(), time.process_time()
            trainer.advance(0.1)
            for row, now, before in zip(rows, (time.perf_counter(), time.process_time()), start, strict=True):
                row.append(now - before)
        found = [*(value / len(buffer._order) for value in paths), *(statistics.median(row) for row in rows)]
        everybody = processes.gather(found)
    if processes.rank == 0:
        print(machine())
        print(f"{processes.size} processes, {bake.config.batch} rows of throughput a step")
        for rank, (path_wall, path_cpu, wall, cpu) in enumerate(everybody):
            print(f"process {rank}: paths {1e3 * path_wall:.0f} ms a step, {1e3 * path_cpu:.0f} of the processor; "
                  f"the step {1e3 * wall:.0f} ms, {1e3 * cpu:.0f} of the processor")  # fmt: skip


if __name__ == "__main__":
    main()
