"""`mi-neural-asset bake SCENE -o ASSET`."""

from __future__ import annotations

import argparse

from ..render.command import parameter

EXIT_CODES = (
    "Exit codes: 0 the asset is written; 1 an error in the scene, an option or a file; 2 a wrong command line; 3 the bake could not go "
    "on (it diverged, or the asset could not be written), the last good state is in the checkpoint; 4 another process bakes into "
    "ASSET; 130 stopped by Ctrl-C or SIGTERM, the checkpoint is written."
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("bake", help="bake the light transport of a scene's shapes into an asset file", epilog=EXIT_CODES)
    parser.add_argument("scene", metavar="SCENE", help="scene file (.xml); its lights and cameras are ignored")
    parser.add_argument("-o", "--output", required=True, metavar="ASSET", help="asset file to write (.pt)")
    parser.add_argument("--preset", default="preview", choices=("preview", "standard", "paper"), help="default: %(default)s")
    parser.add_argument("--kind", default="transport", choices=("transport", "far_field"), help="what to learn: all of the light "
                        "transport, or the baseline that takes all light to be far away (default: %(default)s)")  # fmt: skip
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="optimisation steps, instead of the preset's")
    budget.add_argument("--minutes", type=float, help="wall-clock budget, instead of a number of steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "-D", dest="params", metavar="NAME=VALUE", action="append", type=parameter, default=[], help="value of $NAME in the scene file"
    )
    parser.add_argument("--only", metavar="ID", nargs="+", help="bake these shapes alone")
    parser.add_argument("--coordinates", choices=("local", "paper"), help="around x_o, or the paper's")
    parser.add_argument("--proxy", choices=("sphere", "box", "hull"), help="surface on which incident rays are parameterised")
    parser.add_argument("--no-separation", action="store_true", help="let the network learn the direct lobe as well")
    parser.add_argument("--no-source", action="store_true", help="leave the scene out of the asset: smaller, but cannot be verified")
    parser.add_argument("--resume", nargs="?", const=True, metavar="CHECKPOINT", help="continue (default: the one beside ASSET)")
    parser.add_argument("--preview-image", metavar="PNG", help="render a small picture every minute")
    parser.add_argument("--memory", metavar="SIZE", help="refuse to start where the bake needs more, such as 4GB (default: what is free)")
    parser.add_argument("--no-certificate", action="store_true", help="do not check the asset at the end")
    parser.add_argument("--log", metavar="FILE", help="write a log of JSON lines: losses, rates, counts, validation (docs/reliability.md)")
    parser.add_argument("--log-interval", type=int, default=50, metavar="N", help="steps between its lines (default: %(default)s)")
    parser.add_argument("--tensorboard", metavar="DIR", help="write the same as curves for TensorBoard (pip install tensorboard)")
    parser.add_argument("--units", default="scene units", help="recorded in the asset")
    parser.add_argument("--up-axis", default="y", choices=("x", "y", "z"), help="recorded in the asset")
    parser.add_argument("--device", help="torch device of the networks, such as cuda or cpu")
    parser.add_argument("--variant", default="llvm_ad_rgb", help="Mitsuba variant that traces the paths (default: %(default)s)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Bake; returns the exit code."""
    import mitsuba as mi

    mi.set_variant(options.variant)
    from ..distributed import join
    from .bake import BakeOptions, bake

    model = {name: getattr(options, name) for name in ("coordinates", "proxy") if getattr(options, name)}
    if options.no_separation:
        model["separate_direct"] = False
    rare = BakeOptions(
        params=dict(options.params), source=not options.no_source, preview_image=options.preview_image,
        units=options.units, up_axis=options.up_axis,
        log=options.log, tensorboard=options.tensorboard, log_interval=options.log_interval,
        memory=options.memory, certify=not options.no_certificate,
    )  # fmt: skip
    with join(options.device) as processes:
        bake(
            options.scene, options.output, preset=options.preset, kind=options.kind, steps=options.steps, minutes=options.minutes,
            seed=options.seed, device=options.device, resume=options.resume, progress=not options.quiet, only=options.only,
            options=rare, processes=processes, **model,
        )  # fmt: skip
    return 0
