"""`mi-neural-asset report DIR`: one self-contained page about a folder of renders."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "report",
        help="make one HTML page of a folder that benchmarks or verify wrote",
        description="One self-contained HTML page: pictures to flip through, slide over each other and subtract; plots and tables.",
    )
    parser.add_argument("folder", metavar="DIR", help="folder with report.json (benchmarks/paper.py) or verify.json (verify -o DIR)")
    parser.add_argument("-o", "--output", metavar="HTML", help="file to write (default: DIR/report.html)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page; returns the exit code."""
    import mitsuba as mi

    mi.set_variant("scalar_rgb")
    from ..files import replacing
    from .content import read
    from .page import html

    out = Path(options.output or Path(options.folder) / "report.html")
    text = html(read(options.folder))
    with replacing(out) as stream:
        stream.write(text.encode())
    print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB)")
    return 0
