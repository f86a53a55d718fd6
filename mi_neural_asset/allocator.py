"""Behaviour of the C allocator during long torch loops on the CPU."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_memory_mapped() -> bool:
    """Let glibc reuse large buffers instead of mapping and unmapping each of them; True where that was possible.

    Without it, page faults of fresh mappings cost more than the arithmetic of elementwise operations.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(_M_MMAP_MAX, 0)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30))
    except (OSError, AttributeError):
        return False
