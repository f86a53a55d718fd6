"""Which LLVM the `mitsuba` command's processes see.

Importing `mitsuba.cli` imports Dr.Jit, which loads LLVM at once, so the library is chosen before it is known who
renders.  The stock binary then gets the user's environment back, except where it could not have rendered with that.
"""

from __future__ import annotations

import os

from .. import llvm

_chosen = False


def choose_llvm() -> None:
    """Name a usable LLVM library for Dr.Jit, unless the user has; a missing one is the renderer's to report."""
    global _chosen
    library = llvm.choose()
    if library.usable and library.origin != "environment":
        os.environ[llvm.VARIABLE] = library.path
        _chosen = True


def restore_for_stock(variant: str) -> None:
    """Take our choice back before the stock binary runs.

    It stays where the system's own library is too old (the stock binary would abort), or missing while `variant`, as
    asked for on the command line, needs it.
    """
    if not _chosen:
        return
    system = llvm.system()
    if system.usable or (system.path is None and not variant.startswith("llvm_")):
        del os.environ[llvm.VARIABLE]
