"""How many workers Dr.Jit has, and a way out where dismissing one would never end.

nanothread, which has the workers, marks one as dismissed and then asks whether any sleeps, with nothing that keeps the processor from
asking first: who falls asleep in that moment is not woken, and waited for forever.  Dr.Jit 1.5 does so once in some 100,000 times, and
one render dismisses workers hundreds of times.  Here another thread wakes them after a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ctypes import c_int, c_uint32, c_void_p
from functools import cache
from threading import Lock, Thread

from .drjit_core import functions

PATIENCE = 0.05  # seconds after which a change, which takes microseconds, is helped
QUIET = 10.0  # seconds without a change after which nobody watches any more
ASLEEP = 1  # as Dr.Jit does: new workers sleep until there is work
MANY = 1024  # workers at most that are woken at once

# nanothread's `task_submit_dep`: the task; pool, parents, their number, units of work, function, payload, its size, its deleter, whether
# even one unit waits for a worker, whether times are taken
SUBMIT = (c_void_p, c_void_p, c_void_p, c_uint32, c_uint32, c_void_p, c_void_p, c_uint32, c_void_p, c_int, c_int)


class Pool:
    """A pool of workers whose size can always be changed.

    Args:
        set_size: makes it have so many; may wait for a worker that sleeps.
        wake: wakes all that sleep.
    """

    def __init__(self, set_size: Callable[[int], None], wake: Callable[[], None]) -> None:
        self._set_size, self._wake = set_size, wake
        self._one_at_a_time, self._lock = Lock(), Lock()
        self._began: float | None = None  # of the change that is under way
        self.size: int | None = None  # that was set last
        self._last, self._watched = 0.0, False

    def set_size(self, count: int) -> None:
        """Have so many workers from now on; those who are too many finish what they do."""
        with self._one_at_a_time:
            with self._lock:
                self._began = self._last = time.monotonic()
                if not self._watched:
                    Thread(target=self._watch, name="mi_neural_asset_watch", daemon=True).start()
                    self._watched = True
            try:
                self._set_size(count)
            finally:
                self._began = None
            self.size = count

    def _watch(self) -> None:
        while True:
            time.sleep(PATIENCE)
            now = time.monotonic()
            with self._lock:
                began = self._began
                if began is None and now - self._last > QUIET:
                    self._watched = False
                    return
            if began is not None and now - began > PATIENCE:
                self._wake()


@cache
def _pool() -> Pool:
    """Dr.Jit's; where its library does not show it, without help."""
    import drjit as dr

    try:
        set_size, submit, release = functions(
            {
                "pool_set_size": (None, c_void_p, c_uint32, c_int),  # pool, size, `ASLEEP`
                "task_submit_dep": SUBMIT,
                "task_release": (None, c_void_p),
            },
            "nanothread",
        )
    except OSError:
        return Pool(dr.set_thread_count, lambda: None)

    def wake() -> None:
        release(submit(None, None, 0, MANY, None, None, 0, None, 1, 0))  # work that is nothing

    return Pool(lambda count: set_size(None, count, ASLEEP), wake)


def set_thread_count(count: int) -> None:
    """What `dr.set_thread_count` does, but that it always ends, and that other threads of Python run meanwhile."""
    _pool().set_size(count)


def thread_count() -> int:
    """How many workers Dr.Jit has: 0 if all have been dismissed, of which `dr.thread_count` says 1."""
    import drjit as dr

    told = dr.thread_count()
    return 0 if told == 1 and _pool().size == 0 else told
