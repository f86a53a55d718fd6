"""Baking: the same seed gives the same asset, a stopped bake continues to the same weights, failures keep what there is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

SMALL = {"width": 16, "depth": 2, "knots": 6, "triplane": 16, "cubemap": 8, "line": 8, "features": 4, "albedo_width": 16}


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`preview` with small batches."""
    from mi_neural_asset.baking import presets

    small = presets.BakeConfig(batch=1536, buffer=16384, validation=8192)
    monkeypatch.setitem(presets.PRESETS, "preview", small)


@pytest.fixture
def marble(llvm) -> dict:  # noqa: ANN001
    """A ball of dense coloured medium behind a smooth dielectric."""
    return {
        "type": "scene",
        "ball": {
            "type": "sphere", "center": [1, 2, 3], "radius": 2.0, "bsdf": {"type": "dielectric", "int_ior": 1.5},
            "interior": {
                "type": "homogeneous", "albedo": {"type": "rgb", "value": [0.98, 0.9, 0.8]}, "sigma_t": 1.0, "scale": 10.0,
            },
        },
    }  # fmt: skip


def bake(scene, out=None, **settings):  # noqa: ANN001, ANN003, ANN202
    import mi_neural_asset

    return mi_neural_asset.bake(scene, out, progress=False, **{**SMALL, "certify": False, **settings})


def same(a, b) -> bool:  # noqa: ANN001
    return all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_same_seed_same_asset(marble: dict, tmp_path: Path) -> None:
    first = bake(marble, tmp_path / "a.pt", steps=6, seed=3)
    assert same(first, bake(marble, steps=6, seed=3))
    assert not same(first, bake(marble, steps=6, seed=4))
    assert first.provenance["steps"] == 6 and first.provenance["paths"]["mean_events"] > 5
    assert not (tmp_path / "a.checkpoint").exists()


def test_stopped_bake_continues_to_the_same_weights(marble: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mi_neural_asset.baking import bake as module

    whole = bake(marble, tmp_path / "whole.pt", steps=24)  # more than one generation of paths
    advance = module.Trainer.advance

    def stopping(self, progress: float):  # noqa: ANN001, ANN202
        if self.step in (3, 21) and not hasattr(self, "told"):
            self.told = os.kill(os.getpid(), signal.SIGINT)
        return advance(self, progress)

    out = tmp_path / "parts.pt"
    with monkeypatch.context() as patch:
        patch.setattr(module.Trainer, "advance", stopping)
        with pytest.raises(module.BakeInterrupted, match="SIGINT at step 4 .*parts.checkpoint"):
            bake(marble, out, steps=24)
        assert not out.exists()
        with pytest.raises(module.BakeInterrupted, match="step 22"):
            bake(marble, out, steps=24, resume=True)
    resumed = bake(marble, out, steps=24, resume=tmp_path / "parts.checkpoint")
    assert same(whole, resumed)
    assert whole.provenance["paths"] == resumed.provenance["paths"]
    assert not (tmp_path / "parts.checkpoint").exists()


def test_what_a_budget_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long bakes of the preview have more rows a step; tables are made of as many paths as the budget allows."""
    from mi_neural_asset.baking.bake import _config
    from mi_neural_asset.baking.presets import LONG_STEPS, PRESETS, BakeConfig, paths_of_tables

    monkeypatch.setitem(PRESETS, "preview", BakeConfig())

    def rows(name: str = "preview", kind: str = "transport", steps: int | None = None, minutes: float | None = None) -> int:
        return _config(name, steps, {}, kind, minutes).batch

    assert rows() == rows(minutes=8) == rows(steps=LONG_STEPS) == 8192
    assert rows(minutes=7.9) == rows(steps=LONG_STEPS - 1) == rows(kind="far_field") == rows(kind="far_field", minutes=60) == 4096
    assert rows("standard", minutes=2) == rows("standard", minutes=60) == 12288 and rows("paper") == 32768

    for steps, minutes, paths in ((None, 60, 1 << 23), (None, 6, 1 << 22), (400, None, 100 * 4096), (None, None, 1 << 23), (1, None, 1024)):
        assert paths_of_tables(_config("preview", steps, {}, "transport", minutes), minutes) == paths


def test_checkpoint_of_another_bake_is_refused(marble: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mi_neural_asset.baking import bake as module
    from mi_neural_asset.baking.checkpoint import CheckpointError

    out = tmp_path / "a.pt"
    run = module.Bake(marble, out, module._config("preview", 5, SMALL), minutes=None, seed=0, device="cpu", progress=False, only=None,
                      options=module.BakeOptions())  # fmt: skip
    run.trainer.advance(0.0)
    run.save_checkpoint()
    for change, message in (
        ({"seed": 1}, "seed: the checkpoint has 0, this bake 1"),
        ({"steps": 7}, r"config.steps: the checkpoint has 5, this bake 7"),
        ({"width": 8}, r"config.model.width: the checkpoint has 16, this bake 8"),
    ):
        with pytest.raises(CheckpointError, match=message):
            bake(marble, out, resume=True, **{"steps": 5, **change})
    (tmp_path / "a.checkpoint").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        bake(marble, out, resume=True, steps=5)
    with pytest.raises(FileNotFoundError, match="start the bake without resume"):
        bake(marble, out, resume=tmp_path / "none.checkpoint", steps=5)


def test_non_finite_loss_keeps_the_last_good_state(marble: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mi_neural_asset.baking import bake as module
    from mi_neural_asset.baking import trainer
    from mi_neural_asset.baking.gradient import gradient_of

    calls = []

    def poisoned(model, config):  # noqa: ANN001, ANN202
        gradient = gradient_of(model, config)

        def once(batch, factor):  # noqa: ANN001, ANN202
            calls.append(1)
            nll, albedo = gradient(batch, factor)
            return (nll * float("nan") if len(calls) == 7 else nll), albedo

        return once

    monkeypatch.setattr(trainer, "gradient_of", poisoned)
    monkeypatch.setattr(module, "GOOD_INTERVAL", 4)
    with pytest.raises(module.BakeError, match=r"diverged: loss nan at step 6 .*step 4 is kept in .*a\.checkpoint"):
        bake(marble, tmp_path / "a.pt", steps=10)
    kept = torch.load(tmp_path / "a.checkpoint", weights_only=True)
    assert kept["state"]["step"] == 4
    assert all(torch.isfinite(v).all() for v in kept["state"]["model"].values())


def test_failed_save_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mi_neural_asset.baking import checkpoint

    path = tmp_path / "a.checkpoint"
    checkpoint.save_checkpoint(path, {"seed": 0}, {"step": 1}, 1.0, {})
    before = path.read_bytes()

    def full(content: object, stream: object) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_checkpoint(path, {"seed": 0}, {"step": 2}, 2.0, {})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.checkpoint"]


def test_terminated_command_saves_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "ball.xml").write_text(
        '<scene version="3.0.0"><shape type="sphere"><bsdf type="dielectric"/><medium type="homogeneous" name="interior">'
        '<float name="sigma_t" value="5"/></medium></shape></scene>'
    )
    command = [sys.executable, "-m", "mi_neural_asset", "bake", str(tmp_path / "ball.xml"), "-o", str(tmp_path / "ball.pt")]
    command += ["--steps", "400"]  # ten seconds at least; more would fill larger tables first
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "step" in line:
            process.send_signal(signal.SIGTERM)
            break
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, (lines, rest)
    assert "stopped by SIGTERM" in rest and (tmp_path / "ball.checkpoint").exists() and not (tmp_path / "ball.pt").exists()


def test_saved_asset_gives_the_same_picture(marble: dict, tmp_path: Path, llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.asset.cache import remember
    from mi_neural_asset.baking.preview import preview_scene

    kept = bake(marble, steps=5)
    kept.save(tmp_path / "a.pt")
    nap_path = llvm.load_dict({"type": "nap_path"})
    # one sample per pixel and a box filter: the order in which the film adds several values depends on the threads
    pictures = [
        np.asarray(llvm.render(preview_scene(weights, list(kept.center), kept.scale, 64), spp=1, integrator=nap_path))
        for weights in (remember(kept, "kept"), str(tmp_path / "a.pt"))
    ]
    assert pictures[0].max() > 0.05 and np.isfinite(pictures[0]).all()
    assert np.array_equal(*pictures)


def test_few_dead_paths_stand_for_all(llvm) -> None:  # noqa: ANN001
    """Of a dark body under its direct lobe nearly all paths are dead: batches keep their size, and the mean throughput its value."""
    from mi_neural_asset.baking.buffer import DEAD_ROWS, thinned
    from mi_neural_asset.baking.sampler import PathSampler

    shape = {"type": "sphere", "radius": 0.5, "bsdf": {"type": "diffuse", "reflectance": 0.4}}
    pair = {"a": shape, "b": {**shape, "center": [0.9, 0, 0]}}
    paths = PathSampler(llvm.load_dict({"type": "scene", **pair}), [0.45, 0, 0], 1.0).sample(20000, 3)
    fewer, weight = thinned(paths, separate_direct=True)
    alive = (fewer.beta.amax(-1) > 0) & ~fewer.direct
    assert weight > 3 and int((~alive).sum()) == int(DEAD_ROWS * int(alive.sum()))
    stands_for = torch.where(alive, 1.0, weight)
    assert stands_for.sum().item() == pytest.approx(len(paths) - paths.invalid - paths.truncated)
    all_beta = torch.where(paths.direct[:, None], 0.0, paths.beta)
    some_beta = torch.where(fewer.direct[:, None], 0.0, fewer.beta)
    assert some_beta.sum(0).tolist() == pytest.approx(all_beta.sum(0).tolist())
    same, one = thinned(paths, separate_direct=False)  # few are dead: all are kept
    assert one == 1.0 and len(same) == len(paths) - paths.invalid - paths.truncated


def test_batches_keep_the_proportion_of_dead_paths(marble: dict) -> None:
    """Rows of a generation that fill no batch are left out of both kinds alike: else the albedo would be biased."""
    from mi_neural_asset.baking import bake as module

    run = module.Bake(marble, None, module._config("preview", 5, SMALL), minutes=None, seed=0, device="cpu", progress=False, only=None,
                      options=module.BakeOptions())  # fmt: skip
    first = run.buffer.next()
    share = (run.buffer._rows.beta.amax(-1) > 0).float().mean().item()
    batches = [first] + [run.buffer.next() for _ in range(5)]
    for batch in batches:
        assert (batch.beta[: batch.flow].amax(-1) > 0).all() and (batch.beta[batch.flow :] == 0).all()
        assert abs(batch.flow / batch.x_o.shape[0] - share) < 2 / batch.flow


def test_paths_that_are_traced_ahead_are_the_same(marble: dict) -> None:
    """Also where the bake goes back, and where others ask for paths meanwhile."""
    from mi_neural_asset.baking import bake as module
    from mi_neural_asset.baking.buffer import PathBuffer

    def run(ahead: bool) -> list[torch.Tensor]:
        config = module._config("preview", 5, SMALL)
        settings = {"minutes": None, "seed": 0, "device": "cpu", "progress": False, "only": None, "options": module.BakeOptions()}
        whole = module.Bake(marble, None, config, **settings)
        first = whole.buffer
        buffer = PathBuffer(
            first.sampler, first.make_rows, config, seed=0, reciprocal=first.reciprocal, device=torch.device("cpu"), ahead=ahead
        )  # fmt: skip
        found = []
        while buffer.generation < 2:
            found.append(buffer.next().beta)
        found.append(buffer.validation(512).beta)
        buffer.seek(0, 1)
        found.append(buffer.next().beta)
        buffer.rest()
        assert (buffer._next is not None) == ahead
        return found

    for one, other in zip(run(False), run(True), strict=True):
        assert torch.equal(one, other)


def test_short_bake_learns_albedo_and_distribution(marble: dict) -> None:
    untrained, trained = (bake(marble, steps=steps).provenance["validation"] for steps in (1, 200))
    assert trained["nll"] < untrained["nll"] - 0.2
    for ratio, error in zip(trained["albedo_ratio"], trained["albedo_error"], strict=True):
        assert abs(ratio - 1) < 0.02 + 4 * error
    assert np.isfinite(trained["ray_nll"])


def test_albedo_begins_at_the_mean_throughput(llvm, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    """Two cards that rarely light each other: nearly all paths are direct or lost, and their mean is where training begins."""
    from mi_neural_asset.baking import presets

    monkeypatch.setitem(presets.PRESETS, "preview", presets.BakeConfig(batch=384, buffer=16384, validation=8192))
    grey = {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.5, 0.2, 0.1]}}}
    turned = llvm.ScalarTransform4f().translate([0, 1, 1]).rotate([1, 0, 0], 90)
    cards = {"a": {"type": "rectangle", "bsdf": grey}, "b": {"type": "rectangle", "to_world": turned, "bsdf": grey}}
    asset = bake({"type": "scene", **cards}, steps=1)
    ratio = asset.provenance["validation"]["albedo_ratio"]
    assert all(abs(value - 1) < 0.25 for value in ratio), ratio  # from 0.97 they would be 10 to 300


def test_nap_train_bakes_when_rendered(marble: dict, tmp_path: Path, llvm, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    from mi_neural_asset.baking import presets

    monkeypatch.setitem(presets.PRESETS, "preview", presets.BakeConfig(batch=1024, buffer=1 << 16, validation=1 << 14))
    out = tmp_path / "trained.pt"
    scene = llvm.load_dict(
        {
            **marble, "sky": {"type": "constant"},
            "sensor": {
                "type": "perspective", "to_world": llvm.ScalarTransform4f().look_at([1, -10, 3], [1, 2, 3], [0, 0, 1]), "fov": 30,
                "film": {"type": "hdrfilm", "width": 24, "height": 16},
            },
            "integrator": {"type": "nap_train", "weights": str(out), "steps": 160, "progress": False, "certify": False},
        }
    )  # fmt: skip
    picture = np.asarray(llvm.render(scene, spp=64))
    assert out.is_file() and picture.shape == (16, 24, 3)
    traced = np.asarray(llvm.render(scene, integrator=llvm.load_dict({"type": "volpath", "rr_depth": 1000}), spp=256))
    assert np.allclose(picture[0, 0], 1) and np.allclose(traced[0, 0], 1)  # the sky
    ball, expected = picture[5:11, 9:15].mean((0, 1)), traced[5:11, 9:15].mean((0, 1))
    assert (np.abs(ball / expected - 1) < 0.15).all(), (ball, expected)  # a bake of seconds


def test_open_mesh_with_a_medium_is_noticed(llvm, data_dir: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    import mi_neural_asset

    shape = {"type": "ply", "filename": str(data_dir / "teapot.ply"), "bsdf": {"type": "dielectric"}, "interior": {"type": "homogeneous"}}
    mi_neural_asset.bake({"type": "scene", "pot": shape}, steps=1, certify=False, **SMALL)
    said = capsys.readouterr().err
    assert "96" in said and "pot" in said and "open" in said.lower()


def test_parameters_of_a_scene_file(tmp_path: Path, llvm) -> None:  # noqa: ANN001
    """`-D NAME=VALUE` of the command reaches the scene."""
    import argparse

    from mi_neural_asset.baking import command

    scene = tmp_path / "ball.xml"
    scene.write_text(
        '<scene version="3.0.0"><default name="r" value="1"/><shape type="sphere"><float name="radius" value="$r"/>'
        '<bsdf type="diffuse"/></shape></scene>'
    )
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["--steps", "1", "--no-separation", "--no-certificate", "-q", "-D", "r=2.5"]
    options = parser.parse_args(["bake", str(scene), "-o", str(tmp_path / "a.pt"), *words])
    assert options.params == [("r", "2.5")]
    from mi_neural_asset.asset.bounds import bounding_sphere
    from mi_neural_asset.asset.description import describe

    assert abs(bounding_sphere(describe(scene, params=dict(options.params)))[1] - 2.5) < 1e-3
    assert options.run(options) == 0
    from mi_neural_asset import load

    assert abs(load(tmp_path / "a.pt").scale - 2.5) < 1e-3
    with pytest.raises(SystemExit):
        parser.parse_args(["bake", str(scene), "-o", "a.pt", "-D", "r"])


def test_hidden_matrices_are_turned_by_muon_the_rest_by_adam(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.baking.optimizer import Optimizer
    from mi_neural_asset.model.config import ModelConfig
    from mi_neural_asset.model.transport import Transport

    torch.manual_seed(0)
    model = Transport(ModelConfig(width=16, triplane=4, cubemap=4, features=2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = Optimizer(model, rate=1e-3, matrix_rate=0.1)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    optimizer.schedule(0.5)
    optimizer.apply()
    for name, p in model.named_parameters():
        change = (p.detach() - before[name]) / 0.5
        if ".hidden." in name and name.endswith("weight"):
            # nearly orthogonal, times Muon's factor for tall matrices: its five iterations leave singular values about one
            # (.7 to 1.2, but for those of nearly singular gradients); Adam's signs would leave .1 to 4
            values = torch.linalg.svdvals(change) / (0.1 * max(1, p.shape[0] / p.shape[1]) ** 0.5)
            assert 0.6 < values.quantile(0.1) and values.max() < 1.25, name
        else:
            assert torch.allclose(change.abs(), torch.full_like(change, 1e-3), rtol=1e-3), name  # Adam's first step

    state = optimizer.state_dict()
    assert state.keys() == {"adam", "muon"}
    other = Optimizer(model, rate=1e-3, matrix_rate=0.1)
    other.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(_tensors(state), _tensors(other.state_dict()), strict=True))
    assert Optimizer(model, rate=1e-3, matrix_rate=0.0).state_dict().keys() == {"adam"}


def _tensors(state: dict) -> list:
    return [v for part in state.values() for entry in part["state"].values() for v in entry.values() if isinstance(v, torch.Tensor)]


def test_wrong_arguments_are_named(marble: dict, tmp_path: Path, llvm) -> None:  # noqa: ANN001
    import mi_neural_asset

    for settings, message in (
        ({"steps": 5, "minutes": 1}, "steps or minutes, not both"),
        ({"steps": 0}, "steps must be positive"),
        ({"preset": "fast"}, "expected one of preview, standard, paper"),
        ({"coordinates": "polar"}, "coordinates"),
        ({"out": tmp_path / "no" / "a.pt"}, "does not exist; make it"),
    ):
        with pytest.raises(ValueError, match=message):
            mi_neural_asset.bake(marble, progress=False, **settings)
    llvm.set_variant("scalar_rgb")
    with pytest.raises(ValueError, match="needs a JIT RGB variant"):
        mi_neural_asset.bake(marble, progress=False, steps=1)
    llvm.set_variant("llvm_ad_rgb")


def test_progress_estimates_the_remaining_time(capsys, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    from mi_neural_asset import progress

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress("work") as bar:
        now[0] += 30
        bar.update(0.25, "step 1")
        now[0] += 3600
        bar.update(1.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "work:  25 %  0:30, 1:30 left  step 1" and lines[1].startswith("work: 100 %  1:00:30")
    assert time.monotonic() == now[0]


def test_nap_train_takes_the_kind_of_model(llvm) -> None:  # noqa: ANN001
    integrator = llvm.load_dict({"type": "nap_train", "kind": "far_field", "weights": "a.pt", "steps": 3})
    assert integrator.settings["kind"] == "far_field" and integrator.settings["steps"] == 3


def test_rows_of_neighbours_are_neighbours() -> None:
    """An order of all points in which the next one is much nearer than any other."""
    from mi_neural_asset.baking.buffer import _along_a_curve

    points = 2 * torch.rand(4096, 3, generator=torch.Generator().manual_seed(0)) - 1
    order = _along_a_curve(points)
    assert torch.equal(order.sort().values, torch.arange(4096))
    near, far = ((p[1:] - p[:-1]).norm(dim=-1).mean() for p in (points[order], points))
    assert near < 0.15 * far
    edge = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [1.5, -2.0, 0.0]])  # on the cube and beyond
    assert _along_a_curve(edge).tolist()[0] == 1
