"""`verify`: an asset against the scene that it embeds, under the standard lights."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mitsuba as mi
import numpy as np

from ..asset.asset import NeuralAsset
from ..asset.cache import forget, remember
from ..files import replacing
from ..images import write_exr, write_png
from ..progress import Progress
from . import metrics
from .lights import LIGHTS, Stage, light, sensor
from .measure import Measured, coverage, measure
from .references import Runs

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE_FACTOR = 4  # samples of the reference for each of ours, unless told
RR_DEPTH = 1000  # of the reference: at its default depth volpath's roulette lets long paths explode
ERROR_STOPS = 2.0  # exposure of the error picture


def verify(
    asset: NeuralAsset | str | os.PathLike,
    *,
    lights: Sequence[str] | None = None,
    size: int = 128,
    spp: int = 64,
    reference_spp: int | None = None,
    seed: int = 0,
    out: str | os.PathLike | None = None,
    references: str | os.PathLike | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Render an asset and its embedded source under the standard lights, and compare.

    Both are rendered in several independent runs without directly visible lights.  Figures are over the pixels that show the
    asset, variances over those that it fills (at its edge the jitter within the pixel is noise that both share).  Times are
    those of whole renders: below some 10^5 samples in a run they are mostly the fixed cost of a render.  Standard errors come
    from few runs (four unless there are more samples than fit): compare in units of Student's t with three degrees of freedom.

    The reference is `volpath` (`path` if the source has no media) without a depth limit and with roulette from depth 1000
    on; the asset is rendered by `nap_path` with its defaults.  The definitions are in `metrics`.

    Args:
        asset: a NeuralAsset, or an asset file.
        lights: names of the lights ("constant", "area", "envmap"), None for all.
        size: pixels along each edge.
        spp: samples per pixel of the asset, over all runs (rounded up to a whole number for each run).
        reference_spp: samples per pixel of the source, likewise; None for 4 spp.
        seed: renders with other seeds are independent.
        out: folder for `verify.json` and, for each light, reference, ours and error (EXR: ours - reference; PNG: its
            magnitude, two stops up); None writes nothing.
        references: folder that keeps the runs of the reference, under a hash of all that they depend on: an interrupted
            verify goes on where it was, and other assets of the same source and frame are compared with the same pictures.
            Where no run was rendered anew, ratios of times are not defined.
        progress: show progress on stderr.

    Returns:
        Plain values that JSON can hold: `asset`, `settings`, and for each light under `lights`: `energy_ratio` [3] and
        `energy_ratio_error` [3]; `rms` (relative to the mean, noise-corrected, >= 0), `rms_square` (may be negative),
        `rms_square_error`, `rms_noise`; `relmse`, `relmse_with_noise`; `flip`; `variance_ratio`, `time_ratio` (both above 1
        where the asset is better) and their product `gain`; `miss_rate`; `mean_ours` [3] and `mean_reference` [3]; `ours` and
        `reference` with `spp` (of a run), `runs`, `seconds` (of each run that was rendered now) and `variance` (of a sample).
        None stands for a figure that is not defined (a colour channel without light, a render without noise).

    Raises:
        ValueError: the asset does not embed its source; no JIT variant is active; an argument is out of range.
        FileNotFoundError, AssetFileError: there is no such file, or it is not a sound asset.
    """
    names = _check(lights, size, spp, reference_spp, seed)
    name = None if hasattr(asset, "boundary_shapes") else os.fspath(asset)
    asset = asset if name is None else NeuralAsset.load(name)
    if asset.source is None:
        raise ValueError(
            f"verify: {name or 'the asset'} does not embed its source, so there is nothing to compare with: "
            "bake it again without --no-source"
        )
    reference_spp = reference_spp or REFERENCE_FACTOR * spp
    folder = None if out is None else Path(out)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    kind = "volpath" if asset.source.media else "path"
    settings = {
        "size": size, "spp": spp, "reference_spp": reference_spp, "seed": seed, "reference": kind, "reference_rr_depth": RR_DEPTH,
        "variant": mi.variant(), "mitsuba": mi.__version__,
    }  # fmt: skip
    result = {"asset": _about(asset, name), "settings": settings, "lights": {}}
    stage = Stage.of(asset)
    cover = coverage(asset.boundary_scene(), sensor(stage, size), size)
    settings["pixels"], settings["pixels_inside"] = int((cover > 0).sum()), int((cover == 1).sum())
    weights = remember(asset, f"verify-{id(asset)}")
    try:
        with Progress("verify", progress) as bar:
            for number, which in enumerate(names):

                def done(fraction: float, number: int = number, which: str = which) -> None:
                    bar.update((number + fraction) / len(names), which)

                pair = _render_pair(asset, weights, stage, which, settings, references, done)
                result["lights"][which] = _figures(*pair, cover)
                if folder:
                    _write_pictures(folder, which, *pair)
    finally:
        forget(weights)
    result = _plain(result)
    if folder:
        write_json(folder / "verify.json", result)
    return result


def _check(lights: Sequence[str] | None, size: int, spp: int, reference_spp: int | None, seed: int) -> list[str]:
    """The names of the lights, if all arguments are sound."""
    if not (mi.variant() or "").endswith("_rgb") or (mi.variant() or "").startswith("scalar"):
        raise ValueError(f"verify: needs a JIT RGB variant, the active one is {mi.variant()}: call mitsuba.set_variant('llvm_ad_rgb')")
    names = list(LIGHTS) if lights is None else [lights] if isinstance(lights, str) else list(lights)
    unknown = [n for n in names if n not in LIGHTS]
    if unknown or not names:
        raise ValueError(f"verify: no light is called {unknown[0] if unknown else ''!r}; choose from {', '.join(LIGHTS)}")
    for label, value, least in (("size", size, 4), ("spp", spp, 1), ("reference_spp", reference_spp or 1, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"verify: {label} must be an integer of at least {least}, got {value!r}")
    return names


def _about(asset: NeuralAsset, name: str | None) -> dict[str, Any]:
    return {"file": name, "center": list(asset.center), "scale": asset.scale, "up_axis": asset.up_axis}


def _render_pair(
    asset: NeuralAsset, weights: str, stage: Stage, which: str, settings: dict[str, Any], references: str | os.PathLike | None,
    done: Callable[[float], None],
) -> tuple[Measured, Measured]:  # fmt: skip
    """Ours and the reference under one light."""
    size, seed, number = settings["size"], settings["seed"], LIGHTS.index(which)
    around = {"verify_sensor": sensor(stage, size), "verify_light": light(which, stage)}
    neural = {"type": "scene", "verify_asset": {"type": "neural_asset", "weights": weights}, **around}
    options = {"max_depth": -1, "hide_emitters": True}
    integrator = mi.load_dict({"type": "nap_path", **options})
    ours = measure(mi.load_dict(neural, parallel=False), integrator, settings["spp"], size, (seed, number, 0), lambda f: done(f / 2))
    integrator = mi.load_dict({"type": settings["reference"], "rr_depth": RR_DEPTH, **options})
    source = mi.load_dict({**asset.source_scene(), **around}, parallel=False)
    kept = None if references is None else Runs(references, _identity(asset, stage, which, settings))
    reference = measure(source, integrator, settings["reference_spp"], size, (seed, number, 1), lambda f: done(0.5 + f / 2), kept)
    return ours, reference


def _identity(asset: NeuralAsset, stage: Stage, which: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All that the pictures of a reference depend on."""
    names = ("size", "reference_spp", "seed", "reference", "reference_rr_depth", "variant", "mitsuba")
    around = {"stage": [list(stage.center), stage.radius, stage.up_axis], "light": which}
    return {"source": asset.source.digest(), **around, **{name: settings[name] for name in names}}


def _figures(ours: Measured, reference: Measured, cover: np.ndarray) -> dict[str, Any]:
    a, b = ours.images, reference.images
    mask = cover > 0
    inside = cover == 1 if (cover == 1).any() else mask
    ratio, error = metrics.energy_ratio(a, b, mask)
    rms = metrics.noise_corrected_rms(a, b, mask)
    variance = metrics.variance_ratio(a, ours.spp, b, reference.spp, inside)
    seconds = metrics.time_ratio(ours.seconds, ours.spp, reference.seconds, reference.spp)
    return {
        "energy_ratio": ratio.tolist(),
        "energy_ratio_error": error.tolist(),
        "rms": rms.value,
        "rms_square": rms.square,
        "rms_square_error": rms.square_error,
        "rms_noise": rms.noise,
        "relmse": metrics.relative_mse(a, b, mask),
        "relmse_with_noise": metrics.relative_mse(a, b, mask, correct=False),
        "flip": metrics.hdr_flip(a, b, mask),
        "variance_ratio": variance,
        "time_ratio": seconds,
        "gain": variance * seconds,
        "miss_rate": metrics.ratio(ours.missed, ours.projected),
        "mean_ours": ours.mean[mask].mean(0).tolist(),
        "mean_reference": reference.mean[mask].mean(0).tolist(),
        "ours": _about_runs(ours, inside),
        "reference": _about_runs(reference, inside),
    }


def _about_runs(measured: Measured, mask: np.ndarray) -> dict[str, Any]:
    return {
        "spp": measured.spp,
        "runs": len(measured.images),
        "seconds": measured.seconds,
        "variance": metrics.variance_per_sample(measured.images, mask, measured.spp),
    }


def _write_pictures(folder: Path, which: str, ours: Measured, reference: Measured) -> None:
    a, b = ours.mean, reference.mean
    for label, image in (("reference", b), ("ours", a), ("error", a - b)):
        write_exr(folder / f"{which}_{label}.exr", image)
        write_png(folder / f"{which}_{label}.png", np.abs(image), ERROR_STOPS if label == "error" else 0.0)


def _plain(value: Any) -> Any:
    """The same with None for figures that are not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def write_json(path: str | os.PathLike, result: dict[str, Any]) -> None:
    """What `verify` returned as a JSON file; an old file stays whole until the new one is complete."""
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    with replacing(path) as stream:
        stream.write(text.encode())
