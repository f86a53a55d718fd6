"""How torch's threads wait for each other, and how Dr.Jit's wait beside them.

GNU OpenMP, which torch's Linux builds use, spins at the end of each parallel loop.  On a machine that does something else
as well, the thread that is waited for has lost its core to the one that spins, and a training step takes several times as
long.  A short spin before sleep avoids that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SPINS = "1000"  # turns of the waiting loop, some microseconds


def wait_politely() -> None:
    """Limit the spinning, unless the user has said otherwise; has an effect only before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


@contextmanager
def torch_at_work() -> Iterator[None]:
    """While this lasts, torch has the cores to itself.

    Dr.Jit's workers spin for some 10 ms after each kernel before they sleep, and take the cores from torch's threads.  Here
    all but one in eight of them are dismissed, and hired again at the end: that takes microseconds.
    """
    import drjit as dr

    workers = dr.thread_count()
    dr.sync_thread()
    dr.set_thread_count(max(1, workers // 8))
    try:
        yield
    finally:
        dr.sync_thread()
        dr.set_thread_count(workers)
