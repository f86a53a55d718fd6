"""Reading and writing asset files: torch's own zip container, tensors and plain values only, whole or not at all.

A file is data from anywhere.  Its container (container.py) and its structure (structure.py) are looked at before torch sees it,
torch reads it with `weights_only=True` and never otherwise, and every field is checked (schema.py) before anything is made of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ..files import replacing
from .container import check_container
from .schema import check_content
from .structure import check_structure
from .values import REBAKE, AssetFileError

__all__ = ["AssetFileError", "read", "write"]


def write(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Check the content of an asset and write it; an existing file stays whole until the new one is complete.

    Raises:
        AssetFileError: the content is unsound; the message names the field; nothing is written.
        OSError: the folder does not exist or cannot be written, or the disk is full; an old file is untouched.
    """
    try:
        check_content(content)
        with replacing(path) as stream:
            torch.save(content, stream)
            stream.flush()
            with open(stream.name, "rb") as written:
                _check(written)
    except AssetFileError as error:
        raise AssetFileError(str(error).replace(REBAKE, "nothing was written")) from error


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The checked content of an asset file.

    Raises:
        FileNotFoundError: there is no such file.
        AssetFileError: it is not an asset, damaged, or of a newer version; the message names the file and the field.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"asset file {str(path)!r} does not exist; bake it with: mi-neural-asset bake SCENE -o {path.name}"
        )
    if path.is_dir():
        raise AssetFileError(f"{path}: is a folder, not an asset file (.pt)")
    try:
        with open(path, "rb") as stream:
            _check(stream)
            content = _unpickle(stream)
        check_content(content)
    except AssetFileError as error:
        raise AssetFileError(f"{path}: {error}") from error
    return content


def _check(stream: BinaryIO) -> None:
    """What torch will find in a file, before it looks; leaves the stream at its beginning."""
    check_structure(*check_container(stream, os.fstat(stream.fileno()).st_size))
    stream.seek(0)


def _unpickle(stream: BinaryIO) -> Any:  # noqa: ANN401
    try:
        return torch.load(stream, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise AssetFileError(f"the file is damaged ({text}); {REBAKE}") from error
