"""Checks of plain values and tensors, each with the name of the field in its error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .vocabulary import TEXT

MOST = float(torch.finfo(torch.float32).max)
MAX_VALUES = 250_000
MAX_NESTING = 16  # of notes
REBAKE = "the file is damaged or not an asset: bake it again, or get a fresh copy"


class AssetFileError(ValueError):
    """An asset file, or what should become one, is unsound; the message names the field and says what to do.

    Characters that could act on a terminal stand in the message as their codes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text with characters that could act on a terminal, or cannot be printed, as their codes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def fail(where: str, expected: str, got: object) -> AssetFileError:
    """The error for a field."""
    return AssetFileError(f"{where}: expected {expected}, got {_short(got)}; {REBAKE}")


def _short(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{_dtype(value.dtype)} {list(value.shape)}"
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else value[:77] + "...")
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    return f"{value!r:.80}" if isinstance(value, (int, float)) or value is None else f"a {type(value).__name__}"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def fields(value: Any, where: str, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    """Check that a value is a dict with these keys and no others."""
    if type(value) is not dict:
        raise fail(where, "a dict", value)
    required = tuple(required)
    for key in required:
        if key not in value:
            raise AssetFileError(f"{where}.{key}: is missing; {REBAKE}")
    known = {*required, *optional}
    for key in value:
        if not isinstance(key, str) or key not in known:
            raise AssetFileError(
                f"{where}: unknown field {_short(key)}; if a newer version wrote the file, upgrade mi_neural_asset; "
                f"else {REBAKE}"
            )
    return value


def number(value: Any, where: str) -> float:
    """A finite int or float, in the range of single precision."""
    if type(value) not in (int, float) or not -MOST <= value <= MOST:
        raise fail(where, "a finite number", value)
    return value


def numbers(value: Any, where: str, count: int) -> list[float]:
    """A list of finite numbers."""
    if type(value) is not list or len(value) != count:
        raise fail(where, f"a list of {count} numbers", f"{len(value)} of them" if type(value) is list else value)
    return [number(item, f"{where}[{k}]") for k, item in enumerate(value)]


def flag(value: Any, where: str) -> bool:
    """A bool."""
    if type(value) is not bool:
        raise fail(where, "True or False", value)
    return value


def text(value: Any, where: str, pattern: re.Pattern = TEXT) -> str:
    """A string that matches."""
    if type(value) is not str or not pattern.match(value):
        raise fail(where, "a short string of letters, digits and ,.+:-_ (no path)", value)
    return value


def matrix(value: Any, where: str) -> None:
    """An invertible 4x4 matrix, as a list of rows, whose last row is 0 0 0 1."""
    if type(value) is not list or len(value) != 4:
        raise fail(where, "a 4x4 matrix as a list of rows", value)
    rows = [numbers(row, f"{where}[{k}]", 4) for k, row in enumerate(value)]
    if rows[3] != [0, 0, 0, 1]:
        raise fail(f"{where}[3]", "0 0 0 1", str(rows[3]))
    if not abs(torch.linalg.det(torch.tensor(rows, dtype=torch.float64)).item()) > 0:
        raise fail(where, "an invertible matrix", "a singular one")


def tensor(
    value: Any, where: str, shape: Sequence[int | None], dtypes: Sequence[torch.dtype] = (torch.float32,)
) -> Tensor:
    """A plain, dense, finite CPU tensor of a shape (None: any positive size) and one of some types."""
    wanted = f"{' or '.join(map(_dtype, dtypes))} [{', '.join('any' if n is None else str(n) for n in shape)}]"
    if type(value) is not Tensor:
        raise fail(where, f"a tensor, {wanted}", value)
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or not value.is_contiguous():
        raise fail(where, "a dense, contiguous tensor on the CPU", value)
    matches = value.ndim == len(shape) and all(
        size > 0 if n is None else size == n for size, n in zip(value.shape, shape, strict=True)
    )
    if value.dtype not in dtypes or not matches:
        got = str(list(value.shape)) if value.dtype in dtypes else f"{_dtype(value.dtype)} {list(value.shape)}"
        raise AssetFileError(f"{where}: expected {wanted}, got {got}; {REBAKE}")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise fail(where, "as many values as its shape says", value)
    if value.is_floating_point() and not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise AssetFileError(f"{where}: {bad} of {value.numel()} values are NaN or infinite; {REBAKE}")
    return value


def plain(value: Any, where: str, depth: int = 0, budget: list[int] | None = None) -> None:
    """Plain values only: str, bool, int, float (NaN allowed: these are notes), None, lists and dicts of these."""
    budget = [MAX_VALUES] if budget is None else budget
    budget[0] -= 1
    if depth > MAX_NESTING or budget[0] < 0:
        raise AssetFileError(f"{where}: holds too many values, or is nested too deeply; {REBAKE}")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise fail(where, "names as keys", key)
            plain(item, f"{where}.{key[:40]}", depth + 1, budget)
    elif type(value) is list:
        for k, item in enumerate(value):
            plain(item, f"{where}[{k}]", depth + 1, budget)
    elif value is not None and type(value) not in (str, bool, int, float):
        raise fail(where, "plain values", value)
    elif type(value) is int and value.bit_length() > 63:
        raise fail(where, "a number of 64 bits", value)
