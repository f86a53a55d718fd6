"""Reading scene files as text: their start tags, `$parameters` and includes.

Mitsuba's parser is the judge of a scene file.  This scanner only finds start tags, in one pass over the text, so that
a file can be looked at, or changed in one place, with all else left as it is.  No entity is expanded but XML's own
five and character references; what the scanner cannot read, it leaves to Mitsuba to report.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_INCLUDE_DEPTH = 15  # Mitsuba's own limit

_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_ENTITY = re.compile(r"&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(lt|gt|amp|quot|apos));")
_NAME = re.compile(r"[^\s/>]+")
_ATTRIBUTE = re.compile(r"""\s*([^\s=/>"']+)\s*=\s*("[^"]*"|'[^']*')""")
_STOP = re.compile(r"[\"'>]")
_DOCTYPE_STOP = re.compile(r"[\"'\[\]>]")


@dataclass(frozen=True)
class Attribute:
    """One attribute: `quoted` as in the file, with its quotes; `start` and `end` span it and the space before it."""

    quoted: str
    start: int
    end: int

    @property
    def value(self) -> str:
        """The value, with XML's own entities and character references replaced."""
        return _ENTITY.sub(_character, self.quoted[1:-1])


@dataclass(frozen=True)
class Tag:
    """A start tag (`<name ...>` or `<name .../>`) and where it stands in the text."""

    name: str
    start: int
    end: int
    empty: bool
    attributes: dict[str, Attribute]

    def get(self, name: str) -> str:
        """Value of an attribute, `""` where it is missing."""
        return self.attributes[name].value if name in self.attributes else ""


def tags(text: str) -> Iterator[Tag]:
    """Start tags of an XML text in order; ends early where the text is not well-formed. Linear in the text's length."""
    position = text.find("<")
    while position >= 0:
        end = _markup_end(text, position)
        if end < 0:
            return
        if text[position + 1] not in "/!?":
            yield _tag(text, position, end)
        position = text.find("<", end)


def _markup_end(text: str, start: int) -> int:
    """Index after the markup that begins at `start` (tag, comment, CDATA, declaration); -1 where it has no end."""
    for opening, closing in (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")):
        if text.startswith(opening, start):
            end = text.find(closing, start + len(opening))
            return end + len(closing) if end >= 0 else -1
    stop, depth, position = (_DOCTYPE_STOP if text.startswith("<!", start) else _STOP), 0, start
    while match := stop.search(text, position):
        position = match.end()
        if match[0] in "\"'":
            position = text.find(match[0], position) + 1
            if position == 0:
                return -1
        elif match[0] in "[]":
            depth += 1 if match[0] == "[" else -1
        elif depth == 0:
            return position
    return -1


def _tag(text: str, start: int, end: int) -> Tag:
    name = _NAME.match(text, start + 1, end)
    attributes, position = {}, name.end() if name else end
    while match := _ATTRIBUTE.match(text, position, end):
        attributes.setdefault(match[1], Attribute(match[2], match.start(), match.end()))
        position = match.end()
    return Tag(name[0] if name else "", start, end, text[end - 2] == "/", attributes)


def _character(match: re.Match[str]) -> str:
    if match[3]:
        return _ENTITIES[match[3]]
    code = int(match[1], 16) if match[1] else int(match[2])
    return chr(code) if code <= 0x10FFFF else match[0]


def read(path: str | os.PathLike) -> tuple[str, str]:
    """Text of a file, and the encoding that turns it back into the same bytes.

    Raises:
        OSError: the file cannot be read.
    """
    data = Path(path).read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    return data.decode(encoding, "surrogateescape"), encoding


def expand(value: str, parameters: dict[str, str]) -> str:
    """Replace each `$name` by its parameter, longer names first, as Mitsuba does."""
    if "$" in value:
        for name in sorted(parameters, key=len, reverse=True):
            value = value.replace(f"${name}", parameters[name])
    return value


@dataclass
class Scanner:
    """Walks a scene file and its includes in document order, keeping track of `<default>` values.

    Attributes:
        parameters: parameters given by the user; defaults are added as they are met.
        search: folders where includes are looked for after that of the including file.
    """

    parameters: dict[str, str] = field(default_factory=dict)
    search: tuple[str, ...] = (".",)

    def note_default(self, tag: Tag) -> None:
        """Take the value of a `<default>` tag, unless the parameter has one."""
        if tag.name == "default":
            self.parameters.setdefault(tag.get("name"), tag.get("value"))

    def included(self, tag: Tag, file: Path | None) -> Path | None:
        """The file that an `<include>` of `file` names (`None`: of a string); `None` for other tags or no such file."""
        if tag.name != "include":
            return None
        name = expand(tag.get("filename"), self.parameters)
        for folder in ([file.parent] if file else []) + [Path(folder) for folder in self.search]:
            if name and (folder / name).is_file():
                return folder / name
        return None

    def walk(self, file: Path) -> Iterator[Tag]:
        """Start tags of a file and, after an `<include>`, of the included file. Each file is read once."""
        yield from self._walk(file, set(), 0)

    def _walk(self, file: Path, seen: set[Path], depth: int) -> Iterator[Tag]:
        if depth >= MAX_INCLUDE_DEPTH or file.resolve() in seen:
            return
        seen.add(file.resolve())
        try:
            text, _ = read(file)
        except (OSError, UnicodeError):
            return
        for tag in tags(text):
            self.note_default(tag)
            yield tag
            target = self.included(tag, file)
            if target:
                yield from self._walk(target, seen, depth + 1)
