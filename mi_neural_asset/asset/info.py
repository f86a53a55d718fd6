"""`mi-neural-asset info ASSET`: everything an asset file says, without Mitsuba."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asset import NeuralAsset
    from .description import Description

_COLUMN = 24


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("info", help="print what an asset file holds")
    parser.add_argument("asset", metavar="ASSET", help="asset file (.pt)")
    parser.set_defaults(run=lambda options: main(options.asset), needs_mitsuba=False)


def main(path: str | os.PathLike) -> int:
    """Print the summary of an asset file; returns the exit code.

    Raises:
        FileNotFoundError, AssetFileError: there is no such file, or it is not a sound asset.
    """
    from .asset import NeuralAsset

    print(f"{path}\n{NeuralAsset.load(path).summary(Path(path).stat().st_size)}")
    return 0


def summary(asset: NeuralAsset, size: int | None = None) -> str:
    """An asset as a table; `size` is that of its file in bytes."""
    from .values import printable

    count = sum(value.numel() for value in asset.weights.values())
    lines = [
        _line("kind", asset.kind),
        *([] if size is None else [_line("size on disk", _bytes(size))]),
        _line("parameters", f"{count:,} ({_bytes(sum(v.numel() * v.element_size() for v in asset.weights.values()))})"),
        _line("units, up axis", f"{asset.units}, {asset.up_axis}"),
        _line("centre", " ".join(f"{x:.6g}" for x in asset.center)),
        _line("scale", f"{asset.scale:.6g} (radius of the bounding sphere)"),
        "boundary",
        *_shapes(asset.boundary),
    ]
    if asset.source is None:
        lines.append(_line("source", "not embedded (the asset cannot be verified)"))
    else:
        lines += ["source (embedded)", *_shapes(asset.source)]
        lines += [_line(f"  medium {name}", _tree(tree)) for name, tree in asset.source.media.items()]
    notes = dict(asset.provenance)
    certificate = notes.pop("certificate", None)
    lines += ["model", *_nested(asset.config.to_dict(), "  "), "provenance", *_nested(notes, "  ")]
    lines += certificate_lines(certificate) if isinstance(certificate, dict) else [_line("certificate", "none")]
    return "\n".join(map(printable, lines))


def certificate_lines(certificate: dict[str, Any]) -> list[str]:
    """A certificate as a table; of a damaged one, whatever it holds."""
    try:
        return _certificate_lines(certificate)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ["certificate (not one that this version writes)", *_nested(certificate, "  ")]


def _certificate_lines(certificate: dict[str, Any]) -> list[str]:
    verdict = "holds" if certificate["holds"] is True else "does not hold"
    lines = [_line("certificate", f"{verdict} ({certificate['level']}, seed {certificate['seed']}); to repeat it: verify --check")]
    for name, row in certificate["checks"].items():
        least = f"{name}_least" in certificate["limits"]
        limit = certificate["limits"][f"{name}_least" if least else name]
        error = f" +- {row['error']:.2g}" if "error" in row else ""
        lines.append(_line(f"  {name}", f"{row['value']:.4g}{error}, {'at least' if least else 'at most'} {limit:g}: {_verdict(row)}"))
    for name, row in certificate["lights"].get("rows", {}).items():
        energy = ", ".join("-" if value is None else f"{value:.4f}" for value in row["energy_ratio"])
        lines.append(_line(f"  light {name}", f"energy {energy}, RMS {row['rms']:.2%}: {_verdict(row)}"))
    for what in ("settings", "versions", "hashes"):
        lines.append(_line(f"  {what}", ", ".join(f"{key} {value}" for key, value in certificate[what].items())))
    return lines


def _verdict(row: dict[str, Any]) -> str:
    return "holds" if row["holds"] is True else "DOES NOT HOLD"


def _line(name: str, value: object) -> str:
    return f"{name:<{_COLUMN}} {value}"


def _shapes(description: Description) -> list[str]:
    lines = []
    for shape in description.shapes:
        geometry = shape["geometry"]
        what = geometry["type"]
        if what == "mesh":
            what = f"mesh, {len(geometry['vertices']):,} vertices, {len(geometry['faces']):,} triangles"
        elif "counts" in geometry:
            what = f"{what}, {len(geometry['counts']):,} curves, {len(geometry['control_points']):,} points"
        media = "".join(f", {side} {shape[side]}" for side in ("interior", "exterior") if shape[side])
        lines.append(_line(f"  {shape['id']}", f"{what}{media}; {_tree(shape['bsdf'])}"))
    return lines


def _tree(tree: dict[str, Any]) -> str:
    """A tree in one line; tensors by their shape."""
    kind = tree["type"]
    if kind in ("rgb", "spectrum"):
        values = tree["value"]
        if isinstance(values, list) and isinstance(values[0], list):
            return f"{len(values)} wavelengths"
        return " ".join(f"{x:.4g}" for x in values) if isinstance(values, list) else f"{values:.4g}"
    if kind == "transform":
        return "transform"
    inner = []
    for key, value in tree.items():
        if key == "type":
            continue
        if isinstance(value, dict):
            text = _tree(value)
        elif hasattr(value, "shape"):
            text = "x".join(map(str, value.shape))
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
        inner.append(text if key.startswith("nested_") else f"{key} {text}")
    return f"{kind}({', '.join(inner)})" if inner else kind


def _nested(values: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", *_nested(value, indent + "  ")]
        elif isinstance(value, list):
            lines += [_line(indent + key, ", ".join(_plain(item) for item in value) or "none")]
        else:
            lines.append(_line(indent + key, _plain(value)))
    return lines


def _plain(value: Any) -> str:  # noqa: ANN401
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _bytes(count: int) -> str:
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
