"""Run: make hostile files, have them read in a process of their own, count what becomes of them."""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HANG = 30.0  # seconds without a word: the process is killed, the file is a defect
TESTS = Path(__file__).resolve().parent.parent


def results(seed: int, files: int, begin: int = 0) -> Iterator[dict[str, Any]]:
    """What became of each file: index, kind, verdict, message, seconds, growth (of memory, bytes), bytes (of the file)."""
    with tempfile.TemporaryDirectory(prefix="fuzz_") as place:
        folder = Path(place) / "box" / "inner"
        folder.mkdir(parents=True)
        at, end = begin, begin + files
        while at < end:
            for result in _process(seed, at, end, folder):
                yield result
                at = result["index"] + 1


def _process(seed: int, begin: int, end: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Results until the end, or until the process crashes or hangs: that is the last one."""
    command = [sys.executable, "-m", "fuzz.check", *map(str, (seed, begin, end, folder))]
    with tempfile.TemporaryFile("w+") as said:
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=folder.parent, env=environment)
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [*map(lines.put, process.stdout), lines.put("")], daemon=True).start()
        file: dict[str, Any] = {}
        try:
            while True:
                try:
                    line = lines.get(timeout=HANG + (0 if file else 60))
                except queue.Empty:
                    yield {**file, **_defect(f"no word for {HANG:.0f} s")}
                    return
                if not line:
                    break
                word = json.loads(line)
                if "kind" in word:
                    file = word
                else:
                    yield {**file, **word}
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        if file.get("index") != end - 1 or process.returncode:
            said.seek(0)
            text = said.read()[-1500:]
            if not file or "verdict" in file:
                raise RuntimeError(f"the process that reads files ended with {process.returncode}: {text}")
            yield {**file, **_defect(f"the process ended with {process.returncode}: {text}")}


def _defect(message: str) -> dict[str, Any]:
    return {"verdict": "defect", "message": message, "seconds": 0.0, "growth": 0, "bytes": 0}


def table(found: list[dict[str, Any]]) -> str:
    """Counts for each kind, the slowest file, the largest growth, all defects."""
    counts: dict[str, Counter] = {}
    for result in found:
        counts.setdefault(result["kind"], Counter())[result["verdict"]] += 1
    lines = [f"{'kind':<22}{'files':>8}{'accepted':>10}{'refused':>10}{'defects':>10}"]
    for kind, row in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        lines.append(f"{kind:<22}{row.total():>8}{row['accepted']:>10}{row['refused']:>10}{row['defect']:>10}")
    slow, large = (max(found, key=lambda result: result[key]) for key in ("seconds", "growth"))
    lines.append(f"slowest file: {slow['seconds']:.2f} s ({slow['kind']}, index {slow['index']}, {slow['bytes'] / 1000:.0f} kB)")
    size = f"{large['bytes'] / 1000:.0f} kB"
    lines.append(f"most memory: {large['growth'] / 2**20:.0f} MiB more ({large['kind']}, index {large['index']}, {size})")
    lines += [f"DEFECT {r['kind']}, index {r['index']}: {r['message']}" for r in found if r["verdict"] == "defect"]
    return "\n".join(lines)


def main() -> int:
    """The command; returns the exit code, 1 for a defect."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Read hostile asset files; say what becomes of them.")
    parser.add_argument("--files", type=int, default=2000, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="other seeds make other files (default: %(default)s)")
    parser.add_argument("--begin", type=int, default=0, metavar="K", help="index of the first file, to look at one again (default: 0)")
    parser.add_argument("--show", action="store_true", help="print the error of every file")
    options = parser.parse_args()
    start, found = time.monotonic(), []
    for result in results(options.seed, options.files, options.begin):
        found.append(result)
        if options.show:
            print(f"{result['index']} {result['kind']}: {result['verdict']} {result['message']}", flush=True)
    print(table(found))
    print(f"seed {options.seed}, files {options.begin} to {options.begin + options.files - 1}, {time.monotonic() - start:.0f} s")
    return int(any(result["verdict"] == "defect" for result in found))


if __name__ == "__main__":
    sys.exit(main())
