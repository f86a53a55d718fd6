"""Ctrl-C and SIGTERM as requests to stop at the next good moment."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Signals:
    """SIGINT and SIGTERM ask for a stop while this is active; a second one acts at once."""

    def __init__(self, request: Any) -> None:  # noqa: ANN401
        self._request, self._old = request, {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._request(signal.Signals(number).name)
        self._restore()
