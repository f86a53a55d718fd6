"""The paper's tables and graphs from cells: each figure with the paper's own beside it.

The paper's scenes, machine and units of radiance are not these: its errors and variances are absolute, ours are in parts of the
reference's squared mean.  What can be compared are the ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import denoise
import numpy as np
import paper_figures as paper
from paper_cells import Bench

from mi_neural_asset.verify import metrics

AT = 128  # samples per pixel of the paper's variances and times
MAIN = {"traced": None, "ours": "ours", "far_field": "far_field"}


@dataclass
class Table:
    """One table."""

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    note: str = ""

    def markdown(self) -> str:
        """As docs show it."""
        lines = [f"### {self.title}", "", *([self.note, ""] if self.note else [])]
        if self.rows:
            lines += [f"| {' | '.join(cells)} |" for cells in (self.header, ["---"] * len(self.header), *self.rows)]
        return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Three digits."""
    return "-" if not math.isfinite(value) else f"{value:.3g}"


def number_or_none(value: float | None) -> str:
    """Three digits, or a dash."""
    return "-" if value is None else number(value)


def spread_told(found: tuple[float, float]) -> str:
    """A figure and its standard error."""
    return "{} +- {}".format(*map(number, found))


def ratio_of(ours: tuple[float, float], base: tuple[float, float]) -> tuple[float, float]:
    """A ratio of errors with standard errors, or where noise hides it, what it is below (two standard errors); NaN for the other."""
    if base[0] <= 2 * base[1]:
        return math.nan, math.nan
    if ours[0] <= 2 * ours[1]:
        return math.nan, (max(ours[0], 0) + 2 * ours[1]) / base[0]
    return ours[0] / base[0], math.nan


def beside(value: float, theirs: float | None) -> str:
    """A figure and the paper's."""
    return f"{number(value)} ({number_or_none(theirs)})"


def geometric(values: list[float]) -> float:
    """Geometric mean of those that are defined; NaN without any."""
    sound = [v for v in values if math.isfinite(v) and v > 0]
    return math.exp(sum(map(math.log, sound)) / len(sound)) if sound else math.nan


def error(runs: np.ndarray, references: np.ndarray) -> tuple[float, float]:
    """100 x MSE in parts of the reference's squared mean, noise subtracted, and its standard error.

    It may be below zero where noise is all there is.
    """
    found = metrics.noise_corrected_rms(runs, references, np.ones(runs.shape[1:3], bool))
    return 100 * found.square, 100 * found.square_error


def blocks(images: np.ndarray, edge: int) -> np.ndarray:
    """Pictures [R, H, W, 3] averaged over squares of edge x edge pixels."""
    runs, height, width, colours = images.shape
    return images.reshape(runs, height // edge, edge, width // edge, edge, colours).mean((2, 4))


def variance(runs: np.ndarray, spp: int, mean: float) -> float:
    """100 x variance of a sample, in parts of the squared mean."""
    return float(100 * metrics.variance_per_sample(runs, np.ones(runs.shape[1:3], bool), spp) / mean**2)


def gain(base: dict[str, Any], ours: dict[str, Any], clock: str) -> float:
    """Variance x time of one method over those of another at the same number of samples."""
    work = [runs["images"].var(0, ddof=1).mean() * np.median(runs[clock]) for runs in (base, ours)]
    return float(work[0] / work[1])


def at(compared: dict[str, Any], name: str, clock: str = "cpu_seconds") -> float:
    """Median time of a method at `AT` samples per pixel."""
    return float(np.median(compared[name][clock])) * AT / compared["spp"]


def energy(runs: np.ndarray, references: np.ndarray, pixels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean of some pixels (None: all) over the reference's, per channel, and its standard error from the spread between runs."""
    pixels = np.ones(runs.shape[1:3], bool) if pixels is None else pixels
    means = [pictures[:, pixels].mean(1) for pictures in (runs, references)]
    spreads = [m.std(0, ddof=1) / len(m) ** 0.5 / m.mean(0) for m in means]
    ratio = means[0].mean(0) / means[1].mean(0)
    return ratio, ratio * np.hypot(*spreads)


def channels(values: np.ndarray) -> str:
    """Red, green and blue, as a cell shows them."""
    return ", ".join(f"{v:.3f}" for v in values)


def with_error(found: tuple[np.ndarray, np.ndarray]) -> str:
    """Ratios of energy and the largest of their standard errors."""
    return f"{channels(found[0])} (+- {found[1].max():.3f})"


class Tables:
    """Computes tables; `views` and `plots` gather what the report shows.

    Args:
        bench: cells.
        assets: rows.
    """

    def __init__(self, bench: Bench, assets: list[str]) -> None:
        self.bench, self.assets = bench, assets
        self.views: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self.plots: list[dict[str, Any]] = []

    def _pair(self, asset: str, setup: str) -> tuple[dict[str, Any], np.ndarray]:
        compared, references = self.bench.compare(asset, setup, MAIN), self.bench.reference(asset, setup)
        view = self.views.setdefault((asset, setup), {"reference": references.mean(0)})
        view |= {name: compared[name]["images"].mean(0) for name in ("ours", "far_field")}
        return compared, references

    def errors(self, number_: str, setup: str, title: str) -> Table:
        """Tables 1, 5 and 6."""
        edge = self.bench.scale.block
        header = ["asset", "far field", "ours", "ours, reference A / B", f"{edge} x {edge} pixels averaged: far field", "ours", "ratio",
                  "energy R, G, B: ours", "far field"]  # fmt: skip
        table = Table(f"Table {number_}: 100 x MSE, {title}", header)
        ratios, theirs = [], []
        for asset in self.assets:
            compared, references = self._pair(asset, setup)
            pictures = {name: compared[name]["images"] for name in ("far_field", "ours")}
            known = {name: paper.ERROR[setup][name].get(asset) for name in pictures}
            halves = (error(pictures["ours"], half)[0] for half in (references[:4], references[4:]))
            coarse = {name: error(blocks(images, edge), blocks(references, edge)) for name, images in pictures.items()}
            ratio, bound = ratio_of(coarse["ours"], coarse["far_field"])
            paper_ratio = None
            if known["ours"] is not None:
                paper_ratio = known["ours"] / known["far_field"]
                theirs.append(paper_ratio)
            ratios.append(ratio)
            pixels = ~self.bench.shown(asset)["around"] if setup == "scene" else None
            energies = [with_error(energy(pictures[name], references, pixels)) for name in ("ours", "far_field")]
            fine = [f"{spread_told(error(images, references))} ({number_or_none(known[name])})" for name, images in pictures.items()]
            table.rows.append([
                asset, *fine, " / ".join(map(number, halves)), *map(spread_told, coarse.values()),
                f"< {beside(bound, paper_ratio)}" if math.isfinite(bound) else beside(ratio, paper_ratio), *energies,
            ])  # fmt: skip
        table.rows.append(["geometric mean", *[""] * 5, beside(geometric(ratios), geometric(theirs)), "", ""])
        table.note = (
            "In parentheses the paper's figure. Ours: in parts of the reference's squared mean, noise subtracted; A and B: against each of "
            "two independent references alone. Means over squares of pixels have less noise: the ratio is of their errors. Where ours is "
            "below twice its standard error, a bound is told; where far field's is, nothing; neither is in the mean. Energy: the sum of "
            "the pixels that show the asset over the reference's, and the largest standard error of the three."
        )
        return table

    def efficiency(self) -> Table:
        """Table 2."""
        header = ["asset", "variance: traced", "ours", "far field", f"CPU seconds at {AT} spp: traced", "ours", "far field",
                  "variance x CPU time, traced / ours", "by the clock"]  # fmt: skip
        table, gains, theirs = Table(f"Table 2: variance and time at {AT} samples per pixel", header), [], []
        for asset in self.assets:
            runs, mean = self.bench.compare(asset, "scene", MAIN, AT), self.bench.reference(asset, "scene").mean()
            noise = {name: variance(runs[name]["images"], AT, mean) / AT for name in MAIN}
            own = gain(runs["traced"], runs["ours"], "cpu_seconds")
            known = paper.VARIANCE["ours"].get(asset)
            paper_gain = None
            if known is not None:
                paper_gain = paper.VARIANCE["traced"][asset] * paper.MINUTES["traced"][asset] / (known * paper.MINUTES["ours"][asset])
                theirs.append(paper_gain)
            gains.append(own)
            row = [beside(noise[name], paper.VARIANCE[name].get(asset)) for name in MAIN]
            row += [beside(at(runs, name), None if known is None else 60 * paper.MINUTES[name][asset]) for name in MAIN]
            clock = gain(runs["traced"], runs["ours"], "seconds")
            table.rows.append([asset, *row, beside(own, paper_gain), number(clock)])
        table.rows.append(["geometric mean", *[""] * 6, beside(geometric(gains), geometric(theirs)), ""])
        table.note = (
            "100 x variance, in parts of the reference's squared mean; in parentheses the paper's absolute variance and its seconds on an "
            f"RTX 3090 at 800 x 800. Times: whole pictures at {AT} spp in one process, CPU time of all threads unless by the clock; "
            "traced: `volpath`, or `path` where there are no media, with rr_depth 1000, in Mitsuba's ordinary mode."
        )
        return table

    def bakes(self) -> Table:
        """Table 3."""
        header = ["asset", "method", "data, CPU s", "optimisation, CPU s", "total", "paths", "steps", "paper: data + rest, hours"]
        table = Table("Table 3: stages of a bake", header)
        for asset in self.assets:
            for name in ("far_field", "ours"):
                cell = self.bench.bake(asset, name)
                theirs = paper.BAKE_HOURS["volumes" if cell["media"] else "surfaces"][name]
                data, total = cell["data_seconds"], cell["seconds"]
                times = ["-"] * 3 if cell["resumed"] else [f"{data:.1f}", f"{total - data:.1f}", f"{total:.1f}"]
                table.rows.append([
                    asset, name.replace("_", " "), *times, f"{cell['paths']:,}", str(cell["steps"]),
                    "{:.2f} + {:.2f}".format(*theirs),
                ])  # fmt: skip
        table.note = (
            "The budget is the same for both; the total includes compiling, held-out paths and writing. "
            "No times of bakes that were stopped and resumed."
        )
        return table

    def variants(self, title: str, names: list[str], asset: str, theirs: dict[str, tuple]) -> Table:
        """Table 4 and Figure 12: other bakes of one asset; `theirs`: what the paper prints of them."""
        header = ["variant", "100 x MSE", "100 x variance", "CPU seconds", "energy R, G, B"]
        table = Table(f"{title}: {asset}", header)
        methods = {name: name for name in names}
        compared, references = self.bench.compare(asset, "scene", methods), self.bench.reference(asset, "scene")
        spp, mean = compared["spp"], references.mean()
        view = self.views.setdefault((asset, "variants"), {"reference": references.mean(0)})
        for name in names:
            known = theirs.get(name, (None,) * 3)
            images = compared[name]["images"]
            found, noise = error(images, references), variance(images, spp, mean) / AT
            table.rows.append([
                name.replace("_", " "), f"{spread_told(found)} ({number_or_none(known[0])})", beside(noise, known[1]),
                beside(at(compared, name), known[2]), with_error(energy(images, references)),
            ])  # fmt: skip
            view[name] = images.mean(0)
        table.note = f"As in Tables 1 and 2, at {AT} samples per pixel; the paper does not say of which assets its figures are."
        return table

    def denoised(self) -> Table:
        """What a user would try first."""
        header = ["asset", "method", "CPU seconds", "100 x MSE of a run", "energy R, G, B"]
        table = Table("Other baselines: path tracing and denoising at equal samples", header)
        library = denoise.available()
        names = ["traced", "volpath", "ours", "far_field", *(["traced_denoised", "ours_denoised"] if library else [])]
        for asset in self.assets:
            surfaces = not self.bench.bake(asset)["media"]
            chosen = [name for name in names if name != "volpath" or surfaces]
            variants = {"ours": "ours", "ours_denoised": "ours", "far_field": "far_field"}
            compared = self.bench.compare(asset, "scene", {name: variants.get(name) for name in chosen})
            references = self.bench.reference(asset, "scene")
            mean = references.mean(0)
            own = 100 * references.var(0, ddof=1).mean() / len(references) / mean.mean() ** 2
            for name in chosen:
                images = compared[name]["images"]
                whole = 100 * ((images - mean) ** 2).mean() / mean.mean() ** 2 - own
                scale = with_error(energy(images, references))
                table.rows.append([asset, name.replace("_", " "), f"{np.median(compared[name]['cpu_seconds']):.2f}", number(whole), scale])
                if name not in ("ours", "far_field"):
                    self.views.setdefault((asset, "scene"), {"reference": mean})[f"{name} {compared['spp']} spp"] = images[0]
        table.note = (
            "The error of a single run with its own noise, in parts of the squared mean, less the reference's noise. The paper compares "
            "with no denoiser; denoising includes its guides (albedo, normals). "
        ) + ("" if library else "Open Image Denoise is not installed here: its rows are missing (`pip install mi-neural-asset[bench]`).")
        return table

    def memory(self) -> Table:
        """Table 7."""
        table = Table("Table 7: memory of a render, GiB", ["asset", *(name.replace("_", " ") for name in MAIN)])
        for asset in self.assets:
            peaks = {name: self.bench.memory(asset, name, variant) for name, variant in MAIN.items()}
            table.rows.append([asset, *(beside(peaks[name], paper.MEMORY[name].get(asset)) for name in MAIN)])
        table.note = "Peak resident memory of a process of its own, in parentheses the paper's GB on the GPU."
        return table

    def convergence(self) -> Table:
        """Figure 11."""
        table = Table("Figure 11: variance over samples and over time", ["asset", "method", "spp", "CPU seconds", "100 x variance"])
        for asset in self.assets:
            mean = self.bench.reference(asset, "scene").mean()
            series: dict[str, dict[str, list]] = {"samples per pixel": {}, "CPU seconds": {}}
            for spp in self.bench.scale.curve:
                compared = self.bench.compare(asset, "scene", MAIN, spp)
                for name in MAIN:
                    noise = variance(compared[name]["images"], spp, mean) / spp
                    seconds = float(np.median(compared[name]["cpu_seconds"]))
                    table.rows.append([asset, name.replace("_", " "), str(spp), f"{seconds:.2f}", number(noise)])
                    series["samples per pixel"].setdefault(name, []).append([spp, noise])
                    series["CPU seconds"].setdefault(name, []).append([seconds, noise])
            self.plots += [
                {"title": f"{asset}: variance over {axis}", "x": axis, "y": "100 x variance", "series": curves}
                for axis, curves in series.items()
            ]
        table.note = "Of the picture, in parts of the squared mean; the paper prints curves alone. Far field converges to a wrong picture."
        return table

    def cloud(self) -> Table:
        """Figure 13."""
        header = ["light", "100 x MSE", "energy R, G, B", "100 x variance: traced", "ours", f"CPU seconds at {AT} spp: traced", "ours",
                  "variance x CPU time, traced / ours"]  # fmt: skip
        table, methods = Table("Figure 13: cloud", header), {"traced": None, "ours": "ours"}
        for setup in ("scene", "environment", "area"):
            compared, references = self.bench.compare("cloud", setup, methods), self.bench.reference("cloud", setup)
            runs, mean = {name: compared[name]["images"] for name in methods}, references.mean()
            self.views["cloud", setup] = {"reference": references.mean(0), **{name: images.mean(0) for name, images in runs.items()}}
            table.rows.append([
                setup, spread_told(error(runs["ours"], references)),
                with_error(energy(runs["ours"], references)),
                *(number(variance(runs[name], compared["spp"], mean) / AT) for name in methods),
                *(number(at(compared, name)) for name in methods), number(gain(compared["traced"], compared["ours"], "cpu_seconds")),
            ])  # fmt: skip
        table.note = (
            "No far field: a volume has no surface to bake it on. The paper prints no figures of it, but says: similar variance at equal "
            "samples, faster."
        )
        return table

    def composition(self) -> Table:
        """Three assets in one scene against the path-traced scene, object by object."""
        table = Table("Composition: four instances of three assets", ["pixels", "count", "energy R, G, B", "standard error"])
        compared, references = self.bench.compare("composition", "scene", {"ours": "ours"}), self.bench.reference("composition", "scene")
        runs = compared["ours"]["images"]
        self.views["composition", "scene"] = {"reference": references.mean(0), "ours": runs.mean(0)}
        for name, pixels in self.bench.shown("composition").items():
            found = map(channels, energy(runs, references, pixels))
            table.rows.append([name.replace("_", " "), str(int(pixels.sum())), *found])
        table.note = "Energy of ours over `volpath`'s. The paper shows such a scene without figures."
        return table

    def make(self, name: str) -> Table:
        """A table by its name in `TABLES`."""
        return TABLES[name](self)

    def ablation(self) -> Table:
        """Table 4."""
        asset = subjects(self.assets)["4"]
        return self.variants("Table 4: ablation", ["ours", "smaller", "no_separation", "paper_coordinates"], asset, paper.ABLATION)

    def proxies(self) -> Table:
        """Figure 12."""
        return self.variants("Figure 12: proxies (ours: sphere)", ["ours", "proxy_box", "proxy_hull"], subjects(self.assets)["12"], {})


TABLES: dict[str, Callable[[Tables], Table]] = {  # by the name that `--tables` takes
    "1": lambda tables: tables.errors("1", "scene", "asset on a table under a near lamp"),
    "2": Tables.efficiency,
    "3": Tables.bakes,
    "4": Tables.ablation,
    "5": lambda tables: tables.errors("5", "environment", "environment alone"),
    "6": lambda tables: tables.errors("6", "area", "one sphere light"),
    "7": Tables.memory,
    "11": Tables.convergence,
    "12": Tables.proxies,
    "13": Tables.cloud,
    "composition": Tables.composition,
    "baselines": Tables.denoised,
}


def subjects(assets: list[str]) -> dict[str, str]:
    """The one asset that stands for a table which is not of all of them; of the cloud and the composition none of these."""
    one = "seal" if "seal" in assets else assets[0]
    return {"4": one, "12": "cat" if "cat" in assets else one, "13": assets[0], "composition": assets[0]}
