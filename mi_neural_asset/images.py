"""Pictures on disk: EXR for values, PNG for eyes."""

from __future__ import annotations

import os
from pathlib import Path

import mitsuba as mi
import numpy as np

from .files import replacing


def _bitmap(image: object) -> mi.Bitmap:
    return mi.Bitmap(np.ascontiguousarray(np.asarray(image, dtype=np.float32)))


def _write(bitmap: mi.Bitmap, path: Path) -> None:
    with replacing(path) as stream:
        bitmap.write(str(stream.name))


def write_exr(path: str | os.PathLike, image: object) -> None:
    """Linear RGB values [H, W, 3] as an EXR file; an old file stays whole until the new one is complete."""
    _write(_bitmap(image), Path(path))


def write_png(path: str | os.PathLike, image: object, exposure: float = 0.0) -> None:
    """Linear RGB values [H, W, 3] as an sRGB PNG file; `exposure` in stops."""
    values = np.asarray(image, dtype=np.float32) * 2.0**exposure
    _write(_bitmap(values).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.UInt8, srgb_gamma=True), Path(path))
