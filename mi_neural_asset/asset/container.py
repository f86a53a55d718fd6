"""The zip container of an asset file or a checkpoint, looked at before torch sees it.

Two programs read the container, Python's zipfile here and the reader inside torch.  Files on which they could disagree (two
directories, comments, data outside the entries) are refused, so that what was checked is what torch reads.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from typing import BinaryIO

from .values import REBAKE, AssetFileError

MAX_ENTRIES = 20_000
MAX_PICKLE = 8 * 2**20  # bytes; the structure without the tensors is small
MAX_NOTE = 1024  # bytes of an entry that is neither structure nor tensor
CHUNK = 2**20  # bytes
_ENTRY = re.compile(
    r"([ !#-.0-\[\]-~]{1,255})/"
    r"(data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id|data/(?:0|[1-9][0-9]{0,8}))\Z"
)
_END, _LOCATOR, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = 24  # bytes at most between the data of an entry and what follows
_FLAGS = 0x0808  # sizes after the data, names in UTF-8


def check_container(stream: BinaryIO, size: int) -> tuple[bytes, dict[str, int]]:
    """Look at the directory, the places of all entries and their checksums, which torch ignores.

    Entries are stored, not compressed, and lie side by side, so a file can never unpack to more than its own size.

    Returns:
        the pickle, and the bytes of every tensor record by its key.

    Raises:
        AssetFileError: it is not a container that torch wrote, or a damaged one.
    """
    if size == 0:
        raise AssetFileError(f"the file is empty; {REBAKE}")
    start = stream.read(4)
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
        pickle = _check_directory(entries, size)
        places = _check_layout(stream, entries, size)
        for entry, place in zip(entries, places, strict=True):
            _check_sum(stream, entry, place)
    except AssetFileError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RuntimeError, struct.error) as error:
        what = "is cut off or damaged" if start == b"PK\x03\x04" else "is not an asset file"
        raise AssetFileError(f"the file {what} ({error}); {REBAKE}") from error
    stream.seek(places[entries.index(pickle)])
    tensors = {e.filename.rpartition("/")[2]: e.file_size for e in entries if e.filename.split("/")[-2] == "data"}
    return stream.read(pickle.file_size), tensors


def _check_directory(entries: list[zipfile.ZipInfo], size: int) -> zipfile.ZipInfo:
    """The entries are those that torch writes: no other names, none twice, none compressed, none beyond the file."""
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise AssetFileError(f"the container has {len(entries)} entries, expected 1 to {MAX_ENTRIES}; {REBAKE}")
    names, total, folders, pickle = set(), 0, set(), None
    for entry in entries:
        name, match = entry.filename, _ENTRY.match(entry.filename)
        if not match or entry.orig_filename != name:
            raise AssetFileError(f"its entry {entry.orig_filename[:80]!r} is not one that torch writes; this is not an asset file")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & ~_FLAGS:
            raise AssetFileError(f"its entry {name!r} is compressed or encrypted, which torch does not do; {REBAKE}")
        if entry.extra and (len(entry.extra) > 28 or entry.extra[:2] != b"\x01\x00" or entry.extra[2] != len(entry.extra) - 4):
            raise AssetFileError(f"its entry {name!r} has additions that torch does not write; {REBAKE}")
        if name in names:
            raise AssetFileError(f"its entry {name!r} occurs twice; {REBAKE}")
        names.add(name)
        folders.add(match[1])
        total += entry.file_size
        limit = MAX_PICKLE if match[2] == "data.pkl" else size if match[2].startswith("data/") else MAX_NOTE
        if entry.file_size > limit:
            raise AssetFileError(f"its entry {name!r} takes {entry.file_size} bytes, more than {limit}; {REBAKE}")
        if match[2] == "data.pkl":
            pickle = entry
    if total > size:
        raise AssetFileError(f"its entries claim {total} bytes, the file has {size}; {REBAKE}")
    if len(folders) != 1 or pickle is None:
        raise AssetFileError(f"its container is not one that torch wrote; {REBAKE}")
    return pickle


def _check_layout(stream: BinaryIO, entries: list[zipfile.ZipInfo], size: int) -> list[int]:
    """Entries side by side from the first byte on, one directory after them, its end record last; where each one's data begins."""
    begin = _check_end(stream, len(entries), size)
    places, end = {}, 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        stream.seek(entry.header_offset)
        magic, _, flags, method, _, _, _, _, _, name, extra = _LOCAL.unpack(stream.read(_LOCAL.size))
        same = stream.read(name) == entry.orig_filename.encode("ascii")
        if magic != b"PK\x03\x04" or not same or method or flags != entry.flag_bits:
            raise AssetFileError(f"its entry {entry.filename!r} is not what the directory says; {REBAKE}")
        if not end <= entry.header_offset <= end + _DESCRIPTOR or (not end and entry.header_offset):
            raise AssetFileError(f"its entry {entry.filename!r} does not lie beside the others; {REBAKE}")
        places[entry.filename] = entry.header_offset + _LOCAL.size + name + extra
        end = places[entry.filename] + entry.file_size
    if not end <= begin <= end + _DESCRIPTOR:
        raise AssetFileError(f"its directory does not follow its entries; {REBAKE}")
    return [places[entry.filename] for entry in entries]


def _check_end(stream: BinaryIO, count: int, size: int) -> int:
    """The end records say one thing to every reader; returns where the directory begins."""
    stream.seek(size - _END.size)
    magic, disk, start, here, total, length, begin, comment = _END.unpack(stream.read(_END.size))
    sound = magic == b"PK\x05\x06" and not (disk or start or comment)
    end = size - _END.size
    stream.seek(max(end - _LOCATOR.size, 0))
    locator = stream.read(_LOCATOR.size)
    if locator[:4] == b"PK\x06\x07":
        end -= _LOCATOR.size + _END64.size
        _, disk, place, disks = _LOCATOR.unpack(locator)
        stream.seek(end)
        magic, rest, _, _, disk64, start, here64, total64, length64, begin64 = _END64.unpack(stream.read(_END64.size))
        sound &= magic == b"PK\x06\x06" and place == end and rest == _END64.size - 12 and not (disk or disk64 or start) and disks <= 1
        both = ((here, here64, 0xFFFF), (total, total64, 0xFFFF), (length, length64, 2**32 - 1), (begin, begin64, 2**32 - 1))
        sound &= all(short in (long, most) for short, long, most in both)
        here, total, length, begin = here64, total64, length64, begin64
    if not (sound and here == total == count and begin + length == end):
        raise AssetFileError(f"its directory is ambiguous, as torch does not write it; {REBAKE}")
    return begin


def _check_sum(stream: BinaryIO, entry: zipfile.ZipInfo, place: int) -> None:
    stream.seek(place)
    left, total = entry.file_size, 0
    while left:
        data = stream.read(min(CHUNK, left))
        if not data:
            raise EOFError(f"{entry.filename} is cut off")
        total, left = zlib.crc32(data, total), left - len(data)
    if total != entry.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {entry.filename!r}")
