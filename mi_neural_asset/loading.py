"""Loading scenes that write `<shape type="neural_asset" weights="seal.pt"/>`.

Mitsuba's parser knows a fixed list of attributes and refuses others ("unexpected attribute "weights" in element
<shape>"), so plain `mitsuba.load_file` takes the nested form

    <shape type="neural_asset"> <string name="weights" value="seal.pt"/> </shape>

The functions here, like the `mitsuba` command, take both: the attribute is turned into the nested form, in included
files too, in a copy that differs in nothing else, so that the line numbers of error messages stay right.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .scene_xml import MAX_INCLUDE_DEPTH, Scanner, Tag, read, tags

if TYPE_CHECKING:
    import mitsuba as mi

_SHAPE = "neural_asset"
_ATTRIBUTES = ("weights",)


def load_file(path: str | os.PathLike, *, parallel: bool = True, optimize: bool = True, **parameters: Any) -> Any:
    """`mitsuba.load_file`, with `weights="..."` allowed as an attribute of `<shape type="neural_asset">`.

    Args:
        path: scene file; the relative paths in it are looked for beside it first.
        parallel, optimize: as for `mitsuba.load_file`.
        parameters: values for the scene's `$parameters`.

    Returns:
        The scene, or whatever the file's root element is.

    Raises:
        RuntimeError: Mitsuba's own errors, with its file names and line numbers.
        ValueError: a parameter has a name that Mitsuba cannot take from Python.
    """
    config = parser_config(parallel, optimize)
    return load(Path(path), {name: str(value) for name, value in parameters.items()}, config)


def load_string(xml: str, *, parallel: bool = True, optimize: bool = True, **parameters: Any) -> Any:
    """`mitsuba.load_string`, with `weights="..."` allowed as an attribute of `<shape type="neural_asset">`.

    Arguments, result and errors as for `load_file`; relative paths are resolved by Mitsuba's file resolver.
    """
    import mitsuba as mi

    config = parser_config(parallel, optimize)
    values = {name: str(value) for name, value in parameters.items()}
    with _Rewriter(dict(values)) as rewriter:
        with rewriter.original_names():
            state = mi.parser.parse_string(config, rewriter.rewrite(xml, None, 0), **_allowed(values))
            return _instantiate(config, state)


def parser_config(parallel: bool = True, optimize: bool = True) -> mi.parser.ParserConfig:
    """Parser configuration for the active variant.

    Raises:
        RuntimeError: no variant is active.
    """
    import mitsuba as mi

    if mi.variant() is None:
        raise RuntimeError('no variant is active: call mitsuba.set_variant("llvm_ad_rgb") before loading a scene')
    config = mi.parser.ParserConfig(mi.variant())
    config.parallel = parallel
    config.merge_equivalent = config.merge_meshes = optimize
    return config


def load(file: Path, parameters: dict[str, str], config: mi.parser.ParserConfig) -> Any:
    """`load_file` for parameters with any names, `parallel` for instance."""
    with parsed(file, parameters, config) as state:
        return _instantiate(config, state)


@contextmanager
def parsed(file: Path, parameters: dict[str, str], config: mi.parser.ParserConfig) -> Iterator[mi.parser.ParserState]:
    """A scene file, parsed; while this lasts, Mitsuba's file resolver knows its folder."""
    import mitsuba as mi

    before = mi.file_resolver()
    resolver = mi.FileResolver(before)
    resolver.prepend(str(file.parent))
    mi.set_file_resolver(resolver)
    try:
        with _Rewriter(dict(parameters)) as rewriter, rewriter.original_names():
            yield mi.parser.parse_file(config, str(rewriter.file(file)), **_allowed(parameters))
    finally:
        mi.set_file_resolver(before)


def _allowed(parameters: dict[str, str]) -> dict[str, str]:
    for name in ("config", "filename", "string"):  # Mitsuba's parser passes parameters as keywords beside these
        if name in parameters:
            raise ValueError(
                f'scene parameter "{name}": Mitsuba cannot take a parameter of this name from Python: rename it'
            )
    return parameters


def _instantiate(config: mi.parser.ParserConfig, state: mi.parser.ParserState) -> Any:
    import mitsuba as mi

    from .curve_ends import mend

    mi.parser.transform_all(config, state)
    loaded = mi.parser.instantiate(config, state)
    if isinstance(loaded, mi.Scene):
        mend(loaded)
    return loaded


@dataclass
class _Rewriter(Scanner):
    """Writes changed copies of the scene files that need one into a temporary folder."""

    _folder: tempfile.TemporaryDirectory | None = None
    _copies: dict[Path, Path] = field(default_factory=dict)  # file -> its copy, or itself where nothing changes
    _names: dict[str, str] = field(default_factory=dict)  # name of a copy -> name of the file

    def __enter__(self) -> _Rewriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._folder:
            self._folder.cleanup()

    def file(self, file: Path, depth: int = 0) -> Path:
        """The file, or the changed copy of it that Mitsuba can read."""
        if depth >= MAX_INCLUDE_DEPTH:
            return file
        if file.resolve() in self._copies:
            return self._copies[file.resolve()]
        self._copies[file.resolve()] = file  # what an include of a file in itself gets, for Mitsuba to refuse
        try:
            text, encoding = read(file)
        except (OSError, UnicodeError):
            return file
        changed = self.rewrite(text, file, depth)
        if changed != text:
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="mi_neural_asset_")
            copy = Path(self._folder.name) / f"{len(self._names)}_{file.name}"
            copy.write_bytes(changed.encode(encoding, "surrogateescape"))
            self._names[str(copy)] = str(file)
            self._copies[file.resolve()] = copy
        return self._copies[file.resolve()]

    def rewrite(self, text: str, file: Path | None, depth: int) -> str:
        """The text with attributes turned into nested strings; where that changes it, includes are made absolute."""
        edits, includes = [], []
        for tag in tags(text):
            self.note_default(tag)
            edits += _nested(text, tag)
            target = self.included(tag, file)
            if target:
                copy, name = self.file(target, depth + 1), tag.attributes["filename"]
                edit = (name.start, name.end, f" filename={_quote(str(copy.resolve()))}")
                (includes if copy == target else edits).append(edit)
        if not edits:
            return text
        pieces, position = [], 0
        for start, end, replacement in sorted(edits + includes):
            pieces += [text[position:start], replacement]
            position = end
        return "".join([*pieces, text[position:]])

    @contextmanager
    def original_names(self) -> Iterator[None]:
        """Put the names of the files in the place of their copies' in Mitsuba's errors."""
        try:
            yield
        except RuntimeError as error:
            message = str(error)
            for copy, name in self._names.items():
                message = message.replace(copy, name)
            if message == str(error):
                raise
            raise RuntimeError(message) from error.__cause__


def _nested(text: str, tag: Tag) -> list[tuple[int, int, str]]:
    """Edits (start, end, replacement) that turn the attributes of a neural asset into nested strings."""
    moved = [name for name in _ATTRIBUTES if name in tag.attributes]
    if tag.name != "shape" or tag.get("type") != _SHAPE or not moved:
        return []
    nested = "".join(f'<string name="{name}" value={tag.attributes[name].quoted}/>' for name in moved)
    edits = [(tag.attributes[name].start, tag.attributes[name].end, "") for name in moved]
    if tag.empty:
        return [*edits, (tag.end - 2, tag.end, f">{nested}</shape>")]
    return [*edits, (tag.end, tag.end, nested)]


def _quote(value: str) -> str:
    return '"' + value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;") + '"'
