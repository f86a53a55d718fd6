"""Dr.Jit's workers are hired and dismissed without end, and without Python's lock."""

from __future__ import annotations

import ctypes
import random
import threading
import time

import pytest

from mi_neural_asset.workers import PATIENCE, SUBMIT, Pool, set_thread_count


@pytest.fixture
def two_workers(llvm):  # noqa: ANN001, ANN201
    """Dr.Jit's pool with one worker beside the calling thread, which has worked."""
    import drjit as dr

    before = dr.thread_count()
    set_thread_count(2)
    dr.eval(dr.arange(llvm.Float, 1 << 20) * 2)
    dr.sync_thread()
    yield dr
    set_thread_count(before)


def test_sizes_are_those_that_were_asked_for(two_workers) -> None:  # noqa: ANN001
    for count in (2, 1, 3, 0, 2):
        set_thread_count(count)
        assert two_workers.thread_count() == max(count, 1)


def test_who_is_waited_for_in_vain_is_woken() -> None:
    """A change that ends only once somebody has been woken, twice; and one that needs nobody."""
    woken = [threading.Event()]
    wakes = []

    def set_size(count: int) -> None:
        assert count == 0 or woken[-1].wait(60)

    def wake() -> None:
        wakes.append(time.monotonic())
        woken[-1].set()

    pool = Pool(set_size, wake)
    pool.set_size(0)
    time.sleep(3 * PATIENCE)
    assert wakes == []
    for _ in range(2):
        woken.append(threading.Event())
        began = time.monotonic()
        pool.set_size(1)
        assert wakes[-1] - began > PATIENCE
    assert len(wakes) == 2


def test_who_watches_goes_and_comes_back(monkeypatch) -> None:  # noqa: ANN001
    monkeypatch.setattr("mi_neural_asset.workers.QUIET", 0.0)
    pool = Pool(lambda count: None, lambda: None)
    for _ in range(2):
        pool.set_size(1)
        watchers = [thread for thread in threading.enumerate() if thread.name == "mi_neural_asset_watch"]
        time.sleep(4 * PATIENCE)
        assert watchers and not any(thread.is_alive() for thread in watchers[-1:])


def test_a_change_that_fails_is_not_watched() -> None:
    wakes = []

    def fail(count: int) -> None:
        raise OSError(count)

    pool = Pool(fail, lambda: wakes.append(1))
    with pytest.raises(OSError):
        pool.set_size(3)
    time.sleep(4 * PATIENCE)
    assert wakes == []


def test_python_goes_on_while_a_worker_ends_its_work(two_workers) -> None:  # noqa: ANN001
    """Dr.Jit's own function keeps Python's lock, which the worker that it waits for may want."""
    from mi_neural_asset.drjit_core import functions

    submit, wait = functions({"task_submit_dep": SUBMIT, "task_wait_and_release": (None, ctypes.c_void_p)}, "nanothread")
    turns, ended = [], threading.Event()

    def count() -> None:
        while not ended.wait(0.01):
            turns.append(time.monotonic())

    sleep = ctypes.cast(ctypes.CDLL(None).sleep, ctypes.c_void_p)  # unit k sleeps k seconds
    task = submit(None, None, 0, 2, sleep, None, 0, None, 1, 0)
    time.sleep(0.2)
    thread = threading.Thread(target=count)
    thread.start()
    began = time.monotonic()
    set_thread_count(1)
    took = time.monotonic() - began
    ended.set()
    thread.join()
    wait(task)
    assert took > 0.5
    assert sum(began < turn < began + took for turn in turns) > 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_dismissals_end(two_workers) -> None:  # noqa: ANN001
    """At all distances from the moment at which a new worker falls asleep; by Dr.Jit's own function some of so many never end."""
    numbers = random.Random(0)
    for _ in range(400000):
        set_thread_count(2)
        until = time.perf_counter() + numbers.random() * 2e-4
        while time.perf_counter() < until:
            pass
        set_thread_count(0)
