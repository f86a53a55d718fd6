"""The pickle of an asset file, read as values alone before torch reads it: nothing is called, nothing large is made.

`torch.load(weights_only=True)` runs no foreign code, but it calls what its own list allows (`bytearray(10**11)` is on it), makes
tensors of whatever size a file claims, and follows references that unfold without end.  Here the few instructions that
`torch.save` writes for plain values and dense tensors are followed, and all that they claim is compared with the container.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .values import MAX_VALUES, REBAKE, AssetFileError

MAX_STEPS = 250_000  # instructions
MAX_NESTING = 64
MAX_DIMENSIONS = 8

_BYTES = {
    "torch.DoubleStorage": 8, "torch.FloatStorage": 4, "torch.HalfStorage": 2, "torch.BFloat16Storage": 2, "torch.LongStorage": 8,
    "torch.IntStorage": 4, "torch.ShortStorage": 2, "torch.CharStorage": 1, "torch.ByteStorage": 1, "torch.BoolStorage": 1,
    "torch.storage.UntypedStorage": 1,
}  # fmt: skip
_REBUILD = {"torch._utils._rebuild_tensor_v2": 6, "torch._utils._rebuild_tensor_v3": 7}  # number of arguments
_WIDTH = {"torch.uint16": 2, "torch.uint32": 4, "torch.uint64": 8}  # types of v3
_HOOKS = "collections.OrderedDict"


@dataclass(frozen=True)
class _Name:
    text: str


@dataclass(frozen=True)
class _Storage:
    key: str
    count: int
    width: int  # bytes of each value


@dataclass(frozen=True)
class _Dense:
    storage: _Storage
    offset: int
    size: tuple
    stride: tuple


class _NoHooks:
    """An empty OrderedDict, which torch writes in the place of hooks."""


class _Damaged(Exception):
    """Something that `torch.save` would not write."""


def check_structure(data: bytes, records: dict[str, int]) -> None:
    """Compare the structure of a file with its tensor records.

    Args:
        data: the pickle.
        records: bytes of every tensor record by its key.

    Raises:
        AssetFileError: it holds more than plain values and dense tensors, or claims other sizes than the records have, or unfolds
            to too much; the message names the field.
    """
    reader = _Reader(data)
    try:
        content = reader.read()
    except _Foreign as error:
        where = reader.where() or "the file"
        raise AssetFileError(f"{where}: holds more than tensors and plain values, so it is not opened ({error}); {REBAKE}") from None
    except (_Damaged, AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        at = f"{where}: " if (where := reader.where()) else ""  # may lack its beginning, which is what the damage hides
        raise AssetFileError(f"the file: {at}the structure is damaged ({error}); {REBAKE}") from error
    used: set[str] = set()
    _Walk(records, used).visit(content, ())
    if unused := sorted(records.keys() - used):
        raise AssetFileError(f"the tensors do not take the record data/{unused[0]} of the container; {REBAKE}")


class _Foreign(_Damaged):
    """Something that is no plain value and no dense tensor."""


class _Reader:
    """A stack of values, as in Python's pickle machine; lists of values below each mark are kept apart."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:  # noqa: ANN401
        for _ in range(MAX_STEPS):
            code = self._data[self._position]
            self._position += 1
            if code == _STOP:
                break
            step = _STEPS.get(code)
            if step is None:
                raise _Foreign(f"instruction {code}")
            step(self)
        else:
            raise _Damaged(f"more than {MAX_STEPS} instructions")
        if self._position != len(self._data) or len(self._stack) != 1 or self._below:
            raise _Damaged("it ends in the wrong place")
        return self._stack[0]

    def where(self) -> str:
        """The field at work."""
        path, frames = "", [*self._below, self._stack]
        for k, frame in enumerate(frames):
            holder, inner = frames[k - 1][-1] if k and frames[k - 1] else None, k + 1 < len(frames)  # inner: the last one is being filled
            if isinstance(holder, dict):
                key = frame[-1] if len(frame) % 2 else frame[-2] if inner and frame else ""
                path += f".{key[:80]}" if key and isinstance(key, str) else ""
            elif isinstance(holder, list):
                path += f"[{len(holder) + len(frame) - inner}]"
            elif len(frame) > 1 and isinstance(frame[-2], dict) and isinstance(frame[-1], str):
                path += f".{frame[-1][:80]}"
        return path.lstrip(".")

    def _take(self, count: int) -> bytes:
        data = self._data[self._position : self._position + count]
        if len(data) != count:
            raise _Damaged("it is cut off")
        self._position += count
        return data

    def _number(self, form: str) -> Any:  # noqa: ANN401
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        end = self._data.index(b"\n", self._position, self._position + 256)
        return self._take(end + 1 - self._position)[:-1].decode()

    def _marked(self) -> list[Any]:
        values, self._stack = self._stack, self._below.pop()
        return values

    def protocol(self) -> None:
        if self._number("B") != 2:
            raise _Damaged("its protocol is not 2")

    def push(self, value: Any) -> None:  # noqa: ANN401
        self._stack.append(value)

    def mark(self) -> None:
        self._below.append(self._stack)
        if len(self._below) > 4 * MAX_NESTING:
            raise _Damaged("it is nested too deeply")
        self._stack = []

    def text(self) -> None:
        self.push(self._take(self._number("<I")).decode())

    def long(self) -> None:
        count = self._number("B")
        if count > 8:
            raise _Damaged(f"a number of {count} bytes")
        self.push(int.from_bytes(self._take(count), "little", signed=True))

    def name(self) -> None:
        text = f"{self._line()}.{self._line()}"
        if text not in _BYTES and text not in _REBUILD and text not in _WIDTH and text != _HOOKS:
            raise _Foreign(text)
        self.push(_Name(text))

    def gather(self, count: int) -> None:
        values = tuple(self._stack[-count:])
        if len(values) != count:
            raise _Damaged("a tuple of missing values")
        self._stack[-count:] = [values]

    def remember(self, form: str) -> None:
        self._memo[self._number(form)] = self._stack[-1]

    def recall(self, form: str) -> None:
        self.push(self._memo[self._number(form)])

    def append(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise _Foreign("values for something that is no list")
        self._stack[-1].extend(values)

    def set(self, pairs: list[Any]) -> None:
        if type(self._stack[-1]) is not dict or len(pairs) % 2:
            raise _Foreign("values for something that is no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) not in (str, int):
                raise _Foreign("a key that is no name")
            self._stack[-1][key] = value

    def set_one(self) -> None:
        pair = [*reversed((self._stack.pop(), self._stack.pop()))]
        self.set(pair)

    def storage(self) -> None:
        kind, type_, key, place, count = self._stack.pop()
        if kind != "storage" or place != "cpu" or type(key) is not str or type(count) is not int or not 0 <= count < 2**40:
            raise _Foreign("a storage that is not on the CPU")
        self.push(_Storage(key, count, _BYTES[type_.text]))

    def call(self) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if type(name) is not _Name or type(arguments) is not tuple:
            raise _Foreign("a call")
        if name.text == _HOOKS and not arguments:
            self.push(_NoHooks())
            return
        if len(arguments) != _REBUILD.get(name.text):
            raise _Foreign(f"a call of {name.text}")
        storage, offset, size, stride, gradient, hooks, *type_ = arguments
        if type(storage) is not _Storage or gradient is not False or type(hooks) is not _NoHooks:
            raise _Foreign("a tensor with more than values")
        if type_:
            width = _WIDTH[type_[0].text]
            storage = _Storage(storage.key, storage.count * storage.width // width, width)
        if type(size) is not tuple or type(stride) is not tuple or {*map(type, (offset, *size, *stride))} != {int}:
            raise _Foreign("a tensor of no shape")
        self.push(_Dense(storage, offset, size, stride))


_STOP = ord(".")
_STEPS: dict[int, Callable[[_Reader], None]] = {
    0x80: _Reader.protocol, ord("}"): lambda r: r.push({}), ord("]"): lambda r: r.push([]), ord(")"): lambda r: r.push(()),
    ord("("): _Reader.mark, ord("X"): _Reader.text, ord("J"): lambda r: r.push(r._number("<i")), ord("K"): lambda r: r.push(r._number("B")),
    ord("M"): lambda r: r.push(r._number("<H")), 0x8A: _Reader.long, ord("G"): lambda r: r.push(r._number(">d")),
    ord("N"): lambda r: r.push(None), 0x88: lambda r: r.push(True), 0x89: lambda r: r.push(False),
    ord("t"): lambda r: r.push(tuple(r._marked())), 0x85: lambda r: r.gather(1), 0x86: lambda r: r.gather(2), 0x87: lambda r: r.gather(3),
    ord("q"): lambda r: r.remember("B"), ord("r"): lambda r: r.remember("<I"), ord("h"): lambda r: r.recall("B"),
    ord("j"): lambda r: r.recall("<I"), ord("e"): lambda r: r.append(r._marked()), ord("a"): lambda r: r.append([r._stack.pop()]),
    ord("u"): lambda r: r.set(r._marked()), ord("s"): _Reader.set_one, ord("c"): _Reader.name, ord("R"): _Reader.call,
    ord("Q"): _Reader.storage,
}  # fmt: skip


class _Walk:
    """Through all values, each once, counting them as often as they are referred to."""

    def __init__(self, records: dict[str, int], used: set[str]) -> None:
        self._records, self._used = records, used
        self._counts: dict[int, int | None] = {}  # of dicts and lists; None: at work

    def visit(self, value: Any, path: tuple) -> int:  # noqa: ANN401
        """Number of values in a value."""
        if type(value) is _Dense:
            if id(value) not in self._counts:
                self._counts[id(value)] = 1
                self._check(value, path)
            return 1
        if type(value) is tuple or isinstance(value, (_Name, _Storage, _NoHooks)):
            what = "a tuple" if type(value) is tuple else "a name or a part of a tensor"
            raise AssetFileError(f"{_text(path)}: expected a plain value or a tensor, got {what}; {REBAKE}")
        if type(value) not in (dict, list):
            return 1
        if id(value) in self._counts:
            if self._counts[id(value)] is None:
                raise AssetFileError(f"{_text(path)}: contains itself; {REBAKE}")
            return self._counts[id(value)]
        if len(path) > MAX_NESTING:
            raise AssetFileError(f"{_text(path)}: is nested too deeply; {REBAKE}")
        self._counts[id(value)] = None
        items = value.items() if type(value) is dict else enumerate(value)
        count = 1 + sum(self.visit(item, (*path, key)) for key, item in items)
        if count > MAX_VALUES:
            raise AssetFileError(f"{_text(path)}: holds too many values; {REBAKE}")
        self._counts[id(value)] = count
        return count

    def _check(self, tensor: _Dense, path: tuple) -> None:
        storage = tensor.storage
        if storage.key not in self._records:
            raise AssetFileError(f"{_text(path)}: its record data/{storage.key[:80]} is missing in the container; {REBAKE}")
        self._used.add(storage.key)
        claimed, there = storage.count * storage.width, self._records[storage.key]
        if claimed != there:
            raise AssetFileError(f"{_text(path)}: takes {claimed} bytes, its record in the container has {there}; {REBAKE}")
        size, stride = tensor.size, tensor.stride
        sound = len(size) == len(stride) <= MAX_DIMENSIONS and min((tensor.offset, *size, *stride)) >= 0 and math.prod(size) < 2**40
        if sound and math.prod(size):
            last = tensor.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
            sound = last < storage.count
        if not sound or tensor.offset > storage.count:
            raise AssetFileError(f"{_text(path)}: its shape {list(size)} reaches beyond its {storage.count} values; {REBAKE}")


def _text(path: tuple) -> str:
    return "".join(f"[{key}]" if type(key) is int else f".{key[:80]}" for key in path).lstrip(".") or "the file"
