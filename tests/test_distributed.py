"""Several processes bake and render as one; they stop together, and start again by themselves."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from ranks import SEED, SPP, STEPS

from mi_neural_asset.distributed import ALONE, VARIABLES, Mismatch, Processes, from_environment

SCENE = """<scene version="3.0.0"> <integrator type="path"/> <sensor type="perspective">
<transform name="to_world"> <lookat origin="0, 0, 4" target="0, 0, 0" up="0, 1, 0"/> </transform>
<film type="hdrfilm"> <integer name="width" value="12"/> <integer name="height" value="8"/> <rfilter type="box"/> </film> </sensor>
<shape type="sphere"> <bsdf type="dielectric"/> <medium type="homogeneous" name="interior"/> </shape> <emitter type="constant"/> </scene>
"""


def torchrun(processes: int, *words: str, restarts: int = 0) -> subprocess.Popen:
    """`torchrun` with one of our tests' programs."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["--max-restarts", str(restarts), str(ROOT / "tests/ranks.py"), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_equal_one(llvm, size: int, tmp_path: Path) -> None:  # noqa: ANN001
    (tmp_path / "scene.xml").write_text(SCENE)
    process = torchrun(size, str(tmp_path))
    said = process.communicate(timeout=280)[0]
    assert process.returncode == 0, said
    ranks = [torch.load(tmp_path / f"rank_{rank}.pt") for rank in range(size)]
    one = torch.load(tmp_path / "alone.pt")
    first, others = ranks[0], ranks[1:]
    cores = len(os.sched_getaffinity(0))
    assert all(rank["threads"] == max(1, cores // size) for rank in ranks) or "OMP_NUM_THREADS" in os.environ
    # one process with the same global batch: sums in another order (measured: 4e-8 of losses, 1.5e-8 of weights)
    assert len(first["losses"]) == len(one["losses"]) == STEPS
    assert np.abs(np.subtract(first["losses"], one["losses"])).max() < 1e-6
    assert all((value - one["weights"][name]).abs().max() < 1e-6 for name, value in first["weights"].items())
    for rank in others:  # all hold the same model, and rank 0 alone counts and tells
        assert all(torch.equal(value, rank["weights"][name]) for name, value in first["weights"].items())
        assert rank["losses"] == first["losses"] and rank["paths"] is None
        assert rank["stopped"] == "SystemExit: 130" and rank["diverged"] == "SystemExit: 3"
    assert first["paths"]["paths"] % (size * -(-1024 // size)) == 0
    # all stop together, whoever is asked, and go on to the same weights
    assert re.match(r"BakeInterrupted: bake stopped by SIGTERM at step 5 in .*parts.checkpoint", first["stopped"])
    assert all(torch.equal(value, rank["resumed"][name]) for rank in ranks for name, value in first["weights"].items())
    assert re.match(r"BakeError: the optimisation diverged: loss nan at step 4 .* step 0 is kept in .*bad.checkpoint", first["diverged"])
    assert first["timed"] >= 1 and all(rank["timed"] == first["timed"] for rank in others)
    names = {"scene.xml", "whole.pt", "parts.pt", "bad.checkpoint", "timed.pt", "together.exr", "alone.pt"}
    assert {path.name for path in tmp_path.iterdir()} == names | {f"rank_{rank}.pt" for rank in range(size)}
    check_picture(llvm, tmp_path, size, first["record"])


def check_picture(mi, folder: Path, size: int, record: dict) -> None:  # noqa: ANN001
    """A render by several processes is that of each alone, merged (exactly so with a box filter)."""
    from mi_neural_asset.render.merge import merge
    from mi_neural_asset.render.render import render

    parts = []
    for rank in range(size):
        parts.append(folder / f"part_{rank}.exr")
        render(folder / "scene.xml", parts[-1], spp=SPP // size + (rank < SPP % size), seed=SEED + rank, progress=False)
    merged = merge(parts, folder / "merged.exr")
    assert vars(merged) == record and merged.samples == SPP and merged.seeds == tuple(range(SEED, SEED + size))
    ours, theirs = (np.asarray(mi.Bitmap(str(folder / name))) for name in ("together.exr", "merged.exr"))
    assert ours.shape == (8, 12, 3) and np.abs(ours - theirs).max() < 1e-6


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_worker_is_started_again(tmp_path: Path) -> None:
    """Of three processes one is killed, twice: torchrun starts them again, and they reach the weights of those that nobody killed."""
    from mi_neural_asset import load

    weights = []
    for name, kills in (("whole", 0), ("killed", 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "ball.xml").write_text(SCENE)
        process, chance = torchrun(3, str(folder), "400", restarts=kills), random.Random(kills)
        killed, workers = 0, set()
        while killed < kills and process.poll() is None:
            time.sleep(0.05)
            fresh = set(children(process.pid)) - workers
            if len(fresh) == 3 and (folder / "ball.checkpoint").exists():
                old = (folder / "ball.checkpoint").stat().st_mtime_ns
                while process.poll() is None and (folder / "ball.checkpoint").stat().st_mtime_ns == old:
                    time.sleep(0.01)  # until these workers have gone on
                with contextlib.suppress(ProcessLookupError):  # too late: too few kills will be told
                    os.kill(chance.choice(sorted(fresh)), signal.SIGKILL)
                    killed, workers = killed + 1, workers | fresh
        said = process.communicate(timeout=500)[0]
        assert process.returncode == 0 and killed == kills, said
        assert len(re.findall(r"restarted by torchrun: going on from .*checkpoint, step \d+", said)) == kills, said
        assert sorted(path.name for path in folder.iterdir()) == ["ball.pt", "ball.xml"]
        weights.append(load(folder / "ball.pt").weights)
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_stops_all(tmp_path: Path) -> None:
    (tmp_path / "ball.xml").write_text(SCENE)
    process = torchrun(2, str(tmp_path), "100000")
    while process.poll() is None and not (tmp_path / "ball.checkpoint").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=200)[0]
    assert process.returncode != 0 and said.count("mi-neural-asset") == 1, said
    assert re.search(r"mi-neural-asset: bake stopped by SIGINT at step \d+ in .*ball.checkpoint", said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ball.checkpoint", "ball.xml"]


def test_environment_is_read(monkeypatch) -> None:  # noqa: ANN001
    for name in [*VARIABLES, "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "localhost")  # says nothing by itself
    assert from_environment() is ALONE
    monkeypatch.setenv("RANK", "1")
    message = "WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_PORT: not set, though RANK or WORLD_SIZE is; start several processes by"
    with pytest.raises(ValueError, match=message):
        from_environment()
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    assert from_environment() == Processes(1, 4, 2)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert from_environment() == Processes(1, 4, 2, restarts=2, restartable=True)
    for rank, message in (("4", "RANK 4 of WORLD_SIZE 4, .* cannot be"), ("-1", "RANK: expected a number, got '-1'")):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(ValueError, match=message):
            from_environment()


@dataclass(frozen=True)
class Scripted(Processes):
    """One of two processes; what the other one says is given."""

    other: object = None

    def gather(self, value: object) -> list:
        return [self.other, value] if self.rank else [value, self.other]


def test_processes_that_differ_are_named() -> None:
    here, there = {"config": {"steps": 3}, "torch": "2.13"}, {"config.steps": 4, "torch": "2.13"}
    with pytest.raises(Mismatch, match="process 1 differs from process 0 in config.steps: 4 there, 3 here; start all with the same"):
        Scripted(0, 2, other=there).check_same(here)
    with pytest.raises(SystemExit):
        Scripted(1, 2, other=there).check_same(here)
    Scripted(0, 2, other={"config.steps": 3, "torch": "2.13"}).check_same(here)
    with pytest.raises(Mismatch, match="differs from process 0 in extra: 1 there, None here"):
        Scripted(0, 2, other={"config.steps": 3, "torch": "2.13", "extra": 1}).check_same(here)


def test_the_first_that_fails_tells() -> None:
    def fail() -> None:
        raise FileNotFoundError("no scene")

    with pytest.raises(FileNotFoundError):
        Scripted(0, 2, other=1).together(fail)
    with pytest.raises(SystemExit) as end:
        Scripted(1, 2, other=4).together(fail)
    assert end.value.code == 4  # of the first that failed
    with pytest.raises(FileNotFoundError):
        Scripted(1, 2, other=0).together(fail)
    with pytest.raises(SystemExit):
        Scripted(0, 2, other=1).together(lambda: "done")
    assert Scripted(0, 2, other=0).together(lambda: "done") == "done"


def test_shares_make_the_whole() -> None:
    from mi_neural_asset.baking.presets import PRESETS, preset

    for config in (*PRESETS.values(), preset("preview", "far_field")):
        assert config.share(1) == config
        for processes in (2, 3, 7):
            share = config.share(processes)
            assert 0 <= processes * share.batch - config.batch < 3 * processes
            assert 0 <= processes * share.buffer - config.buffer < config.group * processes


def test_checkpoint_of_another_bake_is_put_aside_where_restarts_could_take_it(tmp_path: Path) -> None:
    from mi_neural_asset.baking.checkpoint import make_way, to_continue

    own = tmp_path / "a.checkpoint"
    assert make_way(own, restartable=True) == [] and to_continue(own, None, restarted=True) is None
    own.write_bytes(b"old")
    assert "will be replaced" in make_way(own, restartable=False)[0] and own.exists()
    assert "is now" in make_way(own, restartable=True)[0] and (tmp_path / "a.old.checkpoint").read_bytes() == b"old"
    own.write_bytes(b"new")
    assert to_continue(own, None, restarted=True) == own == to_continue(own, "other", restarted=True)
    assert to_continue(own, "other", restarted=False) == Path("other") and to_continue(own, None, restarted=False) is None
    with pytest.raises(ValueError, match="needs an output file"):
        to_continue(None, True, restarted=True)
