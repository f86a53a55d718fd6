"""`mi-neural-asset merge A.exr B.exr -o C.exr`: independent renders of one scene as one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mitsuba as mi

    from .record import Record

EXIT_CODES = "Exit codes: 0 the picture is written; 1 the pictures cannot be merged, the message says why; 2 a wrong command line."


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "merge",
        help="merge independent renders of one scene",
        description="Mean of pictures that mi-neural-asset render wrote with different seeds, weighted by their numbers of samples.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("pictures", nargs="+", metavar="EXR", help="two pictures or more")
    parser.add_argument("-o", "--output", required=True, metavar="EXR", help="file to write (.exr)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Merge; returns the exit code."""
    import mitsuba as mi

    mi.set_variant("scalar_rgb")
    record = merge(options.pictures, options.output)
    print(f"wrote {options.output}: {record.samples} samples per pixel, {len(record.seeds)} seeds")
    return 0


def merge(paths: Sequence[str | os.PathLike], out: str | os.PathLike) -> Record:
    """Write the mean of pictures, weighted by their samples, as a picture with all their samples and seeds.

    Args:
        paths: two EXR files or more.
        out: EXR file to write; may be one of them.

    Raises:
        ValueError: they show different scenes, differ in size or channels, share seeds, or are fewer than two.
        RecordError: one does not say how it was made.
        RuntimeError: one cannot be read.
        OSError: `out` cannot be written; an old file stays whole.
    """
    import mitsuba as mi
    import numpy as np

    from .record import Record

    if len(paths) < 2:
        raise ValueError("merge: give two pictures or more")
    total, merged, first, user = 0.0, None, None, {}
    for path in paths:
        bitmap = mi.Bitmap(str(path))
        record = Record.of(path, bitmap)
        first = first or bitmap
        if merged:
            _check_alike(paths[0], first, merged, path, bitmap, record)
        for seed in record.seeds:
            if seed in user:
                raise ValueError(f"{path} and {user[seed]} share the seed {seed}: their noise is the same; render one with another --seed")
            user[seed] = path
        total = total + record.samples * np.asarray(bitmap).astype(np.float64)
        merged = Record((merged.samples if merged else 0) + record.samples, tuple(sorted(user)), record.scene)
    mean = (total / merged.samples).astype(np.float32)
    merged.write(out, mi.Bitmap(mean, first.pixel_format(), _channels(first)))
    return merged


def _check_alike(path: str | os.PathLike, a: mi.Bitmap, was: Record, other: str | os.PathLike, b: mi.Bitmap, record: Record) -> None:
    sizes = [f"{bitmap.width()} x {bitmap.height()}" for bitmap in (a, b)]
    channels = [", ".join(_channels(bitmap)) for bitmap in (a, b)]
    for what, (x, y) in (("sizes", sizes), ("channels", channels), ("scenes (SHA-256)", (was.scene[:16], record.scene[:16]))):
        if x != y:
            raise ValueError(f"{path} and {other} have different {what}: {x} and {y}; only renders of one scene can be merged")


def _channels(bitmap: mi.Bitmap) -> list[str]:
    return [field.name for field in bitmap.struct_()]
