"""How Dr.Jit shares out its lanes."""

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
