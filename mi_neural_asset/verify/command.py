"""`mi-neural-asset verify ASSET`: compare an asset with its embedded source, and print a table."""

from __future__ import annotations

import argparse
from typing import Any

DEFAULT_LIGHTS = "constant,area,envmap"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "verify",
        help="compare an asset with the scene that it was baked from",
        description="Render an asset and its embedded source under standard lights; print energy, error and efficiency.",
    )
    parser.add_argument("asset", metavar="ASSET", help="asset file (.pt)")
    parser.add_argument("-o", "--out", metavar="DIR", help="folder for verify.json and the pictures (default: none written)")
    parser.add_argument("--size", type=int, default=128, metavar="N", help="pixels along each edge (default: 128)")
    parser.add_argument("--spp", type=int, default=64, metavar="N", help="samples per pixel of the asset (default: 64)")
    parser.add_argument("--reference-spp", type=int, metavar="N", help="samples per pixel of the source (default: 4 times --spp)")
    parser.add_argument("--lights", default=DEFAULT_LIGHTS, metavar="LIST", help=f"comma-separated (default: {DEFAULT_LIGHTS})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other seeds give independent renders (default: 0)")
    parser.add_argument("--references", metavar="DIR", help="folder that keeps references, to go on after a stop and for other assets")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file")
    parser.add_argument("--variant", default="llvm_ad_rgb", help="Mitsuba variant (default: llvm_ad_rgb)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify, print the table; returns the exit code."""
    import mitsuba as mi

    from ..register import register

    mi.set_variant(options.variant)
    register()
    from .verify import verify, write_json

    result = verify(
        options.asset, lights=[name for name in options.lights.split(",") if name], size=options.size, spp=options.spp,
        reference_spp=options.reference_spp, seed=options.seed, out=options.out,
        references=options.references, progress=not options.quiet,
    )  # fmt: skip
    print(table(result))
    if options.json:
        write_json(options.json, result)
    return 0


def table(result: dict[str, Any]) -> str:
    """The figures of `verify`, one light a line."""
    header = f"{'light':<9} {'energy ratio R, G, B':<40} {'RMS':>7} {'relMSE':>8} {'FLIP':>6}"
    header += f" {'variance':>9} {'time':>7} {'gain':>7} {'missed':>7}"
    lines = [header, "-" * len(header)]
    for name, row in result["lights"].items():
        pairs = zip(row["energy_ratio"], row["energy_ratio_error"], strict=True)
        energy = "  ".join(f"{_text(r, '.3f')}+-{_text(e, '.3f')}" for r, e in pairs)
        lines.append(
            f"{name:<9} {energy:<40} {_text(row['rms'], '.2%'):>7} {_text(row['relmse'], '.2g'):>8} {_text(row['flip'], '.3f'):>6} "
            f"{_text(row['variance_ratio'], '.3g'):>9} {_text(row['time_ratio'], '.3g'):>7} {_text(row['gain'], '.3g'):>7} "
            f"{_text(row['miss_rate'], '.1%'):>7}"
        )
    settings = result["settings"]
    lines.append(
        f"\nRMS: relative to the mean, noise subtracted.  variance, time: {settings['reference']} (rr_depth "
        f"{settings['reference_rr_depth']}) over the asset, per sample; gain: their product.  missed: sampled rays that miss the asset."
    )
    return "\n".join(lines)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
