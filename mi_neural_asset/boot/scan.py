"""Does a scene name one of our plugins?  Answered from the text of the files, without Mitsuba."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..register import PLUGINS
from ..scene_xml import Scanner, expand


def names_plugin(scenes: Iterable[str], parameters: Mapping[str, str], search: Iterable[str] = ()) -> bool:
    """Whether a parameter's value, or a tag's `type` in a scene or a file it includes, is the name of one of our
    plugins.

    Args:
        scenes: scene files; missing or unreadable ones name nothing.
        parameters: values of `$parameters`; those of `<default>` tags are found in the files.
        search: folders for includes, besides that of the including file and the working directory.
    """
    if any(value in PLUGINS for value in parameters.values()):
        return True
    for scene in scenes:
        scanner = Scanner(dict(parameters), (str(Path(scene).parent), ".", *search))
        for tag in scanner.walk(Path(scene)):
            kind = tag.get("type")
            if kind in PLUGINS or ("$" in kind and expand(kind, scanner.parameters) in PLUGINS):
                return True
    return False
