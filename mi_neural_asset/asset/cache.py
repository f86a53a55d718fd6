"""Assets by name: a file on disk, or an asset that lives in memory.

Scenes name their weights by a string.  Instances that name the same file share one loaded asset; it is read again when the
file changes, and freed with the last scene that uses it.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from .asset import NeuralAsset

MEMORY = "memory:"  # prefix of names that `remember` gives out

_lock = threading.RLock()
_files: WeakValueDictionary = WeakValueDictionary()  # (path, mtime, size) -> NeuralAsset
_memory: dict[str, NeuralAsset] = {}


def remember(asset: NeuralAsset, name: str) -> str:
    """Keep an asset under a name; the result can stand wherever a scene names a weights file."""
    with _lock:
        _memory[MEMORY + name] = asset
    return MEMORY + name


def forget(name: str) -> None:
    """Undo `remember`; takes what it returned."""
    with _lock:
        _memory.pop(name, None)


def find_file(weights: str) -> Path:
    """Path of a weights file, looked for where Mitsuba looks for a scene's files.

    Raises:
        FileNotFoundError: says where it was looked for.
    """
    import mitsuba as mi

    resolver = mi.file_resolver()
    path = Path(str(resolver.resolve(weights)))
    if path.is_file():
        return path
    places = ", ".join(str(resolver[i]) or "." for i in range(len(resolver)))
    raise FileNotFoundError(
        f"neural_asset: weights file {weights!r} does not exist (looked in: {places}). "
        f"Bake it first: mi-neural-asset bake SCENE -o {Path(weights).name}"
    )


def resolve(weights: str) -> NeuralAsset:
    """The asset that a scene calls `weights`.

    Raises:
        FileNotFoundError: no such file, or no such name in memory.
        AssetFileError: the file is not a sound asset.
    """
    with _lock:
        if weights.startswith(MEMORY):
            if weights not in _memory:
                raise FileNotFoundError(f"neural_asset: no asset is remembered as {weights!r}; call remember() first")
            return _memory[weights]
        path = find_file(weights)
        state = os.stat(path)
        key = (os.path.realpath(path), state.st_mtime_ns, state.st_size)
        asset = _files.get(key)
        if asset is None:
            from .asset import NeuralAsset

            asset = _files[key] = NeuralAsset.load(path)
        return asset
