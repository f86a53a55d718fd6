"""Paths as training data: generated in bulk, brought to normalised space, handed out in shuffled batches.

Everything is a function of (seed, rank, generation, position), so that a resumed bake sees the same batches.  While a GPU trains, a
thread traces the paths of the next generation: the host has nothing else to do.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields

import mitsuba as mi
import numpy as np
import torch
from torch import Tensor

from ..distributed import ALONE, Processes
from ..interop import to_vector
from ..model.transport import Transport
from ..occlusion import Occlusion
from .presets import BakeConfig
from .reciprocity import backwards, without_return
from .rows import Rows
from .sampler import EXITED, Paths, PathSampler

DEAD_ROWS = 0.5  # rows without throughput of a training batch, at most, for each one with it


@dataclass
class Batch(Rows):
    """Rows of training data in normalised space; the first `flow` rows carry throughput."""

    x_o: Tensor  # [N, 3]
    w_o: Tensor  # [N, 3]
    n: Tensor  # [N, 3]
    u: Tensor  # [N, 3] exit point on the proxy
    w_i: Tensor  # [N, 3]
    beta: Tensor  # [N, 3]
    occlusion: Tensor  # [N, K]
    drawn: Tensor  # [N] how many viewers' rays the row stands for; 0 where a path was read backwards: nothing is known of alpha there
    flow: int = 0

    @property
    def viewers(self) -> Tensor:
        return self.drawn.sum()


def path_seed(seed: int, stream: int, rank: int = 0) -> int:
    """Seed of the path sampler for one stream of a bake, in one of its processes; stream 0 is the held-out one."""
    return int(np.random.SeedSequence([seed, stream, rank]).generate_state(1)[0])


def training_rows(paths: Paths, model: Transport, center: Tensor, scale: float, occlusion: Occlusion) -> Batch:
    """Tuples of Algorithm 1 (paper): normalised, with u_i on the proxy, direct exits at zero throughput if separated.

    Truncated and invalid paths are left out; `PathBuffer` counts them.
    """
    beta = paths.beta
    if model.config.separate_direct:
        beta = torch.where(paths.direct[:, None], 0.0, beta)
    known = (paths.status <= 1).nonzero()[:, 0]  # exited or absorbed
    known = known[_along_a_curve((paths.x_o[known] - center) / scale)]  # batches are shuffled anyway
    x_o, x_i = ((p[known] - center) / scale for p in (paths.x_o, paths.x_i))
    u, _ = model.proxy.exit(x_i, paths.w_i[known])
    n = paths.n[known]
    around = occlusion.tensor(to_vector(x_o, mi.Point3f), to_vector(n), x_o.device)
    return Batch(x_o, paths.w_o[known], n, u, paths.w_i[known], beta[known], around, torch.ones(len(x_o)))


def _along_a_curve(points: Tensor, bits: int = 10) -> Tensor:
    """An order of points in [-1, 1]^3, [N, 3], in which neighbours are near each other (Morton): their rays visit the same memory."""
    cells = ((points + 1) * (1 << (bits - 1))).long().clamp(0, (1 << bits) - 1)
    place = torch.zeros_like(cells[:, 0])
    for bit in range(bits):
        for axis in range(3):
            place |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return place.argsort(stable=True)


def joined(parts: list[Batch]) -> Batch:
    """The rows of several batches."""
    return Batch(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Batch)[:-1]))


def thinned(paths: Paths, separate_direct: bool) -> tuple[Paths, float]:
    """Without the last of the rows that carry nothing, where these are more than `DEAD_ROWS` for each that does.

    Paths are independent, so the first are as good as any.  Of hair under its direct lobe five rows in six are dead: all they say
    is a zero of the albedo's mean, and each costs as much as one that lives.

    Returns:
        the paths, and what each dead one that is left stands for.
    """
    alive = paths.beta.amax(-1) > 0
    if separate_direct:
        alive &= ~paths.direct
    dead = ~alive & (paths.status <= 1)
    kept = dead & (dead.cumsum(0) <= int(DEAD_ROWS * int(alive.sum())))
    return paths.rows((alive | kept).nonzero()[:, 0]), float(dead.sum()) / max(int(kept.sum()), 1)


@dataclass
class Counts:
    """What became of the paths."""

    paths: int = 0
    misses: int = 0
    truncated: int = 0
    invalid: int = 0
    bounces: int = 0
    events: int = 0  # of paths that exited
    exited: int = 0
    direct: int = 0

    def add(self, paths: Paths, processes: Processes = ALONE) -> None:
        """Count one more bulk of paths, of each process."""
        exited = paths.status == EXITED
        new = {
            "paths": len(paths), "misses": paths.misses, "truncated": paths.truncated, "invalid": paths.invalid, "bounces": paths.bounces,
            "events": int(paths.events[exited].sum()), "exited": int(exited.sum()), "direct": int(paths.direct.sum()),
        }  # fmt: skip
        for name, value in zip(new, processes.sum(torch.tensor(list(new.values()))).tolist(), strict=True):
            setattr(self, name, getattr(self, name) + value)

    @property
    def mean_events(self) -> float:
        """Mean number of scattering events of the paths that exit other than by the direct lobe."""
        return (self.events - self.direct) / max(self.exited - self.direct, 1)


class PathBuffer:
    """Endless shuffled batches.

    Args:
        sampler: makes the paths.
        rows: makes rows of them.
        config: how many paths at once, in which groups, of how many rows a batch is, how often each row is used; of this process.
        reciprocal: use each path backwards as often as forwards (see `mi_neural_asset.baking.reciprocity`).
        seed: of the bake.
        device: where batches are wanted.
        processes: that bake together; each has paths of its own, and all begin a generation at the same step.
        ahead: trace the next generation while this one is used; None: where the device is not the CPU.
    """

    def __init__(
        self, sampler: PathSampler, rows: Callable[[Paths], Rows], config: BakeConfig, *, seed: int, reciprocal: bool,
        device: torch.device, processes: Processes = ALONE, ahead: bool | None = None,
    ) -> None:  # fmt: skip
        self.sampler, self.make_rows, self._size, self._batch, self._group = sampler, rows, config.buffer, config.batch, config.group
        self._seed, self.reciprocal, self._device, self._processes = seed, reciprocal, device, processes
        self._thins, self._separate_direct = config.kind == "transport", config.model.separate_direct
        self._rounds = max(1, config.reuse // 2) if reciprocal else config.reuse
        self.counts = Counts()
        self.generation, self.position = 0, 0  # of the next batch
        self._order: list[Tensor] = []
        ahead = device.type != "cpu" if ahead is None else ahead
        self._thread = ThreadPoolExecutor(1, "mi_neural_asset paths") if ahead else None
        self._next: tuple[int, Future] | None = None  # generation that is being traced

    def rest(self) -> None:
        """Wait until nothing is traced ahead: others may use Dr.Jit then, until the next batch is asked for."""
        if self._next:
            self._next[1].exception()

    def validation(self, count: int) -> Rows:
        """Held-out rows of `count` paths, the same at each call."""
        self.rest()
        paths = self.sampler.sample(count, path_seed(self._seed, 0), group=self._group)
        return self.make_rows(paths).to(self._device)

    def seek(self, generation: int, position: int) -> None:
        """Continue at a batch (undoes a stop: take the attributes of the same names)."""
        self.generation, self.position, self._order = generation, position, []

    def _training_rows(self, paths: Paths) -> Rows:
        if not self._thins:
            return self.make_rows(paths)
        fewer, weight = thinned(paths, self._separate_direct)
        parts = [self.make_rows(fewer)]
        parts[0].drawn[parts[0].beta.amax(-1) <= 0] = weight
        if not self.reciprocal:
            return parts[0]
        for some in (paths.rows(without_return(paths).nonzero()[:, 0]), backwards(paths)):
            rows = self.make_rows(some)  # which puts them in an order of its own
            rows = rows.rows((rows.beta.amax(-1) > 0).nonzero()[:, 0])
            rows.drawn.zero_()
            parts.append(rows)
        return joined(parts)

    def _trace(self, generation: int) -> tuple[Paths, Rows]:
        """The paths of a generation and their rows, on the CPU."""
        paths = self.sampler.sample(self._size, path_seed(self._seed, generation + 1, self._processes.rank), group=self._group)
        return paths, self._training_rows(paths)

    def _traced(self, generation: int) -> tuple[Paths, Rows]:
        """The same, and the next generation is begun where that is to be done ahead."""
        if not self._thread:
            return self._trace(generation)
        ahead, self._next = self._next, None
        if ahead and ahead[0] != generation:
            ahead[1].exception()  # the bake has gone back: wait, and drop it
            ahead = None
        found = ahead[1].result() if ahead else self._trace(generation)
        self._next = generation + 1, self._thread.submit(self._trace, generation + 1)
        return found

    def _generate(self) -> None:
        processes = self._processes
        paths, rows = self._traced(self.generation)
        if self.position == 0:  # else the bake resumes within a generation that has been counted
            self.counts.add(paths, processes)
        self._rows = rows.to(self._device)
        carries = self._rows.beta.amax(-1) > 0
        alive, dead = carries.nonzero()[:, 0], (~carries).nonzero()[:, 0]
        count = int(processes.least(torch.tensor(len(alive) // self._batch)))
        if count == 0:
            raise processes.said(RuntimeError(
                f"only {len(alive)} of {len(carries)} paths leave the asset with throughput, fewer than a batch of {self._batch}: "
                "the asset absorbs nearly all light or is closed to it; check albedo, scale and boundary, or pass a smaller batch"
            ))  # fmt: skip
        generator = torch.Generator().manual_seed(path_seed(self._seed, 1 << 30 | self.generation, processes.rank))
        self._order = []
        for _ in range(self._rounds):
            live = alive[torch.randperm(len(alive), generator=generator)]
            rest = dead[torch.randperm(len(dead), generator=generator)]
            share = len(rest) * self._batch / len(alive)  # what is left of the live rows must not shift the proportion
            for k in range(count):
                zeros = rest[int(k * share) : int((k + 1) * share)]
                self._order.append(torch.cat([live[k * self._batch : (k + 1) * self._batch], zeros]))

    def next(self) -> Rows:
        """The next batch: `batch` rows with throughput, then rows without, each of which may stand for several."""
        if not self._order:
            self._generate()
        batch = self._rows.rows(self._order[self.position], self._batch)
        self.position += 1
        if self.position == len(self._order):
            self.generation, self.position, self._order = self.generation + 1, 0, []
        return batch
