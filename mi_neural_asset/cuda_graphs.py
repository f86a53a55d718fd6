"""Work on a GPU, recorded once as a CUDA graph and then replayed: of many small kernels it is the launching that takes the time.

Recorded work reads and writes the same memory each time; nothing in it may wait for the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

import torch

Work = Callable[[], None]


class Recorder(Protocol):
    """How work is recorded."""

    def try_out(self, work: Work) -> None:
        """Do it before it is recorded: kernels are compiled then, and what lasts has its memory."""

    def record(self, work: Work) -> Work:
        """What does it again; recording does not do it."""


class CudaGraphs:
    """Recordings on torch's current CUDA device.  Their memory is one: a recording's results are lost when another is replayed.

    Args:
        what: is recorded, for a warning.
    """

    def __init__(self, what: str) -> None:
        self._what, self._pool = what, None

    def try_out(self, work: Work) -> None:
        """On a stream of its own, as recordings are made."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream().wait_stream(stream)

    def record(self, work: Work) -> Work:
        """As a CUDA graph; where that fails, the work as it is, with a warning."""
        graph = torch.cuda.CUDAGraph()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        torch.cuda.synchronize()
        try:
            # another thread may use the device meanwhile: the next paths of a bake are traced ahead
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            said = f"{self._what} cannot be recorded as a CUDA graph, and take longer: {reason}"
            warnings.warn(said, RuntimeWarning, stacklevel=2)
            torch.cuda.synchronize()
            return work
        return graph.replay
