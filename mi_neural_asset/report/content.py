"""What a report shows, read from a folder: `report.json` as benchmarks write it, or `verify.json` and its pictures.

`report.json` is an object with

    title     string
    machine   object of plain values, may be left out
    views     list of {name, reference, images}: images maps names to EXR files of one size, relative to the folder; `reference`
              is the name of the one that errors are taken against
    plots     list of {title, x, y, series}: series maps names to lists of [x, y]; both axes are logarithmic; may be left out
    tables    list of {title, header, rows, note}: strings; may be left out
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MAX_VALUES = 1 << 28  # of all pictures together


class ReportError(ValueError):
    """A folder that no report can be made of; the message says what is missing."""


@dataclass
class View:
    """Pictures of one thing."""

    name: str
    reference: str
    images: dict[str, np.ndarray]  # linear RGB, [H, W, 3] float32, all of one size


@dataclass
class Content:
    """All that a report shows."""

    title: str
    machine: dict[str, Any] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    plots: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)


def read(folder: str | os.PathLike) -> Content:
    """The content of a folder.

    Raises:
        FileNotFoundError: it holds neither `report.json` nor `verify.json`.
        ReportError: they are not what they should be, or a picture is missing or of another size.
    """
    folder = Path(folder)
    for name, interpret in (("report.json", _benchmark), ("verify.json", _verified)):
        path = folder / name
        if not path.is_file():
            continue
        try:
            plain = json.loads(path.read_text())
            return interpret(folder, plain)
        except (AttributeError, KeyError, IndexError, TypeError, json.JSONDecodeError) as error:
            raise ReportError(f"{path}: is not what a report is made of ({error!r:.200}); make it anew") from error
    raise FileNotFoundError(
        f"{folder} holds neither report.json nor verify.json: write them with benchmarks/paper.py, or with "
        f"mi-neural-asset verify -o {folder}"
    )


def _benchmark(folder: Path, plain: dict[str, Any]) -> Content:
    left = [MAX_VALUES]
    views = [_view(folder, v["name"], v["reference"], v["images"], left) for v in plain["views"]]
    tables = [
        {"title": str(t["title"]), "header": [*map(str, t["header"])], "rows": [[*map(str, row)] for row in t["rows"]],
         "note": str(t.get("note", ""))}
        for t in plain.get("tables", [])
    ]  # fmt: skip
    plots = [{**{key: str(p[key]) for key in ("title", "x", "y")}, "series": _series(p["series"])} for p in plain.get("plots", [])]
    return Content(str(plain["title"]), dict(plain.get("machine", {})), views, plots, tables)


def _series(plain: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    return {str(name): [(float(x), float(y)) for x, y in points] for name, points in plain.items()}


def _verified(folder: Path, plain: dict[str, Any]) -> Content:
    """The pictures and figures of `verify -o FOLDER`."""
    left = [MAX_VALUES]
    lights = plain["lights"]
    views = [
        _view(folder, light, "reference", {name: f"{light}_{name}.exr" for name in ("reference", "ours")}, left) for light in lights
    ]
    names = ("rms", "relmse", "flip", "variance_ratio", "time_ratio", "gain", "miss_rate")
    rows = [
        [light, " ".join(_number(v) for v in row["energy_ratio"]), *(_number(row[name]) for name in names)] for light, row in lights.items()
    ]
    header = ["light", "energy ratio R, G, B", "RMS / mean", "relMSE", "FLIP", "variance ratio", "time ratio", "gain", "rays that miss"]
    table = {"title": "Against the scene that was baked", "header": header, "rows": rows, "note": "Ratios are reference over ours."}
    return Content(f"Asset {plain['asset']['file'] or ''}", dict(plain["settings"]), views, [], [table])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _view(folder: Path, name: Any, reference: Any, files: dict[str, Any], left: list[int]) -> View:  # noqa: ANN401
    images = {str(key): _picture(folder / str(file)) for key, file in files.items()}
    if reference not in images:
        raise ReportError(f"view {name!r}: its reference {reference!r} is none of its pictures {', '.join(images)}")
    if len({image.shape for image in images.values()}) != 1:
        sizes = ", ".join(f"{key} {image.shape[1]} x {image.shape[0]}" for key, image in images.items())
        raise ReportError(f"view {name!r}: its pictures have different sizes: {sizes}")
    left[0] -= sum(image.size for image in images.values())
    if left[0] < 0:
        raise ReportError("the pictures are too large for one page; render smaller ones")
    return View(str(name), str(reference), images)


def _picture(path: Path) -> np.ndarray:
    import mitsuba as mi

    if not path.is_file():
        raise ReportError(f"picture {path} is missing; make the folder anew")
    try:
        bitmap = mi.Bitmap(str(path)).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, srgb_gamma=False)
    except RuntimeError as error:
        raise ReportError(f"picture {path} cannot be read ({str(error).splitlines()[0][:200]})") from error
    return np.array(bitmap)
