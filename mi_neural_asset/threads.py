"""How torch's threads wait for each other, how Dr.Jit's wait beside them, and how processes share the cores.

GNU OpenMP, which torch's Linux builds use, spins at the end of each parallel loop.  On a machine that does something else
as well, the thread that is waited for has lost its core to the one that spins, and a training step takes several times as
long.  A short spin before sleep avoids that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from ctypes import c_uint32
from functools import cache

from .drjit_core import functions
from .workers import set_thread_count, thread_count

SPINS = "1000"  # turns of the waiting loop, some microseconds
BLOCK = 16384  # lanes that Dr.Jit gives a worker at once, unless it is told another number
SMALL_BLOCK = 1024  # the number for wavefronts and batches, which are a few such blocks: all workers have some, and as many
FEW = 1 << 20  # numbers that one thread alone is as fast with
MIN_WORKERS = 2  # of Dr.Jit: with one, Dr.Jit 1.5 waits for itself when a picture is written


def wait_politely() -> None:
    """Limit the spinning, unless the user has said otherwise; has an effect only before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def enough_workers() -> None:
    """Give Dr.Jit two workers on a machine of one core."""
    if thread_count() < MIN_WORKERS:
        set_thread_count(MIN_WORKERS)


def share_cores(processes: int) -> None:
    """Leave the other processes of this machine their cores: torch and Dr.Jit take as many threads as an equal share has.

    A number of torch's threads that the user has chosen (`OMP_NUM_THREADS`) stays; torchrun sets it to 1 where nobody has.
    """
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // processes)
    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(share)
    set_thread_count(max(MIN_WORKERS, share))


@contextmanager
def _workers(count: int) -> Iterator[None]:
    """While this lasts, Dr.Jit has so many workers; one of these within another of the same number does nothing."""
    import drjit as dr

    before = thread_count()
    dr.sync_thread()
    if before == count:
        yield
        return
    set_thread_count(count)
    try:
        yield
    finally:
        dr.sync_thread()
        set_thread_count(before)


@cache
def _block_size() -> list[Callable] | None:
    """Dr.Jit's functions that tell and set how many lanes a worker gets; None where its library does not show them."""
    try:
        return functions({"_Z19jit_llvm_block_sizev": (c_uint32,), "_Z23jit_llvm_set_block_sizej": (None, c_uint32)})
    except OSError:
        return None


@contextmanager
def small_blocks() -> Iterator[int]:
    """While this lasts, Dr.Jit gives a worker `SMALL_BLOCK` lanes at once, if it can be told to; yields the number."""
    functions = _block_size()
    if functions is None:
        yield BLOCK
        return
    get, put = functions
    before = get()
    put(SMALL_BLOCK)
    try:
        yield SMALL_BLOCK
    finally:
        put(before)


@contextmanager
def busy_workers(lanes: int) -> Iterator[None]:
    """While this lasts, Dr.Jit works in small blocks, with no more workers than kernels of some lanes keep busy: the others would spin,
    beside whatever runs.
    """
    workers = thread_count()
    with small_blocks() as block:
        needed = min(workers, -(-lanes // block))
        with nullcontext() if needed == workers else _workers(max(1, needed)):
            yield


@contextmanager
def one_thread_for(numbers: int) -> Iterator[None]:
    """While this lasts, torch has a single thread in this one, if it works on few numbers at once.

    A loop that is shared ends when the last thread has had a core.  Beside other programs that takes milliseconds, hundreds of times in a
    step of an optimiser that needs four of them.
    """
    import torch

    before = torch.get_num_threads()
    few = 1 < before and numbers < FEW
    if few:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if few:
            torch.set_num_threads(before)


@contextmanager
def torch_at_work(*, alone: bool = False) -> Iterator[None]:
    """While this lasts, torch has the cores to itself.

    Dr.Jit's workers spin for some 10 ms after each kernel before they sleep, and take the cores from torch's threads.  Here
    all but one in eight of them are dismissed, and hired again at the end: that takes microseconds.

    Args:
        alone: no kernel is launched meanwhile; all are dismissed.
    """
    with _workers(0 if alone else max(1, thread_count() // 8)):
        yield
