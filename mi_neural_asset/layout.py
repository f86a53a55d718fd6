"""Where the folders beside the package are: in a checkout next to it, in a wheel inside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `plugins`, `cuda` or `scenes`.

    Raises:
        FileNotFoundError: neither a checkout nor a wheel holds it.
    """
    for parent in (_PACKAGE.parent, _PACKAGE):
        if (parent / name).is_dir() and (parent != _PACKAGE.parent or (parent / "pyproject.toml").is_file()):
            return parent / name
    raise FileNotFoundError(f"mi_neural_asset: folder {name!r} is missing beside {_PACKAGE}: install the package again")
