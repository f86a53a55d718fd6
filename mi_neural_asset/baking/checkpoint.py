"""Checkpoints: the state of an unfinished bake, written atomically, read as plain tensors and values only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..asset.container import check_container
from ..files import replacing

MAGIC, VERSION = "mi_neural_asset checkpoint", 2
FIELDS = {"magic": str, "version": int, "run": dict, "versions": dict, "state": dict, "elapsed": float}
AGAIN = "start the bake without resume"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why and what to do."""


def checkpoint_path(out: str | os.PathLike) -> Path:
    """Where the checkpoint of a bake into `out` lies: seal.pt -> seal.checkpoint."""
    return Path(out).with_suffix(".checkpoint")


def save_checkpoint(path: Path, run: dict[str, Any], state: dict[str, Any], elapsed: float, versions: dict[str, str]) -> None:
    """Write a checkpoint.

    Args:
        run: what identifies the bake: configuration, seed, budget, fingerprints of the scene's parts (plain values).
        state: `Trainer.state()`.
        elapsed: seconds of baking so far.
        versions: of the libraries at work.

    Raises:
        OSError: the folder cannot be written or the disk is full; an old checkpoint stays whole.
    """
    with replacing(path) as stream:
        content = {"magic": MAGIC, "version": VERSION, "run": run, "versions": versions, "state": state, "elapsed": elapsed}
        torch.save(content, stream)


def _difference(saved: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> str | None:
    for key in sorted(saved.keys() | wanted.keys()):
        a, b = saved.get(key), wanted.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            if inner := _difference(a, b, f"{prefix}{key}."):
                return inner
        elif a != b:
            return f"{prefix}{key}: the checkpoint has {a!r}, this bake {b!r}"
    return None


def load_checkpoint(path: str | os.PathLike, run: dict[str, Any]) -> tuple[dict[str, Any], float, dict[str, str]]:
    """(trainer state, seconds so far, versions at work then) of a checkpoint that belongs to this bake.

    Raises:
        FileNotFoundError: there is none.
        CheckpointError: it is damaged, of another version, or of another bake; the difference is named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; {AGAIN}")
    try:
        with open(path, "rb") as stream:
            check_container(stream, os.fstat(stream.fileno()).st_size)  # checksums: torch would read wrong weights
            stream.seek(0)
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:
        text = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"{path}: cannot be read as a checkpoint ({text}); {AGAIN}") from error
    if not isinstance(content, dict) or content.get("magic") != MAGIC:
        raise CheckpointError(f"{path}: is not a checkpoint of mi_neural_asset; {AGAIN}")
    if content.get("version") != VERSION:
        raise CheckpointError(f"{path}: has version {content.get('version')!r}, expected {VERSION}; bake with the version that wrote it")
    for name, kind in FIELDS.items():
        if type(content.get(name)) is not kind:
            raise CheckpointError(f"{path}: {name}: expected a {kind.__name__}, got {content.get(name)!r:.80}; {AGAIN}")
    if difference := _difference({"processes": 1, **content["run"]}, run):
        raise CheckpointError(f"{path}: belongs to another bake ({difference}); use the same options, or start without resume")
    return content["state"], content["elapsed"], content["versions"]


def to_continue(own: Path | None, resume: str | os.PathLike | bool | None, restarted: bool) -> Path | None:
    """The checkpoint that a bake goes on from: the one that is asked for, or, in processes that were started again, its own.

    Args:
        own: where the bake's own lies, whether or not it exists; None: the bake has no output.
        resume: a path, or True for the bake's own.

    Raises:
        ValueError: its own is asked for, and there is no output.
    """
    if restarted and own and own.exists():
        return own
    if resume is True and own is None:
        raise ValueError("bake: resume=True needs an output file, whose checkpoint it continues")
    return own if resume is True else Path(resume) if resume else None


def make_way(own: Path, restartable: bool) -> list[str]:
    """A bake begins that does not continue its checkpoint; returns what is to be said of one that is there.

    Processes that can be started again must not take it for their own then: for them it gets another name.
    """
    if not own.exists():
        return []
    if not restartable:
        return [f"{own} of an unfinished bake will be replaced; to continue that, stop now and resume"]
    os.replace(own, aside := own.with_suffix(".old.checkpoint"))
    return [f"{own} of an unfinished bake is now {aside}; to continue that, stop now and resume it"]
