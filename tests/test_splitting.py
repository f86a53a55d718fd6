"""How many exits a hit gets: what a few paths tell against pictures, and pictures with a share of the hits."""

from dataclasses import replace

import drjit as dr
import numpy as np
import pytest
from oracle import random_asset, uniform_asset
from test_render import scene_of
from zstats import assert_same_mean, mean_and_error

from mi_neural_asset.render.splitting import LADDER, Splitting

RUNS, SPP = 12, 16


def told(mi, scene, **options):  # noqa: ANN001, ANN003, ANN202
    """What is measured of a scene before a render, with seed 1."""
    from mi_neural_asset.render import splitting
    from mi_neural_asset.render.instances import SceneAssets
    from mi_neural_asset.render.options import PathOptions
    from mi_neural_asset.render.passes import Passes

    with dr.suspend_grad():
        return splitting.measured(scene, SceneAssets(scene), Passes(scene.sensors()[0], SPP, None), PathOptions(**options), 1)


def pictures(mi, scene, runs: int = RUNS, seed: int = 0, **options) -> np.ndarray:  # noqa: ANN001, ANN003
    integrator = mi.load_dict({"type": "nap_path", **options})
    return np.stack([np.asarray(mi.render(scene, integrator=integrator, spp=SPP, seed=seed + k)) for k in range(runs)]).astype(np.float64)


def test_best_number_of_exits() -> None:
    """Known minima: n^2 = even rest_work / (rest exit_work) where both variance and work are sums of two."""
    found = Splitting(rest=1.0, single=4.0, even=4.0, squared=0.0, samples=1, rest_work=4.0, hit_work=0.0, exit_work=1.0)
    assert found.best() == 4 and found.variance(4) == 2 and found.work(4) == 8
    quiet = replace(found, single=1 / 16, even=1 / 16)
    assert quiet.best() == 0.5
    assert replace(quiet, squared=100.0).best() == 1  # what all exits of a pixel bring is missing where none is drawn
    assert replace(quiet, squared=100.0, samples=4).best() == 0.5  # every pixel has as many of them
    assert replace(quiet, single=1e-9, even=1e-9).best() == min(LADDER) and replace(found, rest=0.0).best() == max(LADDER)
    assert replace(found, hit_work=8.0).work(0.5) == 4 + 4 + 0.5
    even = replace(found, even=1.0, samples=8)
    assert [even.variance(n) for n in (0.125, 4, 8)] == pytest.approx([1 + 4 / 0.125, 1 + 1 / 4, 1 + 1 / 8])
    assert even.variance(0.5) == pytest.approx(1 + 4 ** (1 - np.log(4) / np.log(32)) / 0.5)


@pytest.mark.parametrize(("separate", "share"), [(True, 0.125), (False, 0.5)])
def test_a_share_of_the_hits_keeps_the_mean(llvm, separate: bool, share: float) -> None:  # noqa: ANN001
    scene = scene_of(llvm, random_asset(f"share {separate}", seed=4, separate=separate), "area", "constant")

    def mean(seed: int, exits: float) -> tuple[np.ndarray, np.ndarray]:
        values = pictures(llvm, scene, seed=seed, exits=exits)
        return mean_and_error(lambda k: values[k - seed].mean((0, 1)), RUNS, seed)

    assert_same_mean(mean(0, share), mean(100, 1), RUNS)


def test_hits_without_an_exit_are_black(llvm) -> None:  # noqa: ANN001
    """With an exit at an eighth of the hits, pixels of one ray are black or eight times as bright."""
    scene = scene_of(llvm, uniform_asset("one of eight", (0.5, 0.5, 0.5)), "constant")
    integrator = llvm.load_dict({"type": "nap_path", "exits": 0.125, "mis": False})
    picture = np.asarray(llvm.render(scene, integrator=integrator, spp=1, seed=3))[..., 0]
    lit = picture[picture > 0]
    np.testing.assert_allclose(lit, 4.0, rtol=1e-4)
    assert 10 < lit.size < 60  # of 256 rays
    assert integrator.statistics.exits == 0.125 and integrator.statistics.events == lit.size


@pytest.mark.parametrize("chosen", [(0.125, 2), pytest.param((0.5,), marks=pytest.mark.slow)], ids=str)
def test_measured_variances_are_those_of_pictures(llvm, chosen: tuple[float, ...]) -> None:  # noqa: ANN001
    """All pixels of a small picture are asked, as many samples each as it has."""
    scene = scene_of(llvm, random_asset("told", seed=7), "area")
    found = told(llvm, scene)
    for exits in chosen:
        values = pictures(llvm, scene, runs=16, seed=300, exits=exits).mean(-1)
        real = SPP * values.var(0, ddof=1).mean()
        assert found.variance(exits) == pytest.approx(real, rel=0.35), exits


def test_exits_are_few_where_something_else_is_noisy(llvm) -> None:  # noqa: ANN001
    """Asset and lamp are the same; where the boundary reflects light by itself, luck alone finds the lamp."""
    paint = {"ball": {"type": "sphere", "bsdf": {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": 0.9}}}}
    assets = [uniform_asset(f"noisy {separate}", (0.1, 0.1, 0.1), separate, boundary=paint) for separate in (True, False)]
    lamp = {"type": "sphere", "center": [0, -3, 1.5], "radius": 0.2, "emitter": {"type": "area", "radiance": 10.0}}
    few, many = (told(llvm, scene_of(llvm, asset, extra={"lamp": lamp}), mis=False) for asset in assets)
    assert many.rest == 0 < few.rest and few.best() < many.best() == max(LADDER)


def test_larger_pictures_ask_first(llvm, monkeypatch) -> None:  # noqa: ANN001
    from mi_neural_asset.render import splitting

    scene = scene_of(llvm, random_asset("asked", seed=5), "area")
    integrator = llvm.load_dict({"type": "nap_path"})

    def render() -> tuple[np.ndarray, float]:
        return np.asarray(llvm.render(scene, integrator=integrator, spp=4, seed=1)), integrator.statistics.exits

    assert render()[1] == splitting.DEEP_EXITS
    monkeypatch.setattr(splitting, "FEWEST_RAYS", 1024)
    answers = [render() for _ in range(2)]
    assert answers[0][1] == answers[1][1] == told(llvm, scene).best()
    np.testing.assert_array_equal(answers[0][0], answers[1][0])
    monkeypatch.setattr(splitting, "measured", None)  # nobody is asked
    for given, exits in (({"exits": 3}, 3), ({"split": False}, 0)):
        integrator = llvm.load_dict({"type": "nap_path", **given})
        assert render()[1] == exits


def test_nothing_to_tell(llvm) -> None:  # noqa: ANN001
    """No light, or no asset in sight."""
    asset = uniform_asset("nothing to tell")
    assert told(llvm, scene_of(llvm, asset)) is None
    away = llvm.ScalarTransform4f().translate([0, 0, 50])
    assert told(llvm, scene_of(llvm, asset, "constant", to_world=away)) is None
    assert told(llvm, scene_of(llvm, asset, "constant"), max_depth=1) is None
