"""The certificate of an asset: what was checked, with which seeds and versions, against which limits, and whether it held.

It travels in the asset (`provenance["certificate"]`) and holds all that is needed to repeat it elsewhere: `recheck` does that.
Figures are compared with limits by name; both are stored.  A check whose figure has a standard error holds where the figure
keeps its limit or exceeds it by no more than `SIGMAS` of these.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import platform
from collections.abc import Callable
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
import torch

from ..asset.asset import NeuralAsset
from ..asset.cache import forget, remember
from ..asset.reciprocal import is_reciprocal
from . import checks
from .hits import viewers
from .lights import Stage, light, sensor

VERSION = 1
SIGMAS = 4.0
CERTIFICATE = "certificate"  # where it lies in the provenance

# Largest figures that hold, unless the name says "least".
LIMITS = {
    "normalisation": 0.005,  # largest |integral of a coordinate's density - 1| over rows
    "inversion": 0.005,  # largest |integral of the density up to a sample - the uniform number it was drawn with|
    "chi_squared_least": 1e-4,  # p-value of the samples under the density
    "reciprocity": 0.1,  # relative asymmetry of the transport between octants of directions
    "furnace": 1.0,  # mean radiance of a colour channel in an environment of radiance 1
    "mis_least": 1e-4,  # p-value of the hypothesis that the means of all techniques agree
    "energy": 0.05,  # |energy over the reference's - 1|, a light and channel
    "rms": 0.3,  # error over the reference's mean, noise subtracted, a light
}
TECHNIQUES = {"quick": ("path", "path,light,lobe"), "full": ("path", "path,light", "path,lobe", "path,light,lobe")}
SIZES = {  # rows of the density checks, rows of reciprocity, pixels along an edge, samples per pixel of a run, runs
    "quick": {"rows": 1024, "lines": 1 << 15, "size": 16, "spp": 32, "runs": 4},
    "full": {"rows": 4096, "lines": 1 << 17, "size": 32, "spp": 64, "runs": 12},
}


def certify(
    asset: NeuralAsset, level: str = "quick", seed: int = 0, lights: dict[str, Any] | None = None,
    done: Callable[[float, str], None] = lambda fraction, text: None,
) -> dict[str, Any]:  # fmt: skip
    """Check an asset.

    Args:
        asset: the asset.
        level: "quick" (some ten seconds) or "full" (about a minute).
        seed: of all checks.
        lights: what `verify` returned for the same asset, to be certified as well.
        done: is told the fraction done and what is going on.

    Returns:
        plain values: `version`, `level`, `seed`, `hashes`, `versions`, `settings`, `limits`, `checks` (by name: `value`, `error` where
        it has one, `holds`, more figures), `lights`, `holds`.

    Raises:
        ValueError: no such level.
    """
    if level not in SIZES:
        raise ValueError(f"certify: level must be quick or full, got {level!r}")
    sizes, found = SIZES[level], {}
    names = ["density", "reciprocity", "furnace", "mis"]
    for number, name in enumerate(names):
        done(number / len(names), name)
        found |= _CHECKS[name](asset, level, sizes, seed)
    certificate = {
        "version": VERSION, "level": level, "seed": seed, "hashes": hashes(asset), "versions": versions(), "settings": dict(sizes),
        "limits": dict(LIMITS), "checks": {name: {**figures, "holds": _holds(name, figures, LIMITS)} for name, figures in found.items()},
        "lights": _about_lights(lights, LIMITS),
    }  # fmt: skip
    return certificate | {"holds": _all_hold(certificate)}


def attach(asset: NeuralAsset, certificate: dict[str, Any]) -> NeuralAsset:
    """The asset with a certificate in place of an older one."""
    return asset.replace(provenance={**asset.provenance, CERTIFICATE: certificate})


def hashes(asset: NeuralAsset) -> dict[str, str | None]:
    """SHA-256 of the weights with the model's configuration, of the boundary and of the source."""
    digest = hashlib.sha256(repr((asset.kind, sorted(asset.config.to_dict().items()), list(asset.center), asset.scale)).encode())
    for name in sorted(asset.weights):
        value = asset.weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    source = asset.source
    return {"weights": digest.hexdigest(), "boundary": asset.boundary.digest(), "source": None if source is None else source.digest()}


def versions() -> dict[str, str]:
    """Of everything that a figure may depend on."""
    from .. import __version__

    return {
        "mi_neural_asset": __version__, "mitsuba": mi.__version__, "drjit": dr.__version__, "torch": str(torch.__version__),
        "numpy": np.__version__, "python": platform.python_version(), "machine": platform.machine(), "variant": mi.variant(),
    }  # fmt: skip


def _density(asset: NeuralAsset, level: str, sizes: dict[str, int], seed: int) -> dict[str, Any]:
    if asset.kind != "transport":
        return {}
    sampled = checks.sample(asset.model(), viewers(asset, sizes["rows"], seed), seed)
    mass, gap = np.abs(sampled.mass - 1), np.abs(sampled.cdf - sampled.z)
    return {
        "normalisation": {"value": float(mass.max()), "mean": float(mass.mean())},
        "inversion": {"value": float(gap.max()), "mean": float(gap.mean())},
        "chi_squared": {"value": checks.chi_squared(sampled)},
    }


def _reciprocity(asset: NeuralAsset, level: str, sizes: dict[str, int], seed: int) -> dict[str, Any]:
    if asset.kind != "transport" or not is_reciprocal(asset.boundary):
        return {}
    value, error = checks.asymmetry(asset.model(), viewers(asset, sizes["lines"], seed + 1), seed)
    return {"reciprocity": {"value": value, "error": error}}


def _energy(asset: NeuralAsset, which: str, sizes: dict[str, int], seed: int, techniques: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean radiance over the pixels and its standard error, [3] each: from how independent renders differ, pixel by pixel."""
    weights, stage = remember(asset, f"certificate-{id(asset)}"), Stage.of(asset)
    try:
        scene = mi.load_dict(
            {"type": "scene", "asset": {"type": "neural_asset", "weights": weights}, "sensor": sensor(stage, sizes["size"]),
             "light": light(which, stage)}, parallel=False)  # fmt: skip
        options = {"hide_emitters": True, "techniques": techniques, "mis": techniques != "path"}
        integrator = mi.load_dict({"type": "nap_path", **options})
        entropy = [seed, *hashlib.sha256(f"{which} {techniques}".encode()).digest()[:4]]
        seeds = np.random.SeedSequence(entropy).generate_state(sizes["runs"]).tolist()
        pictures = [np.asarray(mi.render(scene, integrator=integrator, spp=sizes["spp"], seed=s))[..., :3] for s in seeds]
    finally:
        forget(weights)
    pixels = np.stack(pictures).astype(np.float64).reshape(len(pictures), -1, 3)
    return pixels.mean((0, 1)), (pixels.var(0, ddof=1).sum(0) / len(pixels)) ** 0.5 / pixels.shape[1]


def _furnace(asset: NeuralAsset, level: str, sizes: dict[str, int], seed: int) -> dict[str, Any]:
    """Radiance of the asset in a furnace of radiance 1: it can send out no more than comes in."""
    from .measure import coverage

    share = coverage(asset.boundary_scene(), sensor(Stage.of(asset), sizes["size"]), sizes["size"]).mean()
    mean, error = (values / share for values in _energy(asset, "constant", sizes, seed, "path,light,lobe"))
    worst = int(mean.argmax())
    return {"furnace": {"value": float(mean[worst]), "error": float(error[worst]), "radiance": mean.tolist()}}


def _mis(asset: NeuralAsset, level: str, sizes: dict[str, int], seed: int) -> dict[str, Any]:
    """Means of each set of techniques under a large near lamp, pair by pair: the least p-value of equality times their number.

    `difference` is the largest relative one, `resolution` the least that would have been found, whatever pair and channel.
    """
    from scipy import stats

    found = {name: _energy(asset, "wall", sizes, seed, name) for name in TECHNIQUES[level]}
    pairs = list(itertools.combinations(found.values(), 2))
    difference = np.array([np.abs(a - b) for (a, _), (b, _) in pairs])  # [pairs, 3]
    error = np.array([np.hypot(a, b) for (_, a), (_, b) in pairs])
    scale = np.maximum([a for (a, _), _ in pairs], 1e-30)  # a channel without light agrees
    p = 2 * stats.norm.sf(difference / np.maximum(error, 1e-30))
    sigmas = stats.norm.isf(LIMITS["mis_least"] / p.size / 2)
    return {"mis": {
        "value": min(1.0, p.size * float(p.min())), "difference": float((difference / scale).max()),
        "resolution": float((sigmas * error / scale).max()), "energy": {name: mean.tolist() for name, (mean, _) in found.items()},
    }}  # fmt: skip


_CHECKS = {"density": _density, "reciprocity": _reciprocity, "furnace": _furnace, "mis": _mis}


def _holds(name: str, figures: dict[str, Any], limits: dict[str, float]) -> bool:
    value = figures["value"]
    if not math.isfinite(value):
        return False
    if f"{name}_least" in limits:
        return value >= limits[f"{name}_least"]
    return value <= limits[name] + SIGMAS * figures.get("error", 0.0)


def _about_lights(result: dict[str, Any] | None, limits: dict[str, float]) -> dict[str, Any]:
    """The figures of `verify`, a light a row, with what they depend on."""
    if result is None:
        return {}
    rows = {}
    for name, row in result["lights"].items():
        off = [(abs(r - 1), e) for r, e in zip(row["energy_ratio"], row["energy_ratio_error"], strict=True) if r is not None]
        energy = all(d <= limits["energy"] + SIGMAS * (e or 0.0) for d, e in off)
        rms = row["rms_square"] is not None and row["rms_square"] <= limits["rms"] ** 2 + SIGMAS * (row["rms_square_error"] or 0.0)
        kept = ("energy_ratio", "energy_ratio_error", "rms", "rms_square", "rms_square_error", "flip")
        rows[name] = {**{key: row[key] for key in kept}, "holds": bool(energy and rms)}
    settings = ("size", "spp", "reference_spp", "seed", "reference", "reference_rr_depth")
    return {"settings": {key: result["settings"][key] for key in settings}, "rows": rows}


def _all_hold(certificate: dict[str, Any]) -> bool:
    rows = certificate["lights"].get("rows", {})
    return all(part["holds"] for part in (*certificate["checks"].values(), *rows.values()))
