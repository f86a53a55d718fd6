"""Volumes without a boundary: paths from the first collision, free flights at render, shadows, files, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import SMALL, Asset, UniformRays
from scipy import stats
from test_render import light, sensor
from test_sampler import ball, heterogeneous, homogeneous, lights, sampler_of
from zstats import assert_same_mean, blocks, mean_and_error

from mi_neural_asset.asset.asset import NeuralAsset
from mi_neural_asset.asset.cache import remember
from mi_neural_asset.asset.description import describe
from mi_neural_asset.asset.file import AssetFileError
from mi_neural_asset.asset.validate import CannotBake, check
from mi_neural_asset.baking import presets
from mi_neural_asset.baking.bake import bake
from mi_neural_asset.baking.sampler import Beam
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.render.splitting import DEEP_EXITS

RUNS = 6
NULL = {"type": "null"}


class Fog(Asset):
    """A known transport that begins at the first collision in shapes around media."""

    is_volume = True

    def __init__(self, albedo: tuple[float, float, float], shapes: dict, separate: bool = False) -> None:
        config = ModelConfig(coordinates="paper", separate_direct=separate, proxy_margin=0.2, **SMALL)
        super().__init__(UniformRays(config, albedo), shapes)


def test_paths_through_a_cloud_against_volpath(llvm) -> None:  # noqa: ANN001
    """A beam of viewers' rays: share that collides times the light that their paths find, against a picture of that beam."""
    mi, shapes = llvm, {"box": {"type": "cube", "bsdf": NULL, "interior": heterogeneous(llvm, 3, False)}}
    sky = {"light": lights(mi, "sky")["light"]}
    corner, a, b = mi.Point3f(-0.9, -3, -0.8), mi.Vector3f(1.6, 0, 0), mi.Vector3f(0, 0, 1.5)
    sampler = sampler_of(mi, shapes, volume=True)
    environment = mi.load_dict({"type": "scene", **sky}).environment()

    def ours(seed: int) -> np.ndarray:
        paths = sampler.sample(20000, seed, Beam(corner, a, b, mi.Vector3f(0, 1, 0)))
        assert (paths.n == paths.w_o).all() and (paths.x_o.abs() < 1).all() and paths.invalid == 0
        assert 0 < int(paths.direct.sum()) == int(((paths.events == 1) & (paths.status == 0)).sum()) < len(paths)
        si = mi.SurfaceInteraction3f()
        si.wi = mi.Vector3f(*(-mi.Float(paths.w_i[:, k].contiguous()) for k in range(3)))
        radiance = torch.stack([channel.torch() for channel in environment.eval(si)], -1)
        return ((paths.beta * radiance).sum(0) / (len(paths) + paths.misses)).numpy()

    view = mi.ScalarTransform4f().look_at([-0.1, -3, -0.05], [-0.1, 0, -0.05], [0, 0, 1]).scale([0.8, 0.75, 1])
    film = {"type": "hdrfilm", "width": 16, "height": 16, "rfilter": {"type": "box"}, "pixel_format": "rgb"}
    scene = mi.load_dict({"type": "scene", **shapes, **sky, "sensor": {"type": "orthographic", "to_world": view, "film": film}})
    integrator = mi.load_dict({"type": "volpath", "rr_depth": 1000, "hide_emitters": True})
    reference = mean_and_error(lambda s: np.asarray(mi.render(scene, integrator=integrator, spp=128, seed=s)).mean((0, 1)), RUNS, 50)
    assert_same_mean(mean_and_error(ours, RUNS, 1), reference, RUNS)


def test_free_flights_are_exponential(llvm) -> None:  # noqa: ANN001
    """Depths of first collisions in a ball within a denser shell, by their distribution; and how many rays pass."""
    import drjit as dr

    from mi_neural_asset.render.volumes import Density

    mi, count = llvm, 40000
    inner = {"type": "sphere", "radius": 0.5, "bsdf": NULL, "interior": homogeneous(0.8, [0.5] * 3), "exterior": {"type": "ref", "id": "m"}}
    shell = {"type": "sphere", "bsdf": NULL, "interior": {"type": "ref", "id": "m"}}
    fog = Fog((0, 0, 0), {"m": {**homogeneous(2.0, [0.5] * 3), "id": "m"}, "ball": shell, "core": inner})
    density = Density(fog, mi.load_dict(fog.boundary_scene(media=True), parallel=False))
    start, d = dr.zeros(mi.Point3f, count), dr.zeros(mi.Vector3f, count)
    start.x, d.x, start.y = mi.Float(-1.0), mi.Float(1.0), mi.Float(0.0)
    hit, x, length = density.track(start, d, dr.opaque(mi.UInt32, 3))
    hit, depth = np.asarray(hit), np.asarray(x.x) + 1

    def optical(t: np.ndarray) -> np.ndarray:
        return 2.0 * (np.minimum(t, 0.5) + np.maximum(t - 1.5, 0)) + 0.8 * np.clip(t - 0.5, 0, 1)

    whole = 1 - np.exp(-optical(2.0))
    assert abs(hit.mean() - whole) < 4 * np.sqrt(whole * (1 - whole) / count)
    assert stats.kstest(depth[hit], lambda t: (1 - np.exp(-optical(t))) / whole).pvalue > 0.01
    assert np.allclose(np.asarray(length)[~hit], 2, atol=1e-3)


@pytest.mark.parametrize("scaled", [False, True])
def test_black_fog_against_volpath(llvm, scaled: bool) -> None:  # noqa: ANN001
    """What is seen through it, its shadow under a lamp and a sky, and that a scaled instance is as dense as it was baked."""
    mi, factor = llvm, 0.5 if scaled else 1.0
    weights = remember(Fog((0.0, 0.0, 0.0), ball(NULL, homogeneous(0.9, [0.0] * 3))), "black-fog")
    t = mi.ScalarTransform4f().translate([0, 0, 0.4])
    lamp = mi.ScalarTransform4f().look_at([0.5, 0.3, 3], [0, 0, 0], [0, 1, 0]).scale(0.3)
    around = {
        "floor": {"type": "rectangle", "to_world": mi.ScalarTransform4f().translate([0, 0, -1]).scale(3)},
        "lamp": {"type": "rectangle", "to_world": lamp, "emitter": {"type": "area", "radiance": 20.0}},
        "sky": light(mi, "constant"), "sensor": sensor(mi, fov=30) | {
            "to_world": mi.ScalarTransform4f().look_at([0, -6, 3], [0, 0, -0.3], [0, 0, 1])},
    }  # fmt: skip
    fog = {"type": "neural_asset", "weights": weights, "to_world": t.scale(factor)}
    shape = ball(NULL, homogeneous(0.9 / factor, [0.0] * 3))["ball"] | {"radius": factor, "center": [0, 0, 0.4]}

    def picture(asset: dict, integrator: dict, seed: int, spp: int):  # noqa: ANN202
        scene = mi.load_dict({"type": "scene", "asset": asset, **around}, parallel=False)
        loaded = mi.load_dict({**integrator, "max_depth": 4})
        return mean_and_error(lambda s: blocks(np.asarray(mi.render(scene, integrator=loaded, spp=spp, seed=s))[..., :3], 4), RUNS, seed)

    ours, reference = picture(fog, {"type": "nap_path"}, 0, 96), picture(shape, {"type": "volpath"}, 50, 128)
    assert reference[0].max() > 1.5 * reference[0].min()
    assert_same_mean(ours, reference, RUNS)


@pytest.mark.parametrize("even", [True, False])
def test_single_scattering_against_volpath(llvm, even: bool) -> None:  # noqa: ANN001
    """A fog whose networks say nothing: scaled and turned with MIS, an uneven one by rays of the phase function alone."""
    mi, factor = llvm, 0.6 if even else 1.0
    medium = homogeneous(0.9, [0.9, 0.6, 0.3], phase={"type": "hg", "g": 0.5}) if even else heterogeneous(mi, 3, False)
    weights = remember(Fog((0.0, 0.0, 0.0), {"fog": {"type": "cube", "bsdf": NULL, "interior": medium}}, separate=True), f"single-{even}")
    t = mi.ScalarTransform4f().rotate([0.6, 0, 0.8], 40).scale(factor) if even else mi.ScalarTransform4f()
    lamp = mi.ScalarTransform4f().look_at([0.5, 0.3, 2.4], [0, 0, 0], [0, 1, 0]).scale(0.6)
    around = {"lamp": {"type": "rectangle", "to_world": lamp, "emitter": {"type": "area", "radiance": 10.0}}, "sensor": sensor(mi, fov=20),
              "sky": {"type": "constant", "radiance": 0.5}}  # fmt: skip
    traced = {"type": "cube", "bsdf": NULL, "interior": {**medium, "scale": medium["scale"] / factor}, "to_world": t}

    def picture(fog: dict, integrator: dict, seed: int, spp: int):  # noqa: ANN202
        scene = mi.load_dict({"type": "scene", "fog": fog, **around}, parallel=False)
        loaded = mi.load_dict({**integrator, "max_depth": 2, "hide_emitters": True})
        return mean_and_error(lambda s: blocks(np.asarray(mi.render(scene, integrator=loaded, spp=spp, seed=s))[..., :3], 8), RUNS, seed)

    ours = picture({"type": "neural_asset", "weights": weights, "to_world": t}, {"type": "nap_path", "mis": even}, 0, 64)
    assert_same_mean(ours, picture(traced, {"type": "volpath"}, 50, 64), RUNS)


def test_energy_is_that_of_what_collides(llvm) -> None:  # noqa: ANN001
    """Under an even sky, hidden: albedo times the share of rays that collide, as of fog that absorbs the rest."""
    mi, albedo = llvm, (0.9, 0.6, 0.3)
    weights = remember(Fog(albedo, ball(NULL, homogeneous(0.7, [0.0] * 3))), "grey-fog")
    shape = {"type": "neural_asset", "weights": weights}
    scene = mi.load_dict({"type": "scene", "asset": shape, "sensor": sensor(mi), "sky": light(mi, "constant")}, parallel=False)
    for hidden in (False, True):
        integrator = mi.load_dict({"type": "nap_path", "hide_emitters": hidden})
        mean = mean_and_error(lambda s, i=integrator: np.asarray(mi.render(scene, integrator=i, spp=96, seed=s)).mean((0, 1))[:3], RUNS, 3)
        y = (np.arange(512) + 0.5) / 256 - 1
        slope = np.hypot(y[:, None], y[None, :]) * np.tan(np.radians(4))
        distance = 6 * slope / np.sqrt(1 + slope**2)
        through = np.exp(-0.7 * 2 * np.sqrt(1 - distance**2)).mean()
        expected = np.array(albedo) * (1 - through) + (0 if hidden else through)
        assert_same_mean(mean, (expected, np.full(3, 1e-5)), RUNS)


def cloud() -> dict:
    medium = {"type": "homogeneous", "sigma_t": 1.0, "scale": 1.0, "albedo": {"type": "rgb", "value": [0.9, 0.8, 0.7]}}
    return {"type": "scene", "cloud": {"type": "sphere", "bsdf": NULL, "interior": medium}}


def test_volume_is_baked_kept_and_rendered(llvm, tmp_path, monkeypatch) -> None:  # noqa: ANN001
    monkeypatch.setitem(presets.PRESETS, "preview", presets.BakeConfig(batch=384, buffer=2048, validation=1024))
    bake(cloud(), tmp_path / "c.pt", steps=2, progress=False, certify=False, **SMALL)
    asset = NeuralAsset.load(tmp_path / "c.pt")
    assert asset.is_volume and asset.boundary.media and asset.config.separate_direct
    shape = {"type": "neural_asset", "weights": str(tmp_path / "c.pt")}
    scene = llvm.load_dict({"type": "scene", "asset": shape, "sensor": sensor(llvm), "sky": light(llvm, "constant")}, parallel=False)
    integrator = llvm.load_dict({"type": "nap_path", "max_depth": 2})
    image = np.asarray(llvm.render(scene, integrator=integrator, spp=4))
    assert np.isfinite(image).all() and 0 < integrator.statistics.events < 4 * 256 * DEEP_EXITS

    content = asset.to_content()
    empty = [{**shape, "interior": None} for shape in content["boundary"]["shapes"]]
    wrong = {**content, "boundary": {**content["boundary"], "shapes": empty}}
    with pytest.raises(AssetFileError, match=r"boundary\.shapes: expected a medium in each"):
        NeuralAsset.from_content(wrong).save(tmp_path / "w.pt")


def test_what_a_volume_cannot_be(llvm) -> None:  # noqa: ANN001
    scene = cloud()
    coloured = {**scene["cloud"], "interior": {**scene["cloud"]["interior"], "sigma_t": {"type": "rgb", "value": [0.5, 0.9, 1.0]}}}
    with pytest.raises(ValueError, match="same extinction in all channels"):
        bake({"type": "scene", "cloud": coloured}, progress=False)
    with pytest.raises(CannotBake, match="'cloud' has the BSDF 'null', shape 'stone' has another"):
        check(describe({**scene, "stone": {"type": "cube"}}))
    with pytest.raises(CannotBake, match="'cloud' has the BSDF 'null' and must have an interior medium"):
        check(describe({"type": "scene", "cloud": {"type": "sphere", "bsdf": NULL}}))
