"""Files that are whole or not there, and outputs that one process alone writes.

A file is written beside its place, brought to the disk, and renamed; whatever stops the process leaves the old file whole.
The part file of a process that was killed is removed by the next save of the same file: the system frees a dead
process's locks, so a part file that can be locked belongs to nobody.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # no such locks on this system: no file is locked, no leftover removed
    fcntl = None


class Busy(RuntimeError):
    """Another process is writing this output; the message names it."""

    exit_code = 4  # of the command


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file `path` when the block ends, with the permissions of the file it replaces.

    `stream.name` is the path of the part file, with the suffix of `path`, for libraries that open files themselves.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: the folder does not exist or cannot be written, or the disk is full; the message says that an old file is
            whole.
        KeyboardInterrupt: with the same message, where Ctrl-C arrived before the new file was complete.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file, such as {path / 'asset.pt'}")
    remove_leftovers(path)
    failed: list[OSError] = []
    try:
        stream = _open_part(path, failed)
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                os.chmod(stream.name, _mode(path))
                os.replace(stream.name, path)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise
        _sync_folder(path.absolute().parent)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(_unwritten(path, "interrupted")) from error
    except Exception as error:
        cause = failed[0] if failed else error
        if not isinstance(cause, OSError) or cause.errno is None:
            raise
        raise OSError(cause.errno, _unwritten(path, cause.strerror)) from error


def remove_leftovers(path: str | os.PathLike) -> list[Path]:
    """Remove the part files that killed processes left beside `path`; returns them."""
    path = Path(path)
    removed = []
    for part in _parts(path):
        with contextlib.suppress(OSError), open(part, "rb") as stream:
            if _lock(stream.fileno()) is True:
                part.unlink()
                removed.append(part)
    return removed


class Lock:
    """The right to write one output: a lock file beside it, which the system frees when the process ends, however it ends.

    Args:
        path: the output; the lock file is `.NAME.lock`.

    Use it as a context.

    Raises:
        Busy: another process, or another thread of this one, has it.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._output = Path(path)
        self._path = self._output.with_name(f".{self._output.name}.lock")
        self._file: int | None = None

    def __enter__(self) -> Lock:
        while True:
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            except OSError as error:
                raise OSError(error.errno, f"{self._output} cannot be written: {error.strerror}; choose another output") from error
            if _lock(handle) is False:
                holder = os.read(handle, 64).decode(errors="replace").strip()
                os.close(handle)
                who = f"another process ({holder})" if holder else "another process"
                raise Busy(f"{self._output}: {who} is writing it; wait for its end, stop it, or choose another output")
            if _is_at(handle, self._path):
                break
            os.close(handle)  # its last holder removed it in the meantime
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()}".encode())
        self._file = handle
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


class _Part:
    """The part file, as libraries write it: keeps the first error, which some of them replace by one that says nothing."""

    def __init__(self, stream: BinaryIO, failed: list[OSError]) -> None:
        self._stream, self._failed = stream, failed

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # what it still held back; after an error nobody wants it
            self._stream.close()

    def write(self, data: bytes) -> int:
        return self._keep(self._stream.write, data)

    def flush(self) -> None:
        self._keep(self._stream.flush)

    def _keep(self, call: object, *arguments: object) -> int:
        try:
            return call(*arguments)
        except OSError as error:
            self._failed.append(error)
            raise


def _open_part(path: Path, failed: list[OSError]) -> _Part:
    while True:
        name = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
        stream = open(name, "xb")  # noqa: SIM115
        _lock(stream.fileno())
        if _is_at(stream.fileno(), name):
            return _Part(stream, failed)
        stream.close()  # taken for a leftover before it was locked


def _parts(path: Path) -> list[Path]:
    start, end = f".{path.stem}.", f".part{path.suffix}"
    folder = path.absolute().parent
    try:
        names = os.listdir(folder) if fcntl else []
    except OSError:
        return []
    return [
        folder / n for n in names if n.startswith(start) and n.endswith(end) and len(n) == len(start) + 8 + len(end)
    ]  # fmt: skip


def _lock(handle: int) -> bool | None:
    """Whether the lock was free and is now ours; None where the system or the file system has none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _mode(path: Path) -> int:
    """Permissions of the file that is replaced, or those of a newly made file."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Bring the rename to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unwritten(path: Path, why: str | None) -> str:
    old = "the file that was there is whole" if path.exists() else "there was none before, and there is none now"
    return f"{path} was not written ({why}); {old}"
