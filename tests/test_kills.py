"""Nothing is lost: killed bakes resume to the same weights; failed saves keep what there is; one output has one bake."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from kills import BALL, MODEL

SCENE = """<scene version="3.0.0"><shape type="sphere" id="ball"><bsdf type="dielectric"/>
<medium type="homogeneous" name="interior"><float name="sigma_t" value="3"/></medium></shape></scene>"""


@pytest.fixture(autouse=True)
def small(monkeypatch, llvm):
    """Small models and batches."""
    from mi_neural_asset.baking import presets
    from mi_neural_asset.model.config import ModelConfig

    monkeypatch.setitem(presets.PRESETS, "preview", presets.BakeConfig(ModelConfig(**MODEL), batch=192, buffer=1024, validation=256))


def bake(out, **settings):
    import mi_neural_asset

    return mi_neural_asset.bake({"type": "scene", "ball": BALL}, out, **{"steps": 3, "progress": False, "certify": False, **settings})


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_killed_bakes_resume_to_the_same_weights(kills):
    done = subprocess.run([sys.executable, str(ROOT / "tests/kills.py"), "--kills", str(kills)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: int(value) for name, value in re.findall(r"(\w+) (\d+)\b(?!\.)", done.stdout)}
    assert found["kills"] == kills and found["compared"] >= 1 and found["different"] == found["failed"] == found["left"] == 0


def interrupted(out: Path, monkeypatch, step: int = 2, **settings) -> None:
    """Leave the checkpoint of a bake that was stopped."""
    from mi_neural_asset.baking import bake as module

    advance = module.Trainer.advance

    def stopping(self, progress):
        if self.step == step - 1:
            signal.raise_signal(signal.SIGTERM)
        return advance(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(module.Trainer, "advance", stopping)
        with pytest.raises(module.BakeInterrupted, match=f"SIGTERM at step {step}"):
            bake(out, **settings)


def test_second_bake_into_one_output_is_refused(tmp_path):
    from mi_neural_asset.baking.checkpoint import checkpoint_path
    from mi_neural_asset.files import Busy, Lock

    with Lock(checkpoint_path(tmp_path / "a.pt")):
        with pytest.raises(Busy, match=rf"another process \(process {os.getpid()}\) is writing it"):
            bake(tmp_path / "a.pt")
        bake(tmp_path / "b.pt")
    bake(tmp_path / "a.pt")
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "b.pt"]


def test_leftovers_of_killed_saves_are_removed_and_named(tmp_path, capsys):
    for name in (".a.00000000.part.pt", ".a.00000000.part.checkpoint", ".a.checkpoint.lock"):
        (tmp_path / name).write_bytes(b"half")
    bake(tmp_path / "a.pt", progress=True)
    said = capsys.readouterr().err
    assert "removed .a.00000000.part.pt, .a.00000000.part.checkpoint: left by a save that was killed" in said
    assert os.listdir(tmp_path) == ["a.pt"]


def test_checkpoint_that_is_not_resumed_is_named(tmp_path, monkeypatch, capsys):
    interrupted(tmp_path / "a.pt", monkeypatch)
    bake(tmp_path / "a.pt", progress=True)
    assert "a.checkpoint of an unfinished bake will be replaced; to continue that, stop now and resume" in capsys.readouterr().err


@pytest.fixture
def full_disk(monkeypatch):
    """No file can grow beyond a few bytes while this is called with True."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def switch(full: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100 if full else before, hard))

    yield switch
    switch(False)


def test_bake_goes_on_where_a_checkpoint_cannot_be_written(tmp_path, monkeypatch, full_disk, capfd):
    from mi_neural_asset.baking import bake as module

    whole = bake(None)
    bake(tmp_path / "a.pt", seed=1)
    monkeypatch.setattr(module, "CHECKPOINT_INTERVAL", -1.0)
    finish = module.Bake._finish

    def finish_on_a_free_disk(self, figures):
        full_disk(False)
        return finish(self, figures)

    monkeypatch.setattr(module.Bake, "_finish", finish_on_a_free_disk)
    monkeypatch.setattr(module.Progress, "say", lambda self, text: said.append(text))
    optimise = module.Bake._optimise
    monkeypatch.setattr(module.Bake, "_optimise", lambda self, log: (full_disk(True), optimise(self, log)))
    said: list[str] = []
    asset = bake(tmp_path / "a.pt")
    assert all(torch.equal(asset.weights[name], value) for name, value in whole.weights.items())
    assert sum("the bake goes on; no checkpoint" in text and "File too large" in text for text in said) == 3
    assert os.listdir(tmp_path) == ["a.pt"]


def test_asset_that_cannot_be_written_leaves_old_file_and_checkpoint(tmp_path, monkeypatch, full_disk):
    from mi_neural_asset.baking import bake as module

    out = tmp_path / "a.pt"
    bake(out, seed=1)
    old = out.read_bytes()
    save = module.NeuralAsset.save

    def save_on_a_full_disk(self, path):
        full_disk(True)
        try:
            save(self, path)
        finally:
            full_disk(False)

    with monkeypatch.context() as patch:
        patch.setattr(module.NeuralAsset, "save", save_on_a_full_disk)
        message = r"a\.pt was not written \(File too large\); the file that was there is whole; the state of step 3 is kept in .*checkpoint"
        with pytest.raises(module.BakeError, match=message):
            bake(out)
    assert out.read_bytes() == old and sorted(os.listdir(tmp_path)) == ["a.checkpoint", "a.pt"]
    resumed, whole = bake(out, resume=True), bake(None)
    assert all(torch.equal(resumed.weights[name], value) for name, value in whole.weights.items())


DIFFERENCES = {
    "seed": ({"seed": 1}, r"seed: the checkpoint has 0, this bake 1"),
    "configuration": ({"coordinates": "paper"}, r"config\.model\.coordinates: the checkpoint has 'local', this bake 'paper'"),
    "steps": ({"steps": 4}, r"config\.steps: the checkpoint has 3, this bake 4"),
    "budget": ({"steps": None, "minutes": 1.0}, r"config\.steps|minutes: the checkpoint has None, this bake 1\.0"),
}


def test_checkpoint_of_another_bake_is_refused_with_the_difference(tmp_path, monkeypatch):
    import mi_neural_asset
    from mi_neural_asset.baking import bake as module
    from mi_neural_asset.baking.checkpoint import CheckpointError

    out = tmp_path / "a.pt"
    interrupted(out, monkeypatch)
    kept = (tmp_path / "a.checkpoint").read_bytes()
    for change, message in DIFFERENCES.values():
        with pytest.raises(CheckpointError, match=message):
            bake(out, resume=True, **change)
    scene = {"type": "scene", "ball": {**BALL, "interior": {**BALL["interior"], "sigma_t": 4.0}}}
    with pytest.raises(CheckpointError, match=r"scene\.medium \S+: the checkpoint has '\w{16}', this bake '\w{16}'"):
        mi_neural_asset.bake(scene, out, steps=3, progress=False, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(module, "__version__", "9.9")
        with pytest.raises(CheckpointError, match=r"mi_neural_asset: the checkpoint has '[\d.]+', this bake '9\.9'"):
            bake(out, resume=True)
    assert (tmp_path / "a.checkpoint").read_bytes() == kept


DAMAGE = {
    "no version": (lambda c: c.pop("version"), "has version None, expected"),
    "newer version": (lambda c: c.update(version=99), "has version 99, expected"),
    "no state": (lambda c: c.pop("state"), "state: expected a dict, got None"),
    "time": (lambda c: c.update(elapsed="long"), "elapsed: expected a float, got 'long'"),
    "part of the state": (lambda c: c["state"].pop("optimizer"), "its state does not fit this bake .*optimizer"),
    "weights": (lambda c: c["state"]["model"].update({"proxy.extent": torch.zeros(4)}), "its state does not fit this bake .*extent"),
}


def test_damaged_checkpoints_are_refused(tmp_path, monkeypatch):
    from mi_neural_asset.baking.checkpoint import CheckpointError

    path = tmp_path / "a.checkpoint"
    interrupted(tmp_path / "a.pt", monkeypatch)
    whole = path.read_bytes()
    for change, message in DAMAGE.values():
        path.write_bytes(whole)
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=f"{message}.*; (start|bake with)"):
            bake(tmp_path / "a.pt", resume=True)


def test_flipped_bits_of_a_checkpoint_are_refused(tmp_path, monkeypatch):
    """Torch alone would go on with the wrong weights."""
    from mi_neural_asset.baking.checkpoint import CheckpointError

    path = tmp_path / "a.checkpoint"
    interrupted(tmp_path / "a.pt", monkeypatch)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"data/3FB") + 200] ^= 0x10  # within the values of a tensor
    path.write_bytes(damaged)
    torch.load(path, weights_only=True)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint .*CRC"):
        bake(tmp_path / "a.pt", resume=True)


def test_other_libraries_are_said_not_refused(tmp_path, monkeypatch, capsys):
    interrupted(tmp_path / "a.pt", monkeypatch)
    content = torch.load(tmp_path / "a.checkpoint", weights_only=True)
    content["versions"]["torch"] = "1.0"
    torch.save(content, tmp_path / "a.checkpoint")
    bake(tmp_path / "a.pt", resume=True, progress=True)
    assert "the checkpoint was written with" in (said := capsys.readouterr().err) and "the result may differ in its last bits" in said


def test_exit_codes(tmp_path, monkeypatch, capsys):
    """What `mi-neural-asset bake --help` lists; 130 by a signal from outside is in test_bake.py."""
    from mi_neural_asset.baking import trainer
    from mi_neural_asset.cli import main
    from mi_neural_asset.files import Lock

    scene = tmp_path / "ball.xml"
    scene.write_text(SCENE)
    out = tmp_path / "a.pt"
    command = ["bake", str(scene), "-o", str(out), "--steps", "2", "-q", "--device", "cpu", "--no-certificate"]
    assert main(command) == 0 and out.exists()
    assert main([*command[:2], "-o", str(tmp_path / "no" / "a.pt")]) == 1 and "does not exist; make it" in capsys.readouterr().err
    assert main(["bake", str(tmp_path / "none.xml"), "-o", str(out)]) == 1 and "none.xml" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main([*command, "--minutes", "1"])
    assert caught.value.code == 2
    with Lock(tmp_path / "a.checkpoint"):
        assert main(command) == 4 and "is writing it" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "gradient_of", lambda *_: lambda *_: (torch.tensor(float("nan")), torch.zeros(())))
        assert main(command) == 3 and "diverged" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        advance = trainer.Trainer.advance
        patch.setattr(trainer.Trainer, "advance", lambda *a: (signal.raise_signal(signal.SIGINT), advance(*a))[1])
        assert main(command) == 130 and "stopped by SIGINT at step 1 in" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    with pytest.raises(SystemExit):
        main(["bake", "--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"\b{code}\s\w", text) for code in (0, 1, 2, 3, 4, 130))
