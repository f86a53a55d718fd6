"""Where the numbers of a batch lie: in tiles of consecutive lanes, each a small matrix [rows, lanes] that fits into a core's cache.

Networks work on one tile after another, from the first layer to the last; Dr.Jit's kernels write and read all tiles at once.  What
networks give of splines lies lane by lane instead (`Tiles.records`): kernels read many numbers of a lane, and packets of them are
read several times as fast as one number at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from threading import Barrier, Lock

import drjit as dr
import torch
from drjit.llvm import Float, UInt32
from torch import Tensor

from ..threads import torch_at_work

LANES = 2064  # of a full tile: not a power of two, whose rows would lie in the same places of the cache


@dataclass(frozen=True)
class Tiles:
    """How `count` lanes, at least one, are cut; `most`: lanes of a full tile."""

    count: int
    most: int = LANES

    @property
    def width(self) -> int:
        """Lanes of a tile."""
        return min(self.count, self.most)

    @property
    def number(self) -> int:
        """Tiles; the last one may have lanes that nobody reads."""
        return -(-self.count // self.width)

    def empty(self, rows: int) -> Float:
        """Memory for `rows` numbers of each lane; torch's: that of `dr.empty` is not there yet, and its size part of a kernel."""
        return Float(torch.empty(self.number * rows * self.width))

    def tensor(self, array: Float) -> Tensor:
        """Such memory as a tensor, [tiles, rows, lanes]."""
        return array.torch().view(self.number, -1, self.width)

    def space(self, rows: int) -> Tensor:
        """The same as `empty`, for networks to write to: [tiles, rows, lanes]."""
        return torch.empty(self.number, rows, self.width)

    def records(self, numbers: int, kind: torch.dtype = torch.float32) -> Tensor:
        """Memory for numbers of each lane, side by side: [tiles, lanes, numbers]."""
        return torch.empty(self.number, self.width, numbers, dtype=kind)

    def shared(self, copies: int) -> Tiles:
        """Of what every `copies` consecutive lanes share: as many tiles, and the last of full ones is as wide as its lanes want."""
        return Tiles(self.count // copies, self.most // copies)

    def opaque(self) -> UInt32:
        """The lanes of a tile as kernels want to be told: one kernel serves all."""
        return dr.opaque(UInt32, self.width)


def memory_of(tensor: Tensor) -> Float | UInt32:
    """A tensor's numbers, one after the other, shared with torch, bfloat16 as words of two; at least one: a frozen function's argument
    cannot be empty.
    """
    if tensor.dtype == torch.bfloat16:
        return UInt32(tensor.detach().reshape(-1).view(torch.uint32))
    return Float(tensor.detach().reshape(-1) if tensor.numel() else torch.zeros(1))


class Place:
    """Inside a kernel: where lanes find their numbers.

    Args:
        lane: numbers of lanes within the batch.
        width: lanes of a tile (`Tiles.opaque`).
    """

    def __init__(self, lane: UInt32, width: UInt32) -> None:
        self.lane, self.width = lane, width
        self._first = lane // width
        self._column = lane - self._first * width

    def begin(self, rows: int) -> UInt32:
        """Of row 0 in memory of `rows` rows; row k lies k times `width` further."""
        return self._first * (rows * self.width) + self._column

    def write(self, space: Float | UInt32, rows: int, values: Sequence[Float | UInt32]) -> None:
        """Put numbers into all rows."""
        begin = self.begin(rows)
        for k, value in enumerate(values):
            dr.scatter(space, value, begin + k * self.width, mode=dr.ReduceMode.NoConflicts)

    def read(self, space: Float, rows: int, first: int, count: int) -> list[Float]:
        """Numbers of `count` consecutive rows."""
        begin = self.begin(rows)
        return [dr.gather(Float, space, begin + (first + k) * self.width) for k in range(count)]


def _work_alone() -> None:
    """Let torch have one thread here: it takes the process's number when a thread first asks, and keeps what is set after that."""
    torch.get_num_threads()
    torch.set_num_threads(1)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Workers whose own torch has one thread each; torch's number of threads elsewhere stays as it is."""
    pool = ThreadPoolExecutor(threads, "mi_neural_asset", _work_alone)
    barrier = Barrier(threads)
    list(pool.map(lambda _: barrier.wait(), range(threads)))
    torch.set_num_threads(threads)
    return pool


def for_tiles(work: Callable[[int], None], number: int, threads: int | None = None) -> None:
    """Call work(0) to work(number - 1), none of which keeps a graph, on some threads: as many as torch has here, if nothing is said.

    What Dr.Jit has been asked for is there before.
    """
    threads, rest, one_at_a_time = threads or torch.get_num_threads(), iter(range(number)), Lock()

    def several() -> None:
        with torch.inference_mode():
            while True:
                with one_at_a_time:
                    k = next(rest, None)
                if k is None:
                    return
                work(k)

    dr.sync_thread()
    with torch_at_work(alone=True) if number > 1 else nullcontext():
        if threads == 1:
            several()
        else:  # one tile as well: torch's own threads would wait for each other
            jobs = [_pool(threads).submit(several) for _ in range(min(threads, number))]
            for job in wait(jobs).done:
                job.result()
