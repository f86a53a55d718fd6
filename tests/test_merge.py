"""Pictures say how they were made, and merge where they are independent renders of one scene."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

SCENE = """<scene version="3.0.0"> <!-- {comment} --> <default name="integrator" value="path"/> <default name="spp" value="4"/>
<integrator type="$integrator"/> <sensor type="perspective"> <film type="hdrfilm"> <integer name="width" value="6"/>
<integer name="height" value="4"/> </film> <sampler type="independent"> <integer name="sample_count" value="$spp"/> </sampler> </sensor>
<shape type="ply"> <string name="filename" value="{mesh}"/> </shape> <emitter type="constant"/> </scene>"""
MESH = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
element face 1
property list int int vertex_index
end_header
-1 -1 5
1 -1 5
0 {y} 5
3 0 1 2
"""


def picture(mi, path: Path, value: float = 1.0, shape: tuple = (4, 6, 3), **record) -> Path:  # noqa: ANN001, ANN003
    """A grey picture with a record."""
    from mi_neural_asset.render.record import Record

    made = {"samples": 4, "seeds": (0,), "scene": "abc", **record}
    Record(**made).write(path, mi.Bitmap(np.full(shape, value, np.float32)))
    return path


def test_pictures_are_weighted_by_samples(llvm, tmp_path: Path) -> None:  # noqa: ANN001
    from mi_neural_asset.render.merge import merge
    from mi_neural_asset.render.record import Record

    a = picture(llvm, tmp_path / "a.exr", 1.0, samples=1)
    b = picture(llvm, tmp_path / "b.exr", 5.0, samples=3, seeds=(7, 2))
    c = picture(llvm, tmp_path / "c.exr", 0.0, samples=4, seeds=(1,))
    assert merge([a, b], tmp_path / "ab.exr") == Record(4, (0, 2, 7), "abc")
    assert merge([tmp_path / "ab.exr", c], c) == Record(8, (0, 1, 2, 7), "abc")  # into one of them, in two steps
    for path, value in ((tmp_path / "ab.exr", 4.0), (c, 2.0)):
        bitmap = llvm.Bitmap(str(path))
        assert (np.asarray(bitmap) == value).all() and np.asarray(bitmap).shape == (4, 6, 3)
    assert Record.of(c, llvm.Bitmap(str(c))) == Record(8, (0, 1, 2, 7), "abc")
    assert not any(".part" in name for name in os.listdir(tmp_path))


def test_what_cannot_be_merged_is_refused(llvm, tmp_path: Path) -> None:  # noqa: ANN001
    from mi_neural_asset.render.merge import merge

    a, out = picture(llvm, tmp_path / "a.exr"), tmp_path / "out.exr"
    for message, record in (
        ("share the seed 0: their noise is the same", {"seeds": (3, 0)}),
        ("different sizes: 6 x 4 and 4 x 6", {"seeds": (1,), "shape": (6, 4, 3)}),
        ("different channels: R, G, B and R, G, B, A", {"seeds": (1,), "shape": (4, 6, 4)}),
        (r"different scenes \(SHA-256\): abc and def", {"seeds": (1,), "scene": "def"}),
    ):
        with pytest.raises(ValueError, match=message):
            merge([a, picture(llvm, tmp_path / "b.exr", **record)], out)
    with pytest.raises(ValueError, match="two pictures or more"):
        merge([a], out)
    with pytest.raises(ValueError, match="share the seed 0"):
        merge([a, a], out)
    with pytest.raises(ValueError, match="ends in .exr"):
        merge([a, picture(llvm, tmp_path / "b.exr", seeds=(1,))], tmp_path / "out.png")
    with pytest.raises(RuntimeError, match="none.exr"):
        merge([a, tmp_path / "none.exr"], out)
    assert not out.exists()


def test_pictures_without_a_record_are_refused(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.render.record import ATTRIBUTE, Record, RecordError

    sound = {"format": 1, "samples": 4, "seeds": [1], "scene": "abc"}
    wrong = {"format": 2, "samples": 0, "seeds": [], "scene": None}, {"samples": "4", "seeds": 1}, {"samples": True, "seeds": ["1"]}
    texts = ["", "[]", "3", "{}", "[" * 100_000, *(json.dumps(sound | {key: bad[key]}) for bad in wrong for key in bad)]
    bitmap = llvm.Bitmap(np.ones((2, 2, 3), np.float32))
    with pytest.raises(RecordError, match="a.exr: does not say with which samples and seeds"):
        Record.of("a.exr", bitmap)
    for text in texts:
        bitmap.metadata()[ATTRIBUTE] = text
        with pytest.raises(RecordError, match="a.exr: its attribute mi_neural_asset is not what this version writes"):
            Record.of("a.exr", bitmap)
    bitmap.metadata()[ATTRIBUTE] = json.dumps(sound)
    assert Record.of("a.exr", bitmap) == Record(4, (1,), "abc")


def test_fingerprint_is_of_what_is_shown(llvm, tmp_path: Path) -> None:  # noqa: ANN001
    from mi_neural_asset.render.render import render

    def fingerprint(folder: str, mesh: str = "a.ply", y: float = 1.0, comment: str = "", **params: object) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / mesh).write_text(MESH.format(y=y))
        scene = tmp_path / folder / "scene.xml"
        scene.write_text(SCENE.format(mesh=mesh, comment=comment))
        return render(scene, tmp_path / "out.exr", spp=1, params=params, progress=False).scene

    one = fingerprint("one")
    assert fingerprint("two", mesh="b.ply", comment="the same elsewhere") == one == fingerprint("one", spp=64)
    assert one not in (moved := fingerprint("one", y=2.0), fingerprint("one", integrator="direct")) and moved == fingerprint("two", y=2.0)


def test_render_command(llvm, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    """Numbers of samples, seeds and errors of the command; light tracing, which films do not normalise, too."""
    from mi_neural_asset.cli import main

    scene = tmp_path / "scene.xml"
    (tmp_path / "a.ply").write_text(MESH.format(y=1))
    scene.write_text(SCENE.format(mesh="a.ply", comment=""))
    out = str(tmp_path / "a.exr")
    assert main(["render", str(scene), "-o", out, "-D", "spp=16", "--seed", "5"]) == 0
    assert "16 samples per pixel, seeds 5" in capsys.readouterr().out
    assert main(["render", str(scene), "-o", str(tmp_path / "b.exr"), "--spp", "2"]) == 0
    assert main(["merge", out, str(tmp_path / "b.exr"), "-o", str(tmp_path / "c.exr")]) == 0
    assert "18 samples per pixel, 2 seeds" in capsys.readouterr().out
    for words, message in (
        (["--spp", "-1"], "must not be negative"),
        (["--seed", "4294967296"], "must be from 0 to 4294967295"),
        (["-o", str(tmp_path / "a.png")], "ends in .exr"),
        (["-D", "integrator=nonsense"], "nonsense"),
    ):
        assert main(["render", str(scene), "-o", out, *words]) == 1
        assert message in capsys.readouterr().err
    llvm.set_variant("llvm_ad_rgb")


def test_samples_are_shared_out(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.distributed import Processes
    from mi_neural_asset.render.render import _share

    sampler = llvm.load_dict({"type": "independent", "sample_count": 11})
    assert [_share(sampler, 0, Processes(rank, 3)) for rank in range(3)] == [4, 4, 3] and sampler.sample_count() == 11
    assert [_share(sampler, 3, Processes(rank, 3)) for rank in range(3)] == [1, 1, 1]
    with pytest.raises(ValueError, match="3 processes cannot share 2 samples per pixel; give --spp 3 or more"):
        _share(sampler, 2, Processes(0, 3))
    stratified = llvm.load_dict({"type": "stratified"})
    assert [_share(stratified, 10, Processes(rank, 2)) for rank in range(2)] == [9, 9]  # rounded up to squares
