"""Bounds on memory: how users write them, and how much there is."""

from __future__ import annotations

import os
import re
from pathlib import Path

SHARE = 0.5  # of what is free, where nobody says how much
_UNITS = {"": 1, "b": 1, **{f"{p}{b}": f**k for k, p in enumerate("kmgt", 1) for b, f in (("b", 1000), ("", 1000), ("ib", 1024))}}
_sharers = 1  # processes of ours on this machine
_CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))


def parse_size(value: str | int, what: str) -> int:
    """Bytes of "4GB", "512 MiB" or a plain number of bytes.

    Raises:
        ValueError: it is none of these, or not positive; the message begins with `what`.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]*)\s*", str(value).lower())
    if not found or found[2] not in _UNITS or not int(float(found[1]) * _UNITS[found[2]]) > 0:
        raise ValueError(f'{what} must be a positive number of bytes, such as 4GB or 512MiB, got {value!r}')
    return int(float(found[1]) * _UNITS[found[2]])


def share_memory(processes: int) -> None:
    """So many processes share what is free from now on, equally."""
    global _sharers
    _sharers = processes


def free_memory() -> int:
    """Bytes that this process can still take: of the machine and of its control group."""
    free = []
    try:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(int(rows["MemAvailable"].split()[0]) << 10)
    except (OSError, KeyError, ValueError):
        free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    try:
        limit, used = (path.read_text().strip() for path in _CGROUP)
        if limit != "max":
            free.append(max(int(limit) - int(used), 0))
    except (OSError, ValueError):
        pass  # no control group with a bound
    return min(free) // _sharers


def resident() -> int:
    """Bytes that this process holds (Linux)."""
    rows = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(rows["VmRSS"].split()[0]) << 10


def bound(value: str | int | None, what: str) -> int:
    """`value` as bytes; a share of what is free where it is None or empty.

    Raises:
        ValueError: see `parse_size`.
    """
    return int(SHARE * free_memory()) if value is None or value == "" else parse_size(value, what)


def text(count: int) -> str:
    """Bytes for a message, rounded up."""
    return f"{-(-count // 2**20)}MiB" if count >= 2**20 else f"{count} bytes"
