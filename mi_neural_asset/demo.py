"""`mi-neural-asset demo`: bake the jade seal, render it under a near lamp, compare it with the path tracer."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .progress import Progress, clock

if TYPE_CHECKING:
    import mitsuba as mi
    import numpy as np

SIZE = 256  # pixels along a side


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("demo", help="bake and render the jade seal, compare it with volpath (about 10 minutes)")
    parser.add_argument("--out", default="out/demo", metavar="DIR", help="where pictures and asset go (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=6.0, help="of baking (default: %(default)s)")
    parser.add_argument("--spp", type=int, default=64, help="samples per pixel of each of two renders (default: %(default)s)")
    parser.add_argument("--reference-spp", type=int, default=128, help="the same of the path-traced reference (default: %(default)s)")
    parser.set_defaults(run=run)


def _render(scene: mi.Scene, integrator: mi.Integrator, spp: int, seed: int, title: str) -> tuple[np.ndarray, float]:
    """One picture [H, W, 3] and the seconds it took, in passes so that there is progress to show."""
    import mitsuba as mi
    import numpy as np

    start, total = time.monotonic(), None
    parts = max(1, spp // 16)
    with Progress(title) as progress:
        for k in range(parts):
            picture = np.asarray(mi.render(scene, integrator=integrator, spp=spp // parts, seed=seed * 1000 + k))[..., :3]
            total = picture.astype(np.float64) if total is None else total + picture
            progress.update((k + 1) / parts)
    return total / parts, time.monotonic() - start


def _pair(scene: mi.Scene, integrator: mi.Integrator, spp: int, seed: int, title: str) -> tuple[list[np.ndarray], float]:
    """Two independent pictures and the seconds of one, without compilation."""
    import mitsuba as mi
    import numpy as np

    np.asarray(mi.render(scene, integrator=integrator, spp=1, seed=seed))
    runs = [_render(scene, integrator, spp, seed + k, f"{title} ({k + 1} of 2)") for k in range(2)]
    return [picture for picture, _ in runs], sum(seconds for _, seconds in runs) / 2


def compare(ours: list[np.ndarray], reference: list[np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    """Figures over the pixels of `mask`, from two independent renders each.

    Returns:
        energy: per channel, ours over the reference.
        rms: root of the mean squared difference of the two means, less the noise of both, over the reference's mean.
        variance, reference_variance: of one picture, mean over pixels and channels.
    """
    import numpy as np

    a, b = ([picture[mask] for picture in pair] for pair in (ours, reference))
    mean_a, mean_b = (a[0] + a[1]) / 2, (b[0] + b[1]) / 2
    noise_a, noise_b = np.mean((a[0] - a[1]) ** 2) / 4, np.mean((b[0] - b[1]) ** 2) / 4  # of the means
    squared = np.mean((mean_a - mean_b) ** 2) - noise_a - noise_b
    return {
        "energy": (mean_a.mean(0) / mean_b.mean(0)).tolist(), "rms": float(np.sqrt(max(squared, 0.0)) / mean_b.mean()),
        "variance": 2 * noise_a, "reference_variance": 2 * noise_b,
    }  # fmt: skip


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
    from .baking.bake import bake

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    asset = (out / "seal.pt").absolute()
    bake(layout.folder("scenes") / "seal.xml", asset, minutes=options.minutes)
    baked = time.monotonic() - start
    scenes = layout.folder("scenes")
    size = {"width": SIZE, "height": SIZE}
    lit = mi.load_file(str(scenes / "seal_lit.xml"), weights=str(asset), **size)
    traced = mi.load_file(str(scenes / "seal_lit_reference.xml"), **size)
    ours, seconds = _pair(lit, lit.integrator(), options.spp, 1, "render with the asset")
    reference, reference_seconds = _pair(traced, traced.integrator(), options.reference_spp, 101, "render with volpath")
    figures = compare(ours, reference, _asset_mask(lit, SIZE))
    figures.update(seconds=seconds, spp=options.spp, reference_seconds=reference_seconds, reference_spp=options.reference_spp)
    statistics = lit.integrator().statistics
    _write_pictures(out, sum(ours) / 2, sum(reference) / 2)
    _report(out, figures, statistics.miss_rate, baked, time.monotonic() - start)
    return 0


def _write_pictures(out: Path, ours: np.ndarray, reference: np.ndarray) -> None:
    import numpy as np

    from .images import write_exr, write_png

    error = np.abs(ours - reference)
    for name, picture in (("ours", ours), ("reference", reference), ("error", error)):
        write_exr(out / f"{name}.exr", picture)
        write_png(out / f"{name}.png", picture)


def _report(out: Path, figures: dict[str, Any], misses: float, baked: float, total: float) -> None:
    from rich.console import Console
    from rich.table import Table

    gain = figures["reference_variance"] * figures["reference_seconds"] / (figures["variance"] * figures["seconds"])
    table = Table(title="The seal under a near lamp, over the seal's pixels")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in (
        ("bake", clock(baked)),
        ("energy, ours / volpath (R, G, B)", ", ".join(f"{v:.3f}" for v in figures["energy"])),
        ("RMS error / mean, noise removed", f"{100 * figures['rms']:.1f} %"),
        (f"seconds at {figures['spp']} spp, ours", f"{figures['seconds']:.1f}"),
        (f"seconds at {figures['reference_spp']} spp, volpath", f"{figures['reference_seconds']:.1f}"),
        ("variance x time, volpath / ours", f"{gain:.1f}"),
        ("sampled rays that miss the seal", f"{100 * misses:.1f} %"),
        ("whole demo", clock(total)),
    ):
        table.add_row(name, value)
    Console().print(table)
    Console().print(f"pictures and asset: {out}", highlight=False)
