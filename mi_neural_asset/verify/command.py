"""`mi-neural-asset verify ASSET`: compare an asset with its embedded source, and print a table."""

from __future__ import annotations

import argparse
from typing import Any

DEFAULT_LIGHTS = "constant,area,envmap"
DOES_NOT_HOLD = 5  # exit code


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "verify",
        help="compare an asset with the scene that it was baked from",
        description="Render an asset and its embedded source under standard lights; print energy, error and efficiency. Check its "
        "densities, sampling, energy and reciprocity. Write the certificate into the asset.",
        epilog="Exit codes: 0 all holds; 1 an error; 2 a wrong command line; 5 something does not hold, and is named.",
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
    parser.add_argument("--quick", action="store_true", help="the checks alone, without renders of the source, in some ten seconds")
    parser.add_argument("--check", action="store_true", help="repeat the asset's certificate and say whether it still holds; write nothing")
    parser.add_argument("--no-certificate", action="store_true", help="leave the asset file as it is, and the checks out")
    parser.add_argument("--variant", default="llvm_ad_rgb", help="Mitsuba variant (default: llvm_ad_rgb)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify, print the table; returns the exit code."""
    import mitsuba as mi

    from ..register import register

    mi.set_variant(options.variant)
    register()
    if options.check:
        return _check(options)
    if options.quick:
        return 0 if _certify(options, None) else DOES_NOT_HOLD
    from .verify import verify, write_json

    result = verify(
        options.asset, lights=[name for name in options.lights.split(",") if name], size=options.size, spp=options.spp,
        reference_spp=options.reference_spp, seed=options.seed, out=options.out,
        references=options.references, progress=not options.quiet,
    )  # fmt: skip
    print(table(result))
    if options.json:
        write_json(options.json, result)
    return 0 if options.no_certificate or _certify(options, result) else DOES_NOT_HOLD


def _certify(options: argparse.Namespace, lights: dict[str, Any] | None) -> bool:
    """Check, print, and write the certificate into the asset file; whether all holds."""
    from ..asset.asset import NeuralAsset
    from ..asset.info import certificate_lines
    from ..progress import Progress
    from .certificate import attach, certify

    asset = NeuralAsset.load(options.asset)
    with Progress("certificate", not options.quiet) as bar:
        certificate = certify(asset, "quick" if options.quick else "full", options.seed, lights, bar.update)
    print("\n".join(["", *certificate_lines(certificate)]))
    if not options.no_certificate:
        try:
            attach(asset, certificate).save(options.asset)
        except OSError as error:
            print(f"the certificate is not in the asset: {error}")
    return certificate["holds"]


def _check(options: argparse.Namespace) -> int:
    """Repeat the certificate; returns the exit code."""
    from ..asset.asset import NeuralAsset
    from ..progress import Progress
    from .recheck import recheck

    asset = NeuralAsset.load(options.asset)
    with Progress("check", not options.quiet) as bar:
        failed = recheck(asset, lights=not options.quick, done=bar.update)
    for line in failed:
        print(f"does not hold: {line}")
    if not failed:
        print(f"{options.asset}: the certificate holds")
    return DOES_NOT_HOLD if failed else 0


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
