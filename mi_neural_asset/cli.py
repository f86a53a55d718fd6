"""The command `mi-neural-asset`: bake, render, merge, verify, info, scenes, report, demo, doctor.

Each subcommand is a module with `add_parser(subparsers)`, which declares its options and sets `run`, a function that
takes the parsed options and returns the exit code; the modules load Mitsuba and torch inside that function alone.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

from . import __version__, llvm
from .boot.command import was_interrupted
from .register import register

_COMMANDS = (
    "baking.command", "render.command", "render.merge", "verify.command", "asset.info", "catalogue", "report.command", "demo", "doctor",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0, 1 for an error, 2 for a wrong command line, 130 for an interruption by Ctrl-C or SIGTERM; an error's own
        `exit_code`: 3 for work that could not go on, 4 for an output that another process is writing.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.needs_mitsuba:
            llvm.prepare()
            register()
        return options.run(options) or 0
    except KeyboardInterrupt as error:
        return _interrupted(str(error))
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        if was_interrupted(error):
            return _interrupted()
        if options.traceback:
            raise
        who = f" (process {os.environ['RANK']})" if os.environ.get("RANK", "0") != "0" else ""
        print(f"mi-neural-asset{who}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)


def _interrupted(text: str = "") -> int:
    if os.environ.get("RANK", "0") == "0":  # torchrun's other processes are stopped together with the first
        print(f"mi-neural-asset: {text or 'interrupted'}", file=sys.stderr)
    return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mi-neural-asset",
        description="Bake, render, check and inspect neural assets for Mitsuba 3.",
    )
    parser.add_argument("--version", action="version", version=f"mi-neural-asset {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    parser.set_defaults(needs_mitsuba=True)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _COMMANDS:
        if _exists(name):
            importlib.import_module(f".{name}", __package__).add_parser(subparsers)
    return parser


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(f".{name}", __package__) is not None
    except ModuleNotFoundError:
        return False
