"""Reading and writing asset files: torch's own zip container, tensors and plain values only, whole or not at all.

A file is data from anywhere.  Its container is looked at before torch sees it, torch reads it with `weights_only=True`
and never otherwise, and every field is checked (schema.py) before anything is made of it.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..files import replacing
from .schema import REBAKE, AssetFileError, check_content

__all__ = ["AssetFileError", "read", "write"]

MAX_ENTRIES = 100_000
CHUNK = 2**20  # bytes
MAX_PICKLE = 64 * 2**20  # bytes; the structure without the tensors is small
_ENTRY = re.compile(
    r"([^/\\]{1,255})/"
    r"(data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id|data/[0-9]+)\Z"
)


def write(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Check the content of an asset and write it; an existing file stays whole until the new one is complete.

    Raises:
        AssetFileError: the content is unsound; the message names the field; nothing is written.
        OSError: the folder does not exist or cannot be written, or the disk is full; an old file is untouched.
    """
    try:
        check_content(content)
    except AssetFileError as error:
        raise AssetFileError(str(error).replace(REBAKE, "nothing was written")) from error
    with replacing(path) as stream:
        torch.save(content, stream)


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
            sizes = _check_container(stream, os.fstat(stream.fileno()).st_size)
            stream.seek(0)
            content = _unpickle(stream)
        _check_storages(content, sizes)
        check_content(content)
    except AssetFileError as error:
        raise AssetFileError(f"{path}: {error}") from error
    return content


def _check_container(stream: Any, size: int) -> list[int]:  # noqa: ANN401
    """Look at the zip directory, then at the checksums, which torch ignores; returns the sizes of the tensor records.

    Records are stored, not compressed, so a file can never unpack to more than its own size.
    """
    if size == 0:
        raise AssetFileError(f"the file is empty; {REBAKE}")
    start = stream.read(4)
    try:
        with zipfile.ZipFile(stream) as archive:
            tensors = _check_directory(archive.infolist(), size)
            for entry in archive.infolist():
                with archive.open(entry) as record:
                    while record.read(CHUNK):
                        pass
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, AssetFileError):
            raise
        what = "is cut off or damaged" if start == b"PK\x03\x04" else "is not an asset file"
        raise AssetFileError(f"the file {what} ({error}); {REBAKE}") from error
    return tensors


def _check_directory(entries: list[zipfile.ZipInfo], size: int) -> list[int]:
    """The entries are those that torch writes: no other names, none twice, none compressed, none beyond the file."""
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise AssetFileError(f"the container has {len(entries)} entries; {REBAKE}")
    names, total, folders, tensors = set(), 0, set(), []
    for entry in entries:
        name, match = entry.filename, _ENTRY.match(entry.filename)
        if not match:
            raise AssetFileError(f"its entry {name[:80]!r} is not one that torch writes; this is not an asset file")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise AssetFileError(f"its entry {name!r} is compressed or encrypted, which torch does not do; {REBAKE}")
        if name in names:
            raise AssetFileError(f"its entry {name!r} occurs twice; {REBAKE}")
        names.add(name)
        folders.add(match[1])
        total += entry.file_size
        if match[2].startswith("data/"):
            tensors.append(entry.file_size)
        if match[2] == "data.pkl" and entry.file_size > MAX_PICKLE:
            raise AssetFileError(f"its structure takes {entry.file_size} bytes, more than {MAX_PICKLE}; {REBAKE}")
    if total > size:
        raise AssetFileError(f"its entries claim {total} bytes, the file has {size}; {REBAKE}")
    if len(folders) != 1 or f"{folders.pop()}/data.pkl" not in names:
        raise AssetFileError(f"its container is not one that torch wrote; {REBAKE}")
    return tensors


def _unpickle(stream: Any) -> Any:  # noqa: ANN401
    try:
        return torch.load(stream, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        raise AssetFileError(
            f"the file holds more than tensors and plain values, so it is not opened; {REBAKE}"
        ) from error
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise AssetFileError(f"the file is damaged ({text}); {REBAKE}") from error


def _check_storages(content: Any, sizes: list[int]) -> None:  # noqa: ANN401
    """The tensors' memory is exactly the container's records: none is longer than what was read for it."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    stack = [content]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif type(item) is torch.Tensor and item.layout == torch.strided and item.device.type == "cpu":
            storage = item.untyped_storage()
            if storage.nbytes():
                found[storage.data_ptr()] = storage.nbytes()
    if sorted(found.values()) != sorted(size for size in sizes if size):
        raise AssetFileError(
            f"the tensors do not take the {sum(sizes)} bytes that the container has for them; {REBAKE}"
        )
