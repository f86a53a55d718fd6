"""Several processes that bake or render as one, started by torchrun: torch.distributed, with gloo on CPUs and nccl on GPUs.

All of them (ranks) do the same steps in the same order, each with random numbers of its own; rank 0 alone writes and speaks.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .memory import share_memory
from .threads import share_cores

T = TypeVar("T")

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = datetime.timedelta(minutes=30)  # for a process that is silent
GLANCE = 0.05  # seconds between looks at who is there


class LostProcess(RuntimeError):
    """Another process has ended or cannot be reached."""

    exit_code = 3  # of the command


class Mismatch(ValueError):
    """Processes that were started with different scenes, options or versions; the message names the difference."""


@dataclass(frozen=True)
class Processes:
    """The ranks, seen from one of them.

    Attributes:
        rank: of this one.
        size: how many there are.
        local_size: how many of them are on this machine.
        restarts: how often torchrun has started them again.
        restartable: whether it would.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    restarts: int = 0
    restartable: bool = False

    def sum(self, values: Tensor) -> Tensor:
        """Sum over ranks."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def least(self, values: Tensor) -> Tensor:
        """Minimum over ranks."""
        return self._reduced(values, dist.ReduceOp.MIN)

    def greatest(self, values: Tensor) -> Tensor:
        """Maximum over ranks."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors of one type by their means over ranks."""
        if self.size > 1:
            tensors = list(tensors)
            flat = self.sum(torch.cat([t.flatten() for t in tensors])) / self.size
            for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def spread_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of rank 0."""
        if self.size > 1:
            with _reaching():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def gather(self, value: T) -> list[T]:
        """The plain values of all ranks."""
        values = [value]
        if self.size > 1:
            values = [None] * self.size
            with _reaching():
                dist.all_gather_object(values, value)
        return values

    def together(self, work: Callable[[], T]) -> T:
        """`work()` once all ranks have done theirs; where some fail, the first of these raises its error, and the others end."""
        result, error = None, None
        try:
            result = work()
        except Exception as caught:
            if self.size == 1:
                raise
            error = caught
        codes = self.gather(0 if error is None else getattr(error, "exit_code", 1))
        if any(codes):
            first = next(rank for rank, code in enumerate(codes) if code)
            raise error if first == self.rank else SystemExit(codes[first])
        return result

    def by_first(self, work: Callable[[], T]) -> T:
        """What `work()` returns on rank 0: plain values and CPU tensors."""
        return self.gather(self.together(lambda: None if self.rank else work()))[0]

    def said(self, error: BaseException) -> BaseException:
        """An error that all ranks meet at once: rank 0 raises it, the others just end."""
        return error if self.rank == 0 else SystemExit(getattr(error, "exit_code", 1))

    def check_same(self, what: Mapping[str, Any]) -> None:
        """Make sure that plain values are the same everywhere.

        Raises:
            Mismatch: they are not.
        """
        own = _flat(what)
        for rank, other in enumerate(found := self.gather(own)):
            differing = next((key for key in [*found[0], *other] if found[0].get(key) != other.get(key)), None)
            if differing:
                raise self.said(Mismatch(
                    f"process {rank} differs from process 0 in {differing}: {other.get(differing)!r} there, {found[0].get(differing)!r} "
                    "here; start all with the same options, files and versions"
                ))  # fmt: skip

    def _reduced(self, values: Tensor, how: Any) -> Tensor:  # noqa: ANN401
        if self.size > 1:
            values = values.clone()
            with _reaching():
                dist.all_reduce(values, how)
        return values


ALONE = Processes()


@contextmanager
def join(device: str | None = None) -> Iterator[Processes]:
    """The processes that torchrun has started, joined; `ALONE` where it has not.

    Cores and memory are divided among those of this machine; on GPUs each takes one, the current one afterwards.

    Args:
        device: torch device that will compute; None: "cuda" if there is one, else "cpu".

    Raises:
        ValueError: a variable that torchrun sets is missing or wrong, or there are fewer GPUs than processes.
        LostProcess: the others are not there.
    """
    found = from_environment()
    if found.size == 1:
        yield found
        return
    share_cores(found.local_size)
    share_memory(found.local_size)
    backend = _backend(device or ("cuda" if torch.cuda.is_available() else "cpu"), found.local_size)
    with _reaching():
        store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
        store = dist.PrefixStore("mi_neural_asset", store)
        group = dist.PrefixStore(_meet(store, rank, size), store)
        dist.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        # a machine's own count is not that of all: see torch.distributed.elastic, restarts on membership changes
        starts = found.gather(store.add("starts", 1) if rank == 0 else 0)[0]
        yield replace(found, restarts=max(starts - 1, *found.gather(found.restarts)))
    finally:
        dist.destroy_process_group()


def _meet(store: dist.Store, rank: int, size: int) -> str:
    """A name that only the processes which are alive now share.

    torchrun's store outlives restarts, and so do the addresses that dead processes left in it (pytorch issue 135712).
    """
    store.set(f"alive/{rank}", secrets.token_hex(16))
    end = time.monotonic() + PATIENCE.total_seconds()
    while time.monotonic() < end:
        alive = b"".join(store.get(f"alive/{other}") for other in range(size))
        name = hashlib.sha256(alive).hexdigest()
        store.set(f"{name}/{rank}", "seen")
        if store.check([f"{name}/{other}" for other in range(size)]):
            return name
        time.sleep(GLANCE)  # some are those of dead processes, or have not looked yet
    raise LostProcess(f"not all of the {size} processes have come within {PATIENCE}; start them again")


def from_environment() -> Processes:
    """What the variables that torchrun sets say, `ALONE` where there are none.

    Raises:
        ValueError: some are missing, or hold no sensible numbers.
    """
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return ALONE
    if missing := [name for name in VARIABLES if name not in os.environ]:
        raise ValueError(
            f"{', '.join(missing)}: not set, though {' or '.join(VARIABLES[:2])} is; start several processes by torchrun, or unset all of "
            f"{', '.join(VARIABLES)}"
        )
    rank, size, local_rank, local_size = (_number(name) for name in VARIABLES[:4])
    if not (rank < size and local_rank < local_size <= size):
        text = f"RANK {rank} of WORLD_SIZE {size}, LOCAL_RANK {local_rank} of LOCAL_WORLD_SIZE {local_size}"
        raise ValueError(f"{text} cannot be; start several processes by torchrun")
    restarts, most = (int(os.environ.get(f"TORCHELASTIC_{name}", 0)) for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    return Processes(rank, size, local_size, restarts, most > 0)


def _number(name: str) -> int:
    if not os.environ[name].isdecimal():
        raise ValueError(f"{name}: expected a number, got {os.environ[name]!r}; start several processes by torchrun")
    return int(os.environ[name])


def _backend(device: str, local_size: int) -> str:
    """The backend for a device; of GPUs this process takes its own."""
    if not device.startswith("cuda"):
        return "gloo"
    if ":" in device:
        raise ValueError(f"device {device!r}: with several processes each takes a GPU of its own; write cuda")
    if torch.cuda.device_count() < local_size:
        raise ValueError(
            f"{local_size} processes on a machine with {torch.cuda.device_count()} GPUs: start as many as there are, or compute on the cpu "
            "(--device cpu)"
        )
    torch.cuda.set_device(_number("LOCAL_RANK"))
    return "cpu:gloo,cuda:nccl"


@contextmanager
def _reaching() -> Iterator[None]:
    """The backends' errors, in words."""
    try:
        yield
    except RuntimeError as error:
        text = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise LostProcess(f"another process has ended or cannot be reached ({text}); its own message says why") from error


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
