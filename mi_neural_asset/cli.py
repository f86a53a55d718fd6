"""The command `mi-neural-asset`: bake, verify, info, scenes, report, demo, doctor.

Each subcommand is a module with `add_parser(subparsers)`, which declares its options and sets `run`, a function that
takes the parsed options and returns the exit code; the modules load Mitsuba and torch inside that function alone.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence

from . import __version__, llvm
from .register import register

_COMMANDS = ("baking.command", "verify.command", "asset.info", "catalogue", "report.command", "demo", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0, 1 for an error, 2 for a wrong command line, 130 for an interruption by Ctrl-C or SIGTERM; an error's own
        `exit_code`: 3 for a bake that could not go on, 4 for an output that another process is writing.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.needs_mitsuba:
            llvm.prepare()
            register()
        return options.run(options) or 0
    except KeyboardInterrupt as error:
        print(f"mi-neural-asset: {error if str(error) else 'interrupted'}", file=sys.stderr)
        return 130
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        if options.traceback:
            raise
        print(f"mi-neural-asset: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mi-neural-asset",
        description="Bake, check and inspect neural assets for Mitsuba 3; `mitsuba` renders them.",
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
