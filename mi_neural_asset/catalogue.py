"""`mi-neural-asset scenes`: list the scenes that come along, and write them.

The seal lies in the folder `scenes`; all others are made by scenes/generators, in seconds.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from . import layout

_PACKAGE = "mi_neural_asset.scene_generators"
_SEAL = "carved jade seal: homogeneous, smooth dielectric boundary, 50 events a path"
_COMPOSITION = "two candles, milk and dragon in one scene; takes the weights files as parameters"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("scenes", help="list the scenes that come along, or write them")
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenes to list or write (default: all)")
    parser.add_argument("--write", metavar="DIR", help="write their files into a folder, which is made if need be")
    parser.set_defaults(run=run, needs_mitsuba=False)


def run(options: argparse.Namespace) -> int:
    """List or write; returns the exit code."""
    titles = scenes()
    names = chosen(options.names)
    if options.write is None:
        for name in names:
            print(f"{name:<12} {titles[name]}")
        return 0
    for name in names:
        files = write(name, options.write)
        print(f"{name:<12} {len(files)} files, {sum(file.stat().st_size for file in files) / 2**20:.1f} MiB")
    print(f"in {options.write}: NAME.xml (to bake), NAME_lit.xml, NAME_lit_reference.xml")
    return 0


def scenes() -> dict[str, str]:
    """What each scene is, by name."""
    return {"seal": _SEAL, **_module("").SCENES, "composition": _COMPOSITION}


def chosen(names: Sequence[str]) -> list[str]:
    """The scenes called so; all without names.

    Raises:
        ValueError: there is no such scene.
    """
    known = scenes()
    for name in names:
        if name not in known:
            raise ValueError(f"no scene is called {name!r}; there are {', '.join(known)}")
    return list(dict.fromkeys(names)) or list(known)


def generate(name: str) -> Any:  # noqa: ANN401
    """The `Asset` that a generator makes: shapes as XML, and the files that they name.

    Raises:
        ImportError: the generator needs a library of the extra `scenes`; the message names it.
    """
    try:
        return _module(name).make()
    except ModuleNotFoundError as error:
        raise ImportError(f"the scene {name!r} needs {error.name}: pip install 'mi-neural-asset[scenes]'") from error


def write(name: str, folder: str | os.PathLike) -> list[Path]:
    """Write the files of a scene, and the lights that all share, into a folder; returns their paths.

    Raises:
        ValueError: there is no such scene.
        OSError: the folder cannot be written.
    """
    (name,) = chosen([name])
    folder = Path(folder)
    (folder / "lit").mkdir(parents=True, exist_ok=True)
    own = layout.folder("scenes")
    files = {f"lit/{file.name}": file.read_bytes() for file in sorted((own / "lit").glob("*.xml"))}
    if name == "seal":
        files |= {file.name: file.read_bytes() for file in sorted(own.glob("seal*")) if file.is_file()}
    elif name == "composition":
        composition = _module("composition")
        assets = {part: generate(part) for part in composition.PARTS}
        for part, asset in assets.items():
            files |= _scene_files(part, asset)
        files |= composition.scene_files(assets)
    else:
        files |= _scene_files(name, generate(name))
    for file, content in files.items():
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [folder / file for file in files]


def _scene_files(name: str, asset: Any) -> dict[str, Any]:  # noqa: ANN401
    return _module("writing").scene_files(name, scenes()[name], asset)


def _module(name: str) -> ModuleType:
    """A module of scenes/generators, or the package itself."""
    if _PACKAGE not in sys.modules:
        place = layout.folder("scenes") / "generators"
        spec = importlib.util.spec_from_file_location(_PACKAGE, place / "__init__.py", submodule_search_locations=[str(place)])
        package = importlib.util.module_from_spec(spec)
        sys.modules[_PACKAGE] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{_PACKAGE}.{name}") if name else sys.modules[_PACKAGE]
