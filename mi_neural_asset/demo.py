"""`mi-neural-asset demo`: bake the jade seal, render it under a near lamp, compare it with the path tracer."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .progress import Progress, clock

if TYPE_CHECKING:
    import mitsuba as mi
    import numpy as np

SIZE = 256  # pixels along a side
SPP = 16  # samples per pixel of one run; the spread between runs tells the noise


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("demo", help="bake and render the jade seal, compare it with volpath (about 10 minutes)")
    parser.add_argument("--out", default="out/demo", metavar="DIR", help="where pictures and asset go (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=6.0, help="of baking (default: %(default)s)")
    parser.add_argument("--asset", metavar="FILE", help="a seal baked earlier, instead of baking one")
    parser.add_argument("--spp", type=int, default=96, help="samples per pixel (default: %(default)s)")
    parser.add_argument("--reference-spp", type=int, default=192, help="the same of the path-traced reference (default: %(default)s)")
    parser.set_defaults(run=run)


def _render(scene: mi.Scene, integrator: mi.Integrator, spp: int, seed: int, title: str) -> tuple[np.ndarray, list[float]]:
    """Independent pictures of 16 samples per pixel, `spp` in all, [N, H, W, 3], and the seconds each took, uncompiled."""
    import mitsuba as mi
    import numpy as np

    np.asarray(mi.render(scene, integrator=integrator, spp=1, seed=seed))  # compiles
    pictures, seconds = [], []
    with Progress(title) as progress:
        for k in range(max(2, spp // SPP)):
            start = time.monotonic()
            pictures.append(np.asarray(mi.render(scene, integrator=integrator, spp=SPP, seed=seed + k))[..., :3])
            seconds.append(time.monotonic() - start)
            progress.update((k + 1) / max(2, spp // SPP))
    return np.stack(pictures).astype(np.float64), seconds


def _asset_mask(scene: mi.Scene, size: int) -> np.ndarray:
    """Pixels whose centre shows the seal."""
    import mitsuba as mi
    import numpy as np

    from .render.instances import SceneAssets

    k = mi.Float((np.arange(size, dtype=np.float32) + 0.5) / size)
    x, y = mi.Float(np.tile(k, size)), mi.Float(np.repeat(k, size))
    ray, _ = scene.sensors()[0].sample_ray(0, 0, mi.Point2f(x, y), 0)
    model, _ = SceneAssets(scene).lookup(scene.ray_intersect(ray))
    return np.asarray(model).reshape(size, size) > 0


def run(options: argparse.Namespace) -> int:
    """Bake, render, compare, write; returns the exit code."""
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    from . import layout
    from .baking.bake import BakeOptions, bake
    from .verify import metrics

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    asset = Path(options.asset or out / "seal.pt").absolute()
    if not options.asset:
        bake(layout.folder("scenes") / "seal.xml", asset, minutes=options.minutes, options=BakeOptions(up_axis="z"))
    baked = time.monotonic() - start
    scenes = layout.folder("scenes")
    size = {"width": SIZE, "height": SIZE}
    lit = mi.load_file(str(scenes / "seal_lit.xml"), weights=str(asset), **size)
    traced = mi.load_file(str(scenes / "seal_lit_reference.xml"), **size)
    ours, seconds = _render(lit, lit.integrator(), options.spp, 1000, "render with the asset")
    reference, reference_seconds = _render(traced, traced.integrator(), options.reference_spp, 2000, "render with volpath")
    mask = _asset_mask(lit, SIZE)
    energy, error = metrics.energy_ratio(ours, reference, mask)
    variance = metrics.variance_ratio(ours, SPP, reference, SPP, mask)
    speed = metrics.time_ratio(seconds, SPP, reference_seconds, SPP)
    _write_pictures(out, ours.mean(0), reference.mean(0))
    _report(out, {
        "bake": clock(baked) if not options.asset else "done before",
        "energy, ours / volpath (R, G, B)": ", ".join(f"{v:.3f}" for v in energy),
        "its standard error": ", ".join(f"{v:.3f}" for v in error),
        "RMS error / mean, noise removed": f"{100 * metrics.noise_corrected_rms(ours, reference, mask).value:.1f} %",
        "seconds per 16 spp, ours": f"{sum(seconds) / len(seconds):.1f}",
        "seconds per 16 spp, volpath": f"{sum(reference_seconds) / len(reference_seconds):.1f}",
        "variance at equal spp, volpath / ours": f"{variance:.1f}",
        "variance x time, volpath / ours": f"{variance * speed:.1f}",
        "sampled rays that miss the seal": f"{100 * lit.integrator().statistics.miss_rate:.1f} %",
        "whole demo": clock(time.monotonic() - start),
    })  # fmt: skip
    return 0


def _write_pictures(out: Path, ours: np.ndarray, reference: np.ndarray) -> None:
    import numpy as np

    from .images import write_exr, write_png

    error = np.abs(ours - reference)
    for name, picture in (("ours", ours), ("reference", reference), ("error", error)):
        write_exr(out / f"{name}.exr", picture)
        write_png(out / f"{name}.png", picture)


def _report(out: Path, figures: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="The seal under a near lamp, over the seal's pixels")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, value)
    Console().print(table)
    Console().print(f"pictures and asset: {out}", highlight=False)
