"""Functions that Dr.Jit has in C++ alone (1.5; names mangled as by GCC and Clang)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_STASH = {"_Z17jit_var_stash_refj": (ctypes.c_uint64, ctypes.c_uint32), "_Z19jit_var_unstash_refm": (None, ctypes.c_uint64)}


def functions(signatures: dict[str, tuple], library: str = "drjit-core") -> list[Callable]:
    """Functions of Dr.Jit's libraries.

    Args:
        signatures: mangled name -> types of the result and of the arguments.
        library: which of them.

    Raises:
        OSError: the library is not where it is looked for, or does not show one of them.
    """
    import drjit as dr

    try:
        loaded = ctypes.CDLL(str(next(Path(dr.__file__).parent.glob(f"lib{library}.*"))))
        found = [loaded[name] for name in signatures]
    except (AttributeError, StopIteration) as error:
        raise OSError(f"this build of Dr.Jit does not offer it to Python: {error}") from error
    for function, (result, *arguments) in zip(found, signatures.values(), strict=True):
        function.restype, function.argtypes = result, arguments
    return found


@cache
def _stash() -> list[Callable] | None:
    try:
        return functions(_STASH)
    except OSError:
        return None


@contextmanager
def held_by_one(arrays: Iterable) -> Iterator[None]:
    """While this lasts, Dr.Jit counts as holders of some arrays those who are so now, and scatters to an array of one holder in place.

    A frozen function holds its arguments itself: it would write to copies of them.  So it does where the library shows no way out.
    """
    stash = _stash()
    if stash is None:
        yield
        return
    begin, end = stash
    handles = [begin(array.index) for array in arrays]
    try:
        yield
    finally:
        for handle in handles:
            end(handle)
