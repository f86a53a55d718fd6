"""`mi-neural-asset render SCENE -o EXR`."""

from __future__ import annotations

import argparse

EXIT_CODES = (
    "Exit codes: 0 the picture is written; 1 an error in the scene, an option or a file; 2 a wrong command line; 3 another process of "
    "torchrun's has ended; 130 stopped by Ctrl-C."
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "render",
        help="render a scene, also by several processes: torchrun --nproc-per-node N -m mi_neural_asset render ...",
        description="Render a scene with its own integrator into an EXR file that can be merged with others. Of several processes "
        "(torchrun) each renders its share of the samples, with seeds N, N + 1, ...",
        epilog=EXIT_CODES,
    )
    parser.add_argument("scene", metavar="SCENE", help="scene file (.xml)")
    parser.add_argument("-o", "--output", required=True, metavar="EXR", help="file to write (.exr)")
    parser.add_argument("--spp", type=int, default=0, metavar="N", help="samples per pixel in all (default: as the scene says)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other seeds give independent renders (default: 0)")
    parser.add_argument(
        "-D", dest="params", metavar="NAME=VALUE", action="append", type=parameter, default=[], help="value of $NAME in the scene file"
    )
    parser.add_argument("--variant", default="llvm_ad_rgb", help="Mitsuba variant (default: %(default)s)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def parameter(text: str) -> tuple[str, str]:
    """(name, value) of a definition."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def run(options: argparse.Namespace) -> int:
    """Render; returns the exit code."""
    import mitsuba as mi

    if options.spp < 0:
        raise ValueError(f"render: --spp must not be negative, got {options.spp}")
    mi.set_variant(options.variant)
    from ..distributed import join
    from .render import render

    with join("cpu") as processes:
        record = render(
            options.scene, options.output, spp=options.spp, seed=options.seed, params=dict(options.params), processes=processes,
            progress=not options.quiet,
        )  # fmt: skip
    if processes.rank == 0:
        print(f"wrote {options.output}: {record.samples} samples per pixel, seeds {', '.join(map(str, record.seeds))}")
    return 0
