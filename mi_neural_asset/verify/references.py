"""References that are kept: a long one may be interrupted, and serves every asset that was baked from the same source."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing


class Runs:
    """Runs of one reference, in a folder of their own.

    Args:
        folder: where references are kept.
        identity: what the pictures depend on: plain values.
    """

    def __init__(self, folder: str | os.PathLike, identity: dict[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self._folder = Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:24]
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._folder / "identity.json") as stream:
            stream.write(text.encode() + b"\n")

    def load(self, run: int, shape: tuple[int, ...]) -> np.ndarray | None:
        """The picture of a run; None where there is none, or not a whole one."""
        if not self._file(run).exists():
            return None
        try:
            image = np.load(self._file(run), allow_pickle=False)
        except (ValueError, EOFError, OSError):
            return None
        return image if image.shape == shape and image.dtype == np.float32 else None

    def save(self, run: int, image: np.ndarray) -> None:
        """Keep the picture of a run."""
        with replacing(self._file(run)) as stream:
            np.save(stream, image.astype(np.float32), allow_pickle=False)

    def _file(self, run: int) -> Path:
        return self._folder / f"run_{run}.npy"
