"""How torch's threads wait for each other.

GNU OpenMP, which torch's Linux builds use, spins at the end of each parallel loop.  On a machine that does something else
as well, the thread that is waited for has lost its core to the one that spins, and a training step takes several times as
long.  A short spin before sleep avoids that.
"""

from __future__ import annotations

import os

SPINS = "1000"  # turns of the waiting loop, some microseconds


def wait_politely() -> None:
    """Limit the spinning, unless the user has said otherwise; has an effect only before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
