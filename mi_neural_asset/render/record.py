"""What a picture was made with, kept in its file: samples, seeds and a fingerprint of the scene.

It is the header's text attribute `mi_neural_asset`, a JSON object. By it independent renders of one scene can be merged.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import mitsuba as mi

from ..images import write

ATTRIBUTE, FORMAT = "mi_neural_asset", 1
CHUNK = 1 << 24  # bytes of a file at once


class RecordError(ValueError):
    """A picture that does not say how it was made; the message says what to do."""


@dataclass(frozen=True)
class Record:
    """How a picture was made.

    Attributes:
        samples: per pixel.
        seeds: of the renders in it, each once.
        scene: see `fingerprint`.
    """

    samples: int
    seeds: tuple[int, ...]
    scene: str

    def write(self, path: str | os.PathLike, bitmap: mi.Bitmap) -> None:
        """Write a picture, as EXR, with this record.

        Raises:
            ValueError: the name does not end in `.exr`.
            OSError: the file cannot be written; an old one stays whole.
        """
        check_name(path)
        values = {"format": FORMAT, "samples": self.samples, "seeds": list(self.seeds), "scene": self.scene}
        bitmap.metadata()[ATTRIBUTE] = json.dumps(values)
        write(path, bitmap)

    @classmethod
    def of(cls, path: str | os.PathLike, bitmap: mi.Bitmap) -> Record:
        """The record of a picture that was read from `path`.

        Raises:
            RecordError: there is none, or it makes no sense.
        """
        metadata = bitmap.metadata()
        if ATTRIBUTE not in metadata:
            raise RecordError(f"{path}: does not say with which samples and seeds it was made; mi-neural-asset render writes that")
        try:
            values = json.loads(metadata[ATTRIBUTE])
            record = cls(values["samples"], tuple(values["seeds"]), values["scene"])
            sound = values["format"] == FORMAT and type(record.samples) is int and record.samples > 0 and type(record.scene) is str
            sound &= bool(record.seeds) and all(type(seed) is int for seed in record.seeds)
        except (KeyError, RecursionError, TypeError, ValueError):
            sound = False
        if not sound:
            raise RecordError(f"{path}: its attribute {ATTRIBUTE} is not what this version writes; render it again")
        return record


def check_name(path: str | os.PathLike) -> None:
    """Raises ValueError where a picture of this name could not keep its record."""
    if Path(path).suffix.lower() != ".exr":
        raise ValueError(f"{path}: only EXR files keep samples and seeds; choose a name that ends in .exr")


def fingerprint(state: mi.parser.ParserState) -> str:
    """SHA-256 of what a parsed scene shows: its plugins, their properties, and the content of the files that they name.

    Numbers of samples are left out, and so are names and places of files.  The state is used up.
    """
    resolver = mi.file_resolver()
    for node in state.nodes:
        if node.type == mi.ObjectType.Sampler and "sample_count" in node.props:
            del node.props["sample_count"]
        for name in node.props.keys():  # noqa: SIM118 -- Properties are no dict
            if node.props.type(name) == mi.Properties.Type.String and (file := Path(str(resolver.resolve(node.props[name])))).is_file():
                node.props[name] = f"sha256 {_digest(file)}"
    return hashlib.sha256(mi.parser.write_string(state).encode()).hexdigest()


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
