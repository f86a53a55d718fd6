"""The log of a bake for machines: JSON lines, and TensorBoard where it is installed.

Every line is one JSON object with an `event`; a reader skips events that it does not know:

| event | when | fields |
|---|---|---|
| start | a process begins or resumes | time (ISO 8601, UTC), step, seconds, config, seed, minutes, processes, scene, versions, notices |
| step | every `log_interval` steps | step, seconds, fraction, loss {flow, albedo}, learning_rate {adam, muon}, rates, counts |
| validation | after each validation | step, seconds, the figures of `losses.validate` |
| end | a process ends | time, step, seconds, status ("done", "interrupted", "failed"), message, asset |

`seconds` are those of baking so far, those before a resumption included.  Rates are `paths_per_second`, the mean since this
process began, and `rows_per_second`, rows that were trained with since the line before; `counts` are those of `buffer.Counts`.
A resumed bake goes on in its file: steps after the last checkpoint then appear twice, and the later line counts.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .trainer import Trainer


def _plain(value: Any) -> Any:  # noqa: ANN401
    """The same with None in the place of numbers that JSON does not know."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, type(None))) else str(value)


def _flat(values: dict[str, Any], prefix: str) -> dict[str, float]:
    """Numbers of a tree by their path, as TensorBoard names its curves."""
    found: dict[str, float] = {}
    for key, value in values.items():
        items = dict(enumerate(value)) if isinstance(value, (list, tuple)) else value
        if isinstance(items, dict):
            found |= _flat(items, f"{prefix}/{key}")
        elif isinstance(items, (int, float)) and not isinstance(items, bool):
            found[f"{prefix}/{key}"] = float(items)
    return found


class BakeLog:
    """Writes the log of one process of a bake; use as a context.

    Args:
        path: of the JSON lines; None: none.
        tensorboard: folder of TensorBoard's event files; None: none.
        interval: steps between lines.
        resumes: go on in the file that is there, instead of replacing it.
        say: is told once where the log cannot be written any more; the bake goes on without.

    Raises:
        ValueError: `interval` is not positive, or TensorBoard is asked for and not installed.
        OSError: the file or the folder cannot be made.
    """

    def __init__(
        self, path: str | os.PathLike | None, tensorboard: str | os.PathLike | None, interval: int, resumes: bool,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        if interval < 1:
            raise ValueError(f"bake: log_interval must be at least 1 step, got {interval}")
        self._path, self._interval, self._say = path, interval, say
        self._writer = None if tensorboard is None else _tensorboard(tensorboard)
        self._file: IO[str] | None = None
        if path is not None:
            try:
                self._file = open(path, "a" if resumes else "w", encoding="utf-8")  # noqa: SIM115
                if resumes and self._file.tell() and not _ends_a_line(path):
                    self._file.write("\n")  # the process before was killed within a line
            except OSError as error:
                raise OSError(error.errno, f"the log {path} cannot be written: {error.strerror}; choose another file") from error
        self._begin = (0.0, 0)  # time and number of paths at which this process began
        self._since = (0.0, 0)  # time and rows of the line before
        self._rows = 0

    def __enter__(self) -> BakeLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()
        if self._writer:
            self._writer.close()

    def start(self, paths: int, **values: Any) -> None:  # noqa: ANN401
        """The process begins, with the paths of those before it."""
        self._line("start", {"time": _now(), **values})
        self._begin, self._since = (time.monotonic(), paths), (time.monotonic(), 0)

    def step(self, step: int, seconds: float, fraction: float, rows: int, flow: float, albedo: float, trainer: Trainer) -> None:
        """One step is done; a line is written where one is due.

        Args:
            step: number of steps done.
            seconds: of baking.
            fraction: of the bake that is done.
            rows: rows of training data of this step.
            flow, albedo: its losses.
            trainer: knows learning rates and counts.
        """
        self._rows += rows
        if not (self._file or self._writer) or (step % self._interval and fraction < 1):
            return
        now, counts = time.monotonic(), dict(vars(trainer.buffer.counts))
        rates = {
            "paths_per_second": (counts["paths"] - self._begin[1]) / max(now - self._begin[0], 1e-9),
            "rows_per_second": (self._rows - self._since[1]) / max(now - self._since[0], 1e-9),
        }
        self._since = (now, self._rows)
        self._line("step", {
            "step": step, "seconds": seconds, "fraction": fraction, "loss": {"flow": flow, "albedo": albedo},
            "learning_rate": trainer.optimizer.rates, **rates, "counts": counts,
        })  # fmt: skip

    def validation(self, step: int, seconds: float, figures: dict[str, Any]) -> None:
        """Figures on held-out paths."""
        self._line("validation", {"step": step, "seconds": seconds, **figures})

    def end(self, status: str, step: int, seconds: float, **values: Any) -> None:  # noqa: ANN401
        """The process ends."""
        self._line("end", {"time": _now(), "status": status, "step": step, "seconds": seconds, **values})

    def _line(self, event: str, values: dict[str, Any]) -> None:
        if self._file:
            try:
                self._file.write(json.dumps(_plain({"event": event, **values}), allow_nan=False) + "\n")
                self._file.flush()
            except OSError as error:
                self._say(f"the log {self._path} ends here: {error.strerror or error}; the bake goes on")
                self._close_quietly()
        if self._writer and event in ("step", "validation"):
            for name, value in _flat({k: v for k, v in values.items() if k != "step"}, event).items():
                self._writer.add_scalar(name, value, values["step"])
            self._writer.flush()

    def _close_quietly(self) -> None:
        file, self._file = self._file, None
        try:
            file.close()
        except OSError:
            pass  # what it still held back does not fit either


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _ends_a_line(path: str | os.PathLike) -> bool:
    with open(path, "rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _tensorboard(folder: str | os.PathLike) -> Any:  # noqa: ANN401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(f"bake: TensorBoard is not installed ({error}): pip install tensorboard, or leave tensorboard out") from error
    return SummaryWriter(str(folder))
