"""How Dr.Jit shares out its lanes, and which threads torch has."""

import os
import subprocess
import sys

import pytest


def test_small_blocks_end_with_their_context(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.threads import BLOCK, SMALL_BLOCK, _block_size, busy_workers, small_blocks

    get, _ = _block_size()
    assert get() == BLOCK
    with small_blocks() as block:
        assert get() == block == SMALL_BLOCK
    with pytest.raises(RuntimeError, match="inside"), busy_workers(5000):
        assert get() == SMALL_BLOCK
        raise RuntimeError("inside")
    assert get() == BLOCK


def test_small_blocks_change_no_number(llvm) -> None:  # noqa: ANN001
    import drjit as dr
    import numpy as np

    from mi_neural_asset.threads import small_blocks

    def kernel():  # noqa: ANN202
        x = dr.sin(dr.arange(llvm.Float, 5001))
        dr.eval(x)
        return np.asarray(x)

    with small_blocks():
        small = kernel()
    assert np.array_equal(small, kernel())


def test_a_library_without_these_functions_works_as_before(llvm, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    import ctypes

    from mi_neural_asset import threads

    def missing(path: str):  # noqa: ANN202, ARG001
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(threads, "_block_size", threads._block_size.__wrapped__)
    with threads.small_blocks() as block:
        assert block == threads.BLOCK
    with threads.busy_workers(100):
        assert llvm.Float(1)[0] == 1


def test_few_numbers_have_one_thread_and_the_others_return() -> None:
    import torch

    from mi_neural_asset.threads import FEW, one_thread_for

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread_for(FEW):
            assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError, match="inside"), one_thread_for(FEW - 1):
            assert torch.get_num_threads() == 1
            with one_thread_for(0):
                pass
            assert torch.get_num_threads() == 1
            raise RuntimeError("inside")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_tiles_have_the_threads_that_they_are_given(llvm) -> None:  # noqa: ANN001
    """Where torch has one thread, tiles still have several; and what is in one context works in another of its kind."""
    from threading import Barrier

    from mi_neural_asset.fused.tiles import for_tiles
    from mi_neural_asset.threads import one_thread_for, torch_at_work
    from mi_neural_asset.workers import thread_count

    workers, both = thread_count(), Barrier(2)
    with torch_at_work(alone=True), one_thread_for(0):
        for_tiles(lambda _: both.wait(20), 2, 2)  # ends if two are at work at once
        assert thread_count() == 0
    assert thread_count() == workers > 0


ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import mi_neural_asset, mitsuba as mi
mi.set_variant("llvm_ad_rgb")
film = {"type": "hdrfilm", "width": 8, "height": 8}
scene = mi.load_dict({"type": "scene", "sky": {"type": "constant"}, "sensor": {"type": "perspective", "film": film}})
mi.Bitmap(mi.render(scene, integrator=mi.load_dict({"type": "nap_path"}), spp=1)).write(sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system gives a process no core of its own")
def test_one_core_is_enough(tmp_path) -> None:  # noqa: ANN001
    """There Dr.Jit has one worker, which waits for itself when a picture is written."""
    picture = tmp_path / "picture.exr"
    subprocess.run([sys.executable, "-c", ONE_CORE, str(picture)], check=True, timeout=120)
    assert picture.stat().st_size > 0
