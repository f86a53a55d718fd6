"""Hostile asset files: a seeded run, and the files that once did harm, made anew from recipes of a few lines."""

from __future__ import annotations

import copy
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from fuzz.__main__ import main, results, table
from fuzz.mutations import KINDS, _call, _instructions, _int, _pickle, _with_pickle, container, mutant
from fuzz.sample import pack, sample

from mi_neural_asset.asset.asset import NeuralAsset
from mi_neural_asset.asset.values import AssetFileError


@pytest.mark.parametrize("files", [200, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_hostile_files(files):
    """Each is refused with a clear error, or sound: in bounded time and memory, writing and running nothing."""
    found = list(results(seed=0, files=files))
    assert [r["index"] for r in found] == list(range(files))
    assert not [r for r in found if r["verdict"] == "defect"], table(found)
    accepted = {r["kind"] for r in found if r["verdict"] == "accepted"}
    assert "harmless" in accepted and len({r["kind"] for r in found} - accepted) > 5
    assert all(r["verdict"] == "accepted" for r in found if r["kind"] == "harmless")


def test_mutants_are_the_same_again():
    first, second = ([mutant(3, k, sample()) for k in range(len(KINDS))] for _ in range(2))
    assert first == second and [name for name, _ in first] == list(KINDS)
    assert [data for _, data in first] != [mutant(4, k, sample())[1] for k in range(len(KINDS))]


def test_harness_sees_crashes_and_hangs(monkeypatch, capsys):
    """The check above can fail: a process that dies, one that hangs and one that writes are defects, and the run goes on."""
    from fuzz import __main__ as harness

    program = """if True:
        import json, os, sys, time
        for index in range(int(sys.argv[1]), int(sys.argv[2])):
            print(json.dumps({"index": index, "kind": "test"}), flush=True)
            if index == 1:
                os.kill(os.getpid(), 11)
            if index == 3:
                time.sleep(60)
            print(json.dumps({"verdict": "accepted", "message": "", "seconds": 0.0, "growth": 0, "bytes": 1}), flush=True)
        """
    popen = harness.subprocess.Popen
    monkeypatch.setattr(harness.subprocess, "Popen", lambda c, **k: popen([c[0], "-c", program, *c[4:]], **k))
    monkeypatch.setattr(harness, "HANG", 1.5)
    monkeypatch.setattr("sys.argv", ["fuzz", "--files", "5"])
    assert main() == 1
    text = capsys.readouterr().out
    assert "DEFECT test, index 1: the process ended with -11" in text and "DEFECT test, index 3: no word" in text
    assert "all                          5         3         0         2" in text


def test_harness_sees_what_a_file_does(tmp_path):
    """Code that writes, runs a command, takes long or much memory, or fails without a clear error is a defect."""
    code = """if True:
        import json, os, sys, time
        from pathlib import Path
        from fuzz import check
        check.reset_peak()
        sys.addaudithook(check._audit)
        verdicts = []
        def spin():
            end = time.process_time() + 1.2
            while time.process_time() < end:
                pass
        for act in (lambda: open("owned", "w"), lambda: os.system("true"), lambda: [0] * (3 * 10**7), spin, lambda: 1 / 0):
            check.judge = lambda path, act=act: (act() and None) or ("accepted", "")
            try:
                verdicts.append(check.examine(b"x", Path(sys.argv[1])))
            except ZeroDivisionError:
                verdicts.append({"verdict": "defect", "message": "raised"})
        print(json.dumps(verdicts))
        """
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment
    )
    verdicts = json.loads(done.stdout)
    assert all(v["verdict"] == "defect" for v in verdicts), verdicts
    for verdict, words in zip(verdicts, ("files changed", "os.system", "MiB", " s (", "raised"), strict=True):
        assert words in verdict["message"], verdict


# -- corpus ---------------------------------------------------------------------------------------------------------


def changed(path: str, value) -> bytes:
    """The sample with one field replaced, 'boundary/shapes/0/id'; a callable changes what is there."""
    content = copy.deepcopy(sample().content)
    *parents, last = path.split("/")
    holder = content
    for key in parents:
        holder = holder[int(key)] if isinstance(holder, list) else holder[key]
    last = int(last) if isinstance(holder, list) else last
    holder[last] = value(holder[last]) if callable(value) else value
    return pack(content)


def inserted(instruction: bytes) -> bytes:
    """Instructions in the place of a note's value."""
    whole = sample()
    steps = _instructions(_pickle(whole))
    place = next(k for k, step in enumerate(steps) if step.endswith(b"seed")) + 2  # after the name and its memo
    steps[place] = instruction
    return _with_pickle(whole, b"".join(steps))


def unfolding(tree: dict, levels: int, width: int) -> dict:
    for _ in range(levels):
        tree = {"type": "blendbsdf", **{f"nested_{k}": tree for k in range(width)}}
    return tree


def two_directories() -> bytes:
    """Python reads the last directory, others might read the one in the comment."""
    plain = container(sample().entries)
    other = plain[plain.index(b"PK\x01\x02") :]
    return plain[:-2] + struct.pack("<H", len(other)) + other


def zip64_elsewhere() -> bytes:
    """The locator of the large directory points to another place than Python looks at."""
    data = bytearray(sample().data)
    place = data.rindex(b"PK\x06\x07")
    struct.pack_into("<Q", data, place + 8, 0)
    return bytes(data)


def expanded(shape: tuple) -> torch.Tensor:
    return torch.ones(1).expand(shape)


def many_meshes() -> bytes:
    mesh = {**sample().content["boundary"]["shapes"][0]["geometry"], "vertices": torch.rand(20_000, 3), "normals": None, "texcoords": None}
    mesh["attributes"] = {}
    return changed("boundary/shapes", lambda old: [{**old[0], "id": str(k), "geometry": mesh} for k in range(1000)])


GIGABYTES = {"triplane": 1024, "cubemap": 512, "features": 64, "width": 1024, "depth": 16}
BALL, MESH = "boundary/shapes/1", "boundary/shapes/0"
CORPUS = {
    # torch alone would: fill 100 GB, make a set, resize a tensor's memory, follow 2^30 references, read wrong weights
    "bytearray": (lambda: inserted(_call("builtins bytearray", _int(10**11))), r"provenance\.seed: holds more.*bytearray"),
    "set": (lambda: inserted(_call("builtins set", b"]")), r"provenance\.seed: holds more.*builtins\.set"),
    "command": (lambda: inserted(_call("posix system", b"X\x04\x00\x00\x00true")), r"provenance\.seed: holds more.*posix\.system"),
    "long number": (lambda: inserted(b"\x8a\xff" + b"\x7f" * 255), r"provenance\.seed: .*a number of 255 bytes"),
    "endless text": (lambda: inserted(b"X\xff\xff\xff\x7f"), "the structure is damaged.*cut off"),
    "far memo": (lambda: inserted(b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff"), "the structure is damaged"),
    "marks": (lambda: inserted(b"(" * 10_000), "nested too deeply"),
    "many values": (lambda: inserted(b"](" + b"}" * 300_000 + b"e"), "more than 250000 instructions"),
    "build": (lambda: inserted(b"N}b"), "holds more than tensors and plain values"),
    "cyclic notes": (lambda: inserted(b"]r\x00\x01\x01\x00j\x00\x01\x01\x00a"), r"provenance\.seed\[0\]: contains itself"),
    "storage claims": (
        lambda: _with_pickle(sample(), _pickle(sample()).replace(b"K\x0ctq", _int(2**33) + b"tq", 1)),
        r": takes \d+ bytes, its record .* has 48",
    ),
    "unfolding tree": (lambda: changed(f"{BALL}/bsdf", unfolding({"type": "diffuse"}, 14, 10)), "too many values|more than 1000 plugins"),
    "wide tree": (lambda: changed(f"{BALL}/bsdf", unfolding({"type": "diffuse"}, 11, 2)), r"shapes\[1\]\.bsdf.*more than 1000 plugins"),
    "one mesh a thousand times": (many_meshes, r"boundary: refers to the same values so often that they would take \d+ MiB"),
    "gigabytes of weights": (lambda: changed("config", lambda c: {**c, **GIGABYTES}), r"weights\.\S+: is missing"),
    "gigabytes from one value": (
        lambda: changed("weights/position_grid.table", expanded((48, 10))), r"weights\.position_grid\.table: expected a dense, contiguous",
    ),
    "gigabytes of vertices": (lambda: changed(f"{MESH}/geometry/vertices", expanded((2**30, 3))), r"geometry\.vertices: expected a dense"),
    "too wide": (lambda: changed("config/width", 10**9), r"config: ModelConfig\.width: expected 1 to 1024"),
    # errors that were none
    "huge number": (lambda: changed("scale", 10**400), r"scale: .*a number of 167 bytes"),
    "beyond single precision": (lambda: changed("center/1", 1e300), r"center\[1\]: expected a finite number, got 1e\+300"),
    "tiny scale": (lambda: changed("scale", 1e-300), r"scale: expected a number from 1e-18"),
    "type is a tensor": (lambda: changed(f"{BALL}/bsdf/type", torch.zeros(3)), r"bsdf\.type: expected one of .*got float32 \[3\]"),
    "type is a list": (lambda: changed(f"{BALL}/geometry/type", ["sphere"]), r"geometry\.type: expected mesh"),
    "shape called type": (lambda: changed(f"{BALL}/id", "type"), r"shapes\[1\]\.id: expected a unique name without '\.'"),
    "shape called ../../x": (lambda: changed(f"{BALL}/id", "../../x"), r"shapes\[1\]\.id: expected a unique name without '\.'"),
    "text of a terminal": (lambda: changed(f"{BALL}/bsdf/int_ior", "\x1b[2J"), r"int_ior: expected a short string.*'\\x1b\[2J'"),
    "key of a terminal": (lambda: changed(BALL, lambda b: {**b, "\x1b]0;x\x07": 1}), r"shapes\[1\]: unknown field '\\x1b\]0;x\\x07'"),
    "entity": (lambda: changed(f"{BALL}/bsdf/int_ior", "<!DOCTYPE x [<!ENTITY e SYSTEM 'x'>]>"), "int_ior: expected a short string"),
    "half a character": (lambda: changed("units", "\ud800"), "the structure is damaged"),
    # containers that two readers could understand differently
    "two directories": (two_directories, "its directory is ambiguous"),
    "zip64 elsewhere": (zip64_elsewhere, "its directory is ambiguous|is cut off or damaged"),
    "data in front": (lambda: b"#!/bin/sh\n" + container(sample().entries), "does not lie beside|ambiguous|damaged|is not an asset"),
    "data between": (lambda: container([*sample().entries, ("archive/data/x", b"")]), "'archive/data/x' is not one that torch writes"),
    "number with zeros": (lambda: container([*sample().entries, ("archive/data/00", b"")]), "'archive/data/00' is not one that torch"),
    "too many entries": (
        lambda: container([*sample().entries, *((f"archive/data/{k}", b"") for k in range(1000, 21_100))]), "has 201\\d\\d entries",
    ),
    "bomb": (
        lambda: container([(n, bytes(2**24) if n.endswith("/0") else d) for n, d in sample().entries], zipfile.ZIP_DEFLATED),
        "is compressed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(name, tmp_path):
    make, message = CORPUS[name]
    (tmp_path / "a.pt").write_bytes(make())
    with pytest.raises(AssetFileError, match=message) as caught:
        NeuralAsset.load(tmp_path / "a.pt")
    assert str(caught.value).isprintable()


def test_texts_of_an_asset_cannot_act_on_a_terminal(tmp_path, capsys):
    from mi_neural_asset.asset import info

    (tmp_path / "a.pt").write_bytes(changed("provenance/versions", {"x\x1b[2J": "\x1b]0;owned\x07\nkind  fake\u202e"}))
    assert info.main(tmp_path / "a.pt") == 0
    text = capsys.readouterr().out
    assert "\\x1b]0;owned\\x07\\nkind  fake\\u202e" in text and text.replace("\n", "").isprintable()


def test_shape_that_mitsuba_refuses_is_named(llvm, tmp_path):
    from mi_neural_asset.asset.vocabulary import DescriptionError

    (tmp_path / "a.pt").write_bytes(changed(f"{BALL}/bsdf/int_ior", "treacle"))
    with pytest.raises(DescriptionError, match="shape 'ball': Mitsuba refuses its bsdf .*treacle.*bake it again"):
        NeuralAsset.load(tmp_path / "a.pt").boundary_scene()


def test_sample_is_sound():
    whole = sample()
    assert container(whole.entries) and torch.load(io.BytesIO(whole.data), weights_only=True)["magic"] == whole.content["magic"]
