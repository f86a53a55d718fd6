"""Files that are no assets, and containers that torch did not write: refused, by name, before anything in them is run."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from examples import equal, refused

from mi_neural_asset.asset.asset import load
from mi_neural_asset.asset.schema import AssetFileError

# -- files that are no assets ---------------------------------------------------------------------------------------


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.pt.*does not exist.*bake it with"):
        load(tmp_path / "a.pt")
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not an asset file"),
        (b"<scene/>" * 30, "is not an asset file"),
    ],
)
def test_other_files(tmp_path, data, match):
    (tmp_path / "a.pt").write_bytes(data)
    refused(tmp_path / "a.pt", match)


def test_foreign_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("word/document.xml", "x")
    refused(tmp_path / "a.pt", "entry 'word/document.xml' is not one that torch writes")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"weight": torch.zeros(3)}, "magic: this is not a neural asset; it is a plain torch state dict"),
        ({"magic": "mi_neural_asset checkpoint"}, "magic:.*checkpoint of an unfinished bake"),
        ([1, 2], "magic: this is not a neural asset"),
        (torch.zeros(3), "magic: this is not a neural asset"),
    ],
)
def test_foreign_torch_files(tmp_path, content, match):
    torch.save(content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", match)


class Evil:
    def __reduce__(self):
        return os.system, ("echo owned > owned.txt",)


def test_code_in_a_file_is_not_run(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**content, "provenance": Evil()}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"provenance: holds more than tensors and plain values, so it is not opened \(posix\.system\)")
    assert not (tmp_path / "owned.txt").exists()


def test_old_torch_format_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "a.pt", "is not an asset file")


def test_truncated_at_every_length(asset, tmp_path):
    asset.save(tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    for length in np.linspace(1, len(data) - 1, 60).astype(int):
        (tmp_path / "b.pt").write_bytes(data[:length])
        refused(tmp_path / "b.pt", "is cut off or damaged|is not an asset file")


def test_flipped_bits_never_give_another_asset(asset, tmp_path):
    """Flipped bytes: an error, or the very same asset (padding).  Torch alone would read wrong weights."""
    asset.save(tmp_path / "a.pt")
    data = bytearray((tmp_path / "a.pt").read_bytes())
    generator = np.random.default_rng(0)
    errors = 0
    for position in generator.integers(0, len(data), 150):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        (tmp_path / "b.pt").write_bytes(damaged)
        try:
            equal(load(tmp_path / "b.pt").to_content(), asset.to_content())
        except AssetFileError:
            errors += 1
    assert errors > 75


# -- containers -----------------------------------------------------------------------------------------------------


def repack(source, target, change, compression=zipfile.ZIP_STORED):
    """Copy a zip file; `change(name, data)` gives the (name, data) pairs that replace an entry."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            for name, data in change(entry.filename, old.read(entry.filename)):
                new.writestr(name, data)


def test_repacking_alone_is_harmless(saved, tmp_path, asset):
    repack(saved, tmp_path / "b.pt", lambda name, data: [(name, data)])
    equal(load(tmp_path / "b.pt").to_content(), asset.to_content())


def test_compressed_entries_are_refused(saved, tmp_path):
    repack(saved, tmp_path / "b.pt", lambda name, data: [(name, data)], zipfile.ZIP_DEFLATED)
    refused(tmp_path / "b.pt", "is compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_entries_are_refused(saved, tmp_path):
    repack(saved, tmp_path / "b.pt", lambda name, data: [(name, data)] * (1 + name.endswith("data.pkl")))
    refused(tmp_path / "b.pt", "occurs twice")


@pytest.mark.parametrize(
    "name", ["../evil", "archive/../../evil", "/etc/passwd", "archive/data/../0", "archive/code/x.py", "other/data/0"]
)
def test_paths_and_strange_entries_are_refused(saved, tmp_path, name):
    extra = [(name, b"x")]
    repack(
        saved,
        tmp_path / "b.pt",
        lambda n, data: [(n, data), *(extra if n.endswith("version") and "format" not in n else [])],
    )
    refused(tmp_path / "b.pt", "not one that torch")


def test_records_shorter_than_their_tensors_are_refused(saved, tmp_path):
    repack(saved, tmp_path / "b.pt", lambda name, data: [(name, data[:-4] if name.endswith("data/0") else data)])
    refused(tmp_path / "b.pt", r"\w: takes \d+ bytes, its record in the container has \d+")


def test_unused_records_are_refused(saved, tmp_path):
    def change(name, data):
        return [(name, data), *([(name.split("/")[0] + "/data/999", bytes(64))] if name.endswith("data/0") else [])]

    repack(saved, tmp_path / "b.pt", change)
    refused(tmp_path / "b.pt", "the tensors do not take the record data/999")


def test_container_check_needs_no_torch_load(saved, monkeypatch):
    """A container that torch did not write never reaches torch."""
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("reached torch.load"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
        archive.writestr("archive/evil", b"x")
    saved.write_bytes(stream.getvalue())
    refused(saved, "not one that torch writes")
