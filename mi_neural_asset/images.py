"""Pictures on disk: EXR for values, PNG for eyes."""

from __future__ import annotations

import os

import mitsuba as mi
import numpy as np

from .files import replacing


def _bitmap(image: object) -> mi.Bitmap:
    return mi.Bitmap(np.ascontiguousarray(np.asarray(image, dtype=np.float32)))


def write(path: str | os.PathLike, bitmap: mi.Bitmap) -> None:
    """A bitmap as a file of the kind that the name says; an old file stays whole until the new one is complete."""
    with replacing(path) as stream:
        bitmap.write(str(stream.name))


def write_exr(path: str | os.PathLike, image: object) -> None:
    """Linear RGB values [H, W, 3] as an EXR file; an old file stays whole until the new one is complete."""
    write(path, _bitmap(image))


def write_png(path: str | os.PathLike, image: object, exposure: float = 0.0) -> None:
    """Linear RGB values [H, W, 3] as an sRGB PNG file; `exposure` in stops."""
    values = np.asarray(image, dtype=np.float32) * 2.0**exposure
    write(path, _bitmap(values).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.UInt8, srgb_gamma=True))
