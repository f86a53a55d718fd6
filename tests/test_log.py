"""The log of a bake: every line is JSON, the figures are those of the bake, and a log that cannot be written stops nothing."""

import json
import sys
import types
from pathlib import Path

import pytest
from test_bake import SMALL, bake, marble, same, tiny_preset  # noqa: F401 (fixtures)

from mi_neural_asset import cli


def lines(path: Path) -> list[dict]:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_lines_tell_what_the_bake_did(marble: dict, tmp_path: Path) -> None:  # noqa: F811
    log, out = tmp_path / "bake.jsonl", tmp_path / "a.pt"
    asset = bake(marble, out, steps=15, log=log, log_interval=4, seed=5)
    assert same(asset, bake(marble, steps=15, seed=5))  # a log changes nothing
    first, *middle, last = lines(log)
    assert first["event"] == "start" and first["seed"] == 5 and first["config"]["steps"] == 15 and first["step"] == 0
    assert {"mitsuba", "torch", "variant", "device", "mi_neural_asset"} <= set(first) and "shape ball" in first["scene"]
    steps = [line for line in middle if line["event"] == "step"]
    assert [line["step"] for line in steps] == [4, 8, 12, 15]
    seconds = [line["seconds"] for line in steps]
    assert seconds == sorted(seconds) and seconds[-1] == pytest.approx(asset.provenance["seconds"], abs=0.06)
    for line in steps:
        assert line["fraction"] == pytest.approx(line["step"] / 15) and set(line["loss"]) == {"flow", "albedo"}
        assert set(line["learning_rate"]) == {"adam", "muon"} and line["paths_per_second"] > 0 and line["rows_per_second"] > 0
    # warm-up: the rate of step k (from 0) is (k + 1) / 50 of a cosine that has hardly begun
    assert steps[0]["learning_rate"]["adam"] == pytest.approx(4e-3 * 4 / 50, rel=0.1)
    assert steps[-1]["counts"] == {k: v for k, v in asset.provenance["paths"].items() if k != "mean_events"}
    (validation,) = (line for line in middle if line["event"] == "validation")
    assert {k: validation[k] for k in ("nll", "albedo_ratio")} == {k: asset.provenance["validation"][k] for k in ("nll", "albedo_ratio")}
    assert last["event"] == "end" and last["status"] == "done" and last["step"] == 15 and last["asset"] == str(out)


def test_resumed_bake_goes_on_in_its_log(marble: dict, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    from mi_neural_asset.baking import bake as module

    log, out, advance = tmp_path / "bake.jsonl", tmp_path / "a.pt", module.Trainer.advance

    def stopping(self, progress: float):
        if self.step == 7:
            raise KeyboardInterrupt
        return advance(self, progress)

    monkeypatch.setattr(module, "CHECKPOINT_INTERVAL", -1.0)  # after every step
    with monkeypatch.context() as patch:
        patch.setattr(module.Trainer, "advance", stopping)
        with pytest.raises(KeyboardInterrupt):
            bake(marble, out, steps=9, log=log, log_interval=2)
    assert lines(log)[-1]["status"] == "interrupted" and lines(log)[-1]["step"] == 7
    with open(log, "a") as stream:
        stream.write('{"event": "st')  # a kill within a line
    bake(marble, out, steps=9, log=log, log_interval=2, resume=True)
    text = log.read_text().splitlines()
    whole = [json.loads(line) for line in text if line != '{"event": "st']
    assert len(whole) == len(text) - 1
    assert [line["step"] for line in whole if line["event"] == "step"] == [2, 4, 6, 8, 9]
    assert [line["step"] for line in whole if line["event"] == "start"] == [0, 7]
    bake(marble, out, steps=2, log=log)
    assert [line["event"] for line in lines(log)] == ["start", "step", "validation", "end"]  # a new bake, a new log


def test_full_disk_ends_the_log_not_the_bake(marble: dict, tmp_path: Path, capsys) -> None:  # noqa: F811
    import mi_neural_asset

    full = Path("/dev/full")
    assert full.exists()
    asset = mi_neural_asset.bake(marble, tmp_path / "a.pt", steps=4, log=full, log_interval=1, certify=False, **SMALL)
    assert asset.provenance["steps"] == 4
    assert capsys.readouterr().err.count("the log /dev/full ends here: No space left on device; the bake goes on") == 1


def test_wrong_uses_are_named(marble: dict, tmp_path: Path, monkeypatch, capsys) -> None:  # noqa: F811
    with pytest.raises(OSError, match=r"the log .*none/bake.jsonl cannot be written: No such file or directory; choose another file"):
        bake(marble, steps=2, log=tmp_path / "none" / "bake.jsonl")
    with pytest.raises(ValueError, match="log_interval must be at least 1 step, got 0"):
        bake(marble, steps=2, log=tmp_path / "bake.jsonl", log_interval=0)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where it is not installed
    scene = tmp_path / "ball.xml"
    scene.write_text('<scene version="3.0.0"><shape type="sphere"><bsdf type="diffuse"/></shape></scene>')
    assert cli.main(["bake", str(scene), "-o", str(tmp_path / "a.pt"), "--steps", "2", "-q", "--tensorboard", str(tmp_path / "tb")]) == 1
    assert "pip install tensorboard" in capsys.readouterr().err


def test_curves_go_to_tensorboard(marble: dict, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    """Against the interface of torch's SummaryWriter, which needs the package tensorboard itself."""
    written: dict[tuple[str, int], float] = {}

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            written["folder"] = folder

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written[name, step] = value

        def flush(self) -> None:
            pass

        def close(self) -> None:
            written["closed"] = True

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    log = tmp_path / "bake.jsonl"
    bake(marble, steps=4, tensorboard=tmp_path / "tb", log=log, log_interval=2)
    assert written["folder"] == str(tmp_path / "tb") and written["closed"]
    for line in lines(log):
        if line["event"] == "step":
            assert written["step/loss/flow", line["step"]] == line["loss"]["flow"]
            assert written["step/learning_rate/muon", line["step"]] == line["learning_rate"]["muon"]
        if line["event"] == "validation":
            assert written["validation/albedo_ratio/2", line["step"]] == line["albedo_ratio"][2]
