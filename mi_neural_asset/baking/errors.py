"""How a bake ends before its time."""

from __future__ import annotations


class BakeError(RuntimeError):
    """A bake that could not go on; the message says what is kept and what to do."""

    exit_code = 3  # of the command


class BakeInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; the message names the checkpoint."""

    exit_code = 130  # of the command
