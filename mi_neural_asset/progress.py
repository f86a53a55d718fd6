"""Progress of long work: a bar with an estimated time in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

LINE_INTERVAL = 10.0  # seconds between lines where there is no terminal


def clock(seconds: float) -> str:
    """Duration as m:ss or h:mm:ss."""
    minutes, s = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"


class Progress:
    """Reports a fraction done and a short text; use as a context manager.

    Args:
        title: what is going on.
        enabled: False: silent.
    """

    def __init__(self, title: str, enabled: bool = True) -> None:
        self._title, self._enabled, self._bar = title, enabled, None
        self._start, self._last = time.monotonic(), 0.0

    def __enter__(self) -> Progress:
        self._start = time.monotonic()
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            title, share = "[progress.description]{task.description}", "{task.percentage:>3.0f}%"
            self._bar = Bar(title, BarColumn(), share, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=1.0, note="")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, fraction: float, text: str = "") -> None:
        """`fraction` in [0, 1] is done; remaining time is estimated from the pace so far."""
        if not self._enabled:
            return
        now = time.monotonic()
        elapsed = now - self._start
        left = f", {clock(elapsed * (1 - fraction) / fraction)} left" if 0 < fraction < 1 and elapsed > 2 else ""
        note = f"{clock(elapsed)}{left}  {text}"
        if self._bar:
            self._bar.update(self._task, completed=fraction, note=note)
        elif now - self._last >= LINE_INTERVAL or fraction >= 1:
            self._last = now
            print(f"{self._title}: {100 * fraction:3.0f} %  {note}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self._enabled:
            return
        if self._bar:
            self._bar.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)
