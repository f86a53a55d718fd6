"""Scene files and dicts, through Mitsuba's own parser, to descriptions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

from . import curves, embed, readback
from .description import Description
from .vocabulary import ANALYTIC, CURVES, MESH_PLUGINS, DescriptionError

GEOMETRY_ONLY = ("filename", "face_normals", "flip_normals", "flip_tex_coords", "shape_index", "to_world")
HINTS = {
    "neural_asset": "an asset cannot be baked from assets; bake the scene behind it, or leave it out with `only`",
    "instance": "list the instanced shapes themselves, each with its own to_world",
    "shapegroup": "list the instanced shapes themselves, each with its own to_world",
    "merge": "list its shapes one by one",
}


def parse_file(path: str | os.PathLike, params: dict[str, Any]) -> tuple[mi.parser.ParserState, Callable[[str], str]]:
    """Parse an XML file: (state, function that finds the files it names)."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"scene file {str(path)!r} {what}; give the path of a Mitsuba scene (.xml)")
    config = _config()
    state = mi.parser.parse_file(config, str(path), **{key: str(value) for key, value in params.items()})
    return _resolved(config, state), _finder(path.absolute().parent)


def parse_dict(scene: dict[str, Any]) -> tuple[mi.parser.ParserState, Callable[[str], str]]:
    """Parse a dict as for `mi.load_dict`; NumPy arrays may stand where it takes tensors."""
    config = _config()
    return _resolved(config, mi.parser.parse_dict(config, _with_tensors(scene))), _finder(None)


def _config() -> mi.parser.ParserConfig:
    config = mi.parser.ParserConfig(mi.variant())
    config.merge_meshes = config.merge_equivalent = False  # shapes keep their names
    return config


def _resolved(config: mi.parser.ParserConfig, state: mi.parser.ParserState) -> mi.parser.ParserState:
    mi.parser.transform_upgrade(config, state)
    mi.parser.transform_resolve(config, state)
    return state


def _with_tensors(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _with_tensors(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.ndim >= 3:
        return mi.TensorXf(np.ascontiguousarray(value, dtype=np.float32))
    return value


def _finder(folder: Path | None) -> Callable[[str], str]:
    """Where Mitsuba would look for a file: beside the scene, then along its own search path."""

    def find(name: str) -> str:
        path = Path(name)
        if folder is not None and not path.is_absolute() and (folder / path).exists():
            return str(folder / path)
        path = Path(str(mi.file_resolver().resolve(name)))
        if not path.is_file():
            beside = f" beside the scene in {folder}" if folder else ""
            raise FileNotFoundError(f"file {name!r} does not exist (looked{beside} and along mitsuba.file_resolver())")
        return str(path)

    return find


def describe_nodes(state: mi.parser.ParserState, find: Callable[[str], str], only: Sequence[str] | None) -> Description:
    """The description of a parsed scene, or of a parsed shape."""
    return _Reader(state, find).describe(only)


class _Reader:
    def __init__(self, state: mi.parser.ParserState, find: Callable[[str], str]) -> None:
        self.nodes, self.find = state.nodes, find
        self.place = lambda node: mi.parser.file_location(state, node)
        self._trees: dict[int, dict[str, Any]] = {}
        self._media: list[tuple[Any, str]] = []
        self.media: dict[str, dict[str, Any]] = {}

    def describe(self, only: Sequence[str] | None) -> Description:
        root = self.nodes[0] if self.nodes[0].type == mi.ObjectType.Shape else self._root()
        candidates = list(self._shapes(root))
        chosen, notes = select(candidates, self._is_lamp, only)
        return Description([self._shape(name, shape) for name, shape in chosen], self.media, notes)

    def _root(self) -> mi.parser.SceneNode:
        for node in self.nodes:
            if node.props.plugin_name() == "scene":
                return node
        raise DescriptionError(
            f"the root is a {self.nodes[0].props.plugin_name()!r}, not a scene or a shape; give a whole scene"
        )

    def _shapes(self, root: mi.parser.SceneNode) -> Iterable[tuple[str, Any]]:
        if root.type == mi.ObjectType.Shape:
            yield root.props.id() or root.props.plugin_name(), root
            return
        for _, value in _children(root.props):
            if isinstance(value, mi.Shape):
                yield value.id() or "shape", value
            elif isinstance(value, mi.Properties.ResolvedReference):
                node = self.nodes[value.index()]
                if node.type == mi.ObjectType.Shape:
                    yield node.props.id() or node.props.plugin_name(), node

    def _is_lamp(self, shape: Any) -> bool:  # noqa: ANN401
        if isinstance(shape, mi.Shape):
            return shape.is_emitter()
        return any(self._type_of(value) == mi.ObjectType.Emitter for _, value in _children(shape.props))

    def _type_of(self, value: Any) -> mi.ObjectType | None:  # noqa: ANN401
        if isinstance(value, mi.Properties.ResolvedReference):
            return self.nodes[value.index()].type
        for cls, kind in (
            (mi.BSDF, mi.ObjectType.BSDF),
            (mi.Medium, mi.ObjectType.Medium),
            (mi.Emitter, mi.ObjectType.Emitter),
        ):
            if isinstance(value, cls):
                return kind
        return None

    def _shape(self, name: str, shape: Any) -> dict[str, Any]:  # noqa: ANN401
        if isinstance(shape, mi.Shape):
            return readback.shape(name, shape, self._medium)
        plugin, props = shape.props.plugin_name(), shape.props
        if plugin not in (*ANALYTIC, *MESH_PLUGINS, *CURVES):
            hint = HINTS.get(
                plugin, f"what can be baked: {', '.join((*MESH_PLUGINS, *ANALYTIC, *CURVES))}; convert it to a mesh (PLY)"
            )
            raise DescriptionError(f"shape {name!r} of type {plugin!r} ({self.place(shape)}) cannot be baked: {hint}")
        bsdf, interior, exterior, lamp = None, None, None, False
        for key, value in _children(props):
            kind = self._type_of(value)
            if kind == mi.ObjectType.BSDF:
                bsdf = self._tree_of(value, f"{name}.{key}")
            elif kind == mi.ObjectType.Medium and key in ("interior", "exterior"):
                medium = self._medium(value)
                interior, exterior = (medium, exterior) if key == "interior" else (interior, medium)
            elif kind == mi.ObjectType.Emitter:
                lamp = True
            elif kind != mi.ObjectType.Sensor:
                raise DescriptionError(f"shape {name!r} ({self.place(shape)}): cannot describe its child {key!r}")
        if bsdf is None:  # as Mitsuba's own default: lamps reflect nothing
            bsdf = {"type": "diffuse", "reflectance": 0.0} if lamp else {"type": "diffuse"}
        geometry = self._geometry(name, plugin, props)
        return {"id": name, "geometry": geometry, "bsdf": bsdf, "interior": interior, "exterior": exterior}

    def _geometry(self, name: str, plugin: str, props: mi.Properties) -> dict[str, Any]:
        plain = {key: embed.value(props[key]) for key in props.keys() if not embed.is_child(props[key])}  # noqa: SIM118
        if plugin in ANALYTIC:
            identity = {"type": "transform", "matrix": np.eye(4).tolist()}
            matrix = plain.pop("to_world", identity)["matrix"]
            flip = plain.pop("flip_normals", False)
            plain.pop("silhouette_sampling_weight", None)
            return {"type": plugin, "to_world": matrix, "flip_normals": flip, **plain}
        wanted = {key: props[key] for key in GEOMETRY_ONLY if key in props}
        if "filename" in wanted:
            wanted["filename"] = self.find(wanted["filename"])
        shape = mi.load_dict({"type": plugin, **wanted}, parallel=False)
        return curves.geometry(shape, name) if plugin in CURVES else embed.mesh(shape, name)

    def _medium(self, value: Any) -> str:  # noqa: ANN401
        """Name of a medium, which is described when it is first met."""
        reference = isinstance(value, mi.Properties.ResolvedReference)
        for known, name in self._media:
            if type(known) is type(value) and (known.index() == value.index() if reference else known == value):
                return name
        wish = self.nodes[value.index()].props.id() if reference else value.id()
        name = unique(wish if wish and not wish.startswith("_") else "medium", self.media)
        self._media.append((value, name))
        self.media[name] = self._tree_of(value, name)
        return name

    def _tree_of(self, value: Any, where: str) -> dict[str, Any]:  # noqa: ANN401
        if not isinstance(value, mi.Properties.ResolvedReference):
            return readback.tree(value, where)
        index = value.index()
        if index not in self._trees:
            self._trees[index] = self._tree(self.nodes[index], where)
        return self._trees[index]

    def _tree(self, node: mi.parser.SceneNode, where: str) -> dict[str, Any]:
        plugin, props = node.props.plugin_name(), node.props
        name = f"{plugin} {props.id()!r}" if props.id() else f"{plugin} of {where}"
        if plugin == "bitmap":
            return embed.bitmap(props, self.find, name)
        if plugin == "gridvolume":
            return embed.gridvolume(props, self.find, name)
        tree: dict[str, Any] = {"type": plugin}
        for key in props.keys():  # noqa: SIM118
            value = props[key]
            slot = key.replace("_arg_", "nested_") if key.startswith("_arg_") else key
            if key == "filename":
                raise DescriptionError(
                    f"{name} ({self.place(node)}) reads a file; only bitmap and gridvolume can be embedded"
                )
            child = isinstance(value, (mi.Properties.ResolvedReference, mi.Object))
            tree[slot] = self._tree_of(value, f"{where}.{slot}") if child else embed.value(value)
        return tree


def _children(props: mi.Properties) -> Iterable[tuple[str, Any]]:
    return [(key, props[key]) for key in props.keys() if embed.is_child(props[key])]  # noqa: SIM118


def unique(wish: str, taken: Iterable[str]) -> str:
    """`wish`, or `wish_2`, `wish_3`, ... if it is taken."""
    name, number = wish, 1
    while name in taken:
        number += 1
        name = f"{wish}_{number}"
    return name


def select(
    candidates: Sequence[tuple[str, Any]], is_lamp: Callable[[Any], bool], only: Sequence[str] | None
) -> tuple[list[tuple[str, Any]], tuple[tuple[str, str], ...]]:
    """(shapes to bake with unique names, notes): all but the lamps, unless `only` names them."""
    named: dict[str, Any] = {}
    for wish, shape in candidates:
        named[unique(wish if wish and not wish.startswith("_arg") else "shape", named)] = shape
    if only is not None:
        if missing := [name for name in only if name not in named]:
            have = ", ".join(map(repr, named)) or "no shapes"
            raise DescriptionError(f"only: no shape is called {missing[0]!r}; the scene has {have}")
        chosen = [(name, shape) for name, shape in named.items() if name in set(only)]
        if not chosen:
            raise DescriptionError("only: is empty; name at least one shape, or leave it out to take all")
        dark = "Shape {!r} is a lamp: its emitter is left out, because an asset does not shine."
        return chosen, tuple((name, dark.format(name)) for name, shape in chosen if is_lamp(shape))
    lamps = [name for name, shape in named.items() if is_lamp(shape)]
    chosen = [(name, shape) for name, shape in named.items() if name not in lamps]
    if not chosen:
        what = (
            f" but lamps ({', '.join(lamps)}); name one in `only` to bake it" if lamps else "; add those of the asset"
        )
        raise DescriptionError(f"the scene holds no shapes{what}")
    return chosen, tuple((name, f"Shape {name!r} is a lamp and is left out of the asset.") for name in lamps)
