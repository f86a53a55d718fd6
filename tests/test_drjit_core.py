"""Functions of Dr.Jit's library that Python has no names for, and frozen functions that write in place with them."""

from dataclasses import dataclass

import numpy as np
import pytest


@pytest.fixture
def double(llvm):  # noqa: ANN001, ANN201
    """A frozen function that puts 2 x into `space`."""
    import drjit as dr

    from mi_neural_asset.splines.llvm import frozen

    def kernel(space, x):  # noqa: ANN001, ANN202
        dr.scatter(space, 2 * x, dr.arange(llvm.UInt32, dr.width(x)), mode=dr.ReduceMode.NoConflicts)
        return space

    return frozen(kernel, "space")


def _copies(work) -> int:  # noqa: ANN001
    """How much memory was copied from one place to another."""
    import drjit as dr

    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        dr.kernel_history_clear()
        work()
        dr.sync_thread()
        return sum(str(entry["type"]).endswith("Memcpy") for entry in dr.kernel_history())


@pytest.mark.parametrize("number", [1, 5, 70001])
def test_memory_that_one_holds_is_written_in_place(llvm, double, number: int) -> None:  # noqa: ANN001
    import torch
    from drjit.llvm import Float

    def run() -> None:
        memory = torch.full((number,), -1.0)
        result = double(Float(memory), Float(list(range(number)))).numpy()
        assert np.array_equal(result, 2 * np.arange(number, dtype=np.float32))
        assert np.array_equal(memory.numpy(), result)

    for _ in range(3):  # recorded, and launched again
        assert _copies(run) == 0


def test_memory_that_several_hold_stays_for_the_others(llvm, double) -> None:  # noqa: ANN001
    import drjit as dr
    from drjit.llvm import Float

    for _ in range(3):
        space = dr.opaque(Float, -1, 3)
        other = Float(space)
        assert list(double(space, Float([1, 2, 3]))) == [2, 4, 6]
        assert list(other) == [-1, -1, -1]


def test_targets_may_be_fields(llvm) -> None:  # noqa: ANN001
    import drjit as dr
    import torch
    from drjit.llvm import Float

    from mi_neural_asset.splines.llvm import frozen

    @dataclass
    class Pair:
        one: Float
        two: Float

    def kernel(x, pair):  # noqa: ANN001, ANN202
        lane = dr.arange(llvm.UInt32, dr.width(x))
        for factor, space in enumerate((pair.one, pair.two), 2):
            dr.scatter(space, factor * x, lane, mode=dr.ReduceMode.NoConflicts)
        return pair

    function, memory = frozen(kernel, "pair"), torch.zeros(2, 4)
    for _ in range(3):
        memory.zero_()
        assert _copies(lambda: function(Float([1, 2, 3, 4]), Pair(Float(memory[0]), Float(memory[1])))) == 0
        assert memory.tolist() == [[2, 4, 6, 8], [3, 6, 9, 12]]


def test_a_library_without_the_functions_writes_to_copies(llvm, monkeypatch: pytest.MonkeyPatch, double) -> None:  # noqa: ANN001
    import torch
    from drjit.llvm import Float

    from mi_neural_asset import drjit_core

    monkeypatch.setattr(drjit_core, "_STASH", {"no_such_function": (None,)})
    monkeypatch.setattr(drjit_core, "_stash", drjit_core._stash.__wrapped__)
    memory = torch.full((3,), -1.0)
    assert list(double(Float(memory), Float([1, 2, 3]))) == [2, 4, 6]
    assert memory.tolist() == [-1, -1, -1]


def test_a_function_that_is_not_there_is_told(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.drjit_core import functions

    with pytest.raises(OSError, match="does not offer"):
        functions({"no_such_function": (None,)})
