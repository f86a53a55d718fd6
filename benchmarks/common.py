"""What all benchmarks need: the machine, times, and the two limits (arithmetic, bandwidth)."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import mi_neural_asset  # noqa: F401  (names the LLVM library before Dr.Jit is imported)


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option that says where networks are evaluated."""
    import torch

    usual = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=usual, help=f"torch device of the networks (default here: {usual})")


def machine(device: str = "cpu") -> dict:
    """What it ran on; `device`: of torch."""
    import drjit as dr
    import mitsuba as mi
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": dr.thread_count(),
        "load": round(os.getloadavg()[0], 2),
        "variant": mi.variant(),
        "mitsuba": mi.__version__,
        "drjit": dr.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        **({"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda} if device.startswith("cuda") else {}),
    }


def finish() -> None:
    """Wait until everything that was asked for is done."""
    import drjit as dr
    import torch

    dr.sync_thread()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(function: Callable[[], object], repetitions: int) -> float:
    """Median time; the first call compiles and is not counted."""
    import drjit as dr

    times = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        dr.eval(function())
        finish()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def in_turns(functions: list[Callable[[], object]], repetitions: int) -> list[float]:
    """Median times of several functions that are called in turns, so that all meet the same minutes of a shared machine."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repetitions):
        for function, found in zip(functions, times, strict=True):
            found.append(seconds(function, 1))
    return [statistics.median(found) for found in times]


def product_rate(device: str) -> float:
    """Multiply-adds per second of a large float32 matrix product."""
    import torch

    a = torch.rand(2048, 2048, device=device)
    return 2048**3 / seconds(lambda: (a @ a).sum().item(), 5)


def row(name: str, value: float, unit: str, limit: float | None = None) -> dict:
    """One figure; `limit` is what the machine would allow, `ratio` how much of that is reached: 1 is all of it."""
    if limit is None:
        return {"name": name, "value": value, "unit": unit, "limit": None, "ratio": None}
    return {"name": name, "value": value, "unit": unit, "limit": limit, "ratio": limit / value if unit == "s" else value / limit}


def write_json(path: str | None, report: object) -> None:
    """A report as a file, if one is wanted."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(report, indent=1) + "\n")


def copy_bandwidth(device: str) -> float:
    """Bytes per second, read and written together, of copying memory that fits no cache."""
    import torch

    source = torch.zeros(1 << 26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source)[0].item(), 5)
