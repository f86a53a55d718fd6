"""The far-field baseline: a known F' is recovered, its data are unbiased, the renderer integrates it rightly."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import lambert_asset
from test_render import RUNS, light, mean_of, scene_of, sensor
from zstats import assert_same_mean, mean_and_error

RHO = np.array([0.7, 0.4, 0.2])
SMALL = {
    "width": 32, "depth": 3, "knots": 8, "triplane": 16, "cubemap": 8, "line": 8, "features": 4, "albedo_width": 16, "occlusion": 2,
    "probes": 0,
}  # fmt: skip


def paper_ball() -> dict:
    """A diffuse ball: F' = rho / pi cos, wherever it is lit."""
    return {"type": "scene", "ball": {"type": "sphere", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": RHO.tolist()}}}}


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mitsuba as mi

    import mi_neural_asset
    from mi_neural_asset.baking import presets

    mi.set_variant("llvm_ad_rgb")
    before = presets.PRESETS["preview"]
    presets.PRESETS["preview"] = presets.BakeConfig(batch=3072, buffer=1 << 16, validation=1 << 15)
    try:
        out = tmp_path_factory.mktemp("far") / "ball.pt"
        mi_neural_asset.bake(paper_ball(), out, kind="far_field", steps=250, progress=False, certify=False, separate_direct=False, **SMALL)
    finally:
        presets.PRESETS["preview"] = before
    return out


def test_diffuse_transport_is_recovered(baked: Path, llvm) -> None:
    from mi_neural_asset import load
    from mi_neural_asset.interop import to_vector
    from mi_neural_asset.occlusion import Occlusion

    asset = load(baked)
    assert asset.kind == "far_field" and asset.provenance["bake"]["group"] == 64
    model, g = asset.model(), torch.Generator().manual_seed(0)
    x, w_o, w = (torch.nn.functional.normalize(torch.randn(20000, 3, generator=g), dim=-1) for _ in range(3))
    w_o = torch.where((w_o * x).sum(-1, keepdim=True) < 0, -w_o, w_o)
    scene = llvm.load_dict(asset.boundary_scene(), parallel=False)
    around = Occlusion(scene, asset.center, asset.scale, asset.config.occlusion).tensor(to_vector(x, llvm.Point3f), to_vector(x), "cpu")
    with torch.no_grad():
        sites = model.sites(x, w_o, x, around)
        value, log_p = model.value(sites, w, x), model.log_density(sites, w, x)
    cosine = (w * x).sum(-1)
    expected = cosine.clamp_min(0)[:, None] * torch.tensor(RHO, dtype=torch.float32) / math.pi
    rms = ((value - expected).square().mean(0).sqrt() / expected.mean(0)).tolist()
    assert max(rms) < 0.15, rms  # a bake of seconds; untrained it is above 1
    above = cosine > 0.2
    ratio = log_p[above].exp() / (cosine[above] / math.pi)
    assert abs(ratio.mean() - 1) < 0.05 and ratio.std() < 0.2, (ratio.mean(), ratio.std())
    for r, error in zip(asset.provenance["validation"]["albedo_ratio"], asset.provenance["validation"]["albedo_error"], strict=True):
        assert abs(r - 1) < 0.02 + 4 * error


def test_sampler_draws_from_its_density(llvm) -> None:
    """Means of functions of the samples against their integrals over a grid of the unit square."""
    from mi_neural_asset.model.config import ModelConfig
    from mi_neural_asset.model.far_field import FarField

    for coordinates in ("local", "paper"):
        torch.manual_seed(1)
        model = FarField(ModelConfig(coordinates=coordinates, **{**SMALL, "occlusion": 0, "probes": 0}))
        with torch.no_grad():
            for key, p in model.named_parameters():
                p.mul_(12.0 if key.startswith("steps") and "last.weight" in key else 3.0 if "table" in key else 1.0)
        x, w_o, n = (torch.nn.functional.normalize(torch.tensor([v]), dim=-1) for v in ([0.3, 0.2, 0.9], [0.1, 0.6, 0.7], [0.5, -0.2, 0.8]))
        count, side = 40000, 400
        with torch.no_grad():
            w, log_p = model.sample(model.sites(*(v.expand(count, -1) for v in (x, w_o, n))), n.expand(count, -1), torch.rand(count, 2))
            again = model.log_density(model.sites(*(v.expand(count, -1) for v in (x, w_o, n))), w, n.expand(count, -1))
            assert (again - log_p).abs().quantile(0.99) < 1e-2
            k = (torch.arange(side) + 0.5) / side
            s1, s2 = (v.flatten() for v in torch.meshgrid(k, k, indexing="ij"))
            from mi_neural_asset.model.coordinates import cylinder

            grid = cylinder(2 * s1 - 1, s2)
            p = model.log_density(model.sites(*(v.expand(side**2, -1) for v in (x, w_o, n))), grid, n.expand(side**2, -1)).exp()
            weight = p * 4 * math.pi / side**2
        assert abs(weight.sum() - 1) < 5e-3
        for moment in (lambda v: v, lambda v: v * v.roll(1, -1), lambda v: v**2):
            expected, got = (moment(grid) * weight[:, None]).sum(0), moment(w)
            z = (got.mean(0) - expected) / (got.std(0) / count**0.5)
            assert z.abs().max() < 4.5, (coordinates, z)


def test_cap_means_are_unbiased() -> None:
    """Exits of a known density around every second one of which a probe is drawn: the mean value is the density over the cap."""
    from mi_neural_asset.baking.far_field import _probes, cap_means
    from mi_neural_asset.model.coordinates import cylinder

    g, cosine = torch.Generator().manual_seed(3), math.cos(math.radians(20))
    groups, paths = 20000, 16
    z = torch.rand(groups, paths, 2, generator=g)
    w = cylinder(z[..., 0].sqrt(), z[..., 1])  # density cos / pi about the z axis
    beta = torch.tensor([1.0, 0.5, 0.0]).expand(groups, paths, 3)
    follows = (torch.arange(paths) % 2 == 1).expand(groups, paths)
    probe = _probes(w, follows, cosine, 5)
    value = cap_means(w, beta, torch.ones(groups, paths, dtype=torch.bool), probe, cosine)
    assert (value[..., 2] == 0).all() and torch.allclose(value[..., 1], 0.5 * value[..., 0])
    inner = probe[..., 2] > math.cos(math.radians(65))  # the whole cap lies above the horizon: mean cos over it is cos (1 + cosine) / 2
    expected = probe[..., 2] * (1 + cosine) / 2 / math.pi
    for which in (inner & follows, inner & ~follows):
        difference = (value[..., 0] - expected)[which].double()
        assert difference.mean().abs() < 5 * difference.std() / len(difference) ** 0.5, difference.mean()
    assert (value[..., 0][probe[..., 2] < -math.sin(math.radians(20))] == 0).all()


def test_groups_share_the_hit_and_nothing_else(llvm) -> None:
    from mi_neural_asset.baking.sampler import PathSampler

    scene = llvm.load_dict({**paper_ball(), "cube": {"type": "cube", "to_world": llvm.ScalarTransform4f().translate([2, 0, 0]).scale(0.5)}})
    sampler = PathSampler(scene, [0.8, 0, 0], 2.0)
    paths = sampler.sample(64 * 256, 7, group=64)
    for name in ("x_o", "w_o", "n"):
        values = getattr(paths, name).view(256, 64, 3)
        assert (values == values[:, :1]).all() and (name != "x_o" or len(values[:, 0].unique(dim=0)) == 256)
    assert len(paths.w_i.unique(dim=0)) > 64 * 256 - 20
    single = sampler.sample(64 * 256, 8)
    difference = paths.beta.view(256, 64, 3).mean(1).mean(0) - single.beta.mean(0)  # the same expectation
    error = (paths.beta.view(256, 64, 3).mean(1).var(0) / 256 + single.beta.var(0) / len(single)).sqrt()
    assert (difference.abs() < 4.5 * error).all(), (difference, error)
    with pytest.raises(ValueError, match="divisor"):
        sampler.sample(100, 0, group=64)


@pytest.mark.parametrize("kind", ["constant", "area", "point"])
@pytest.mark.parametrize("options", [{}, {"mis": False}], ids=["mis", "no-mis"])
def test_known_far_field_equals_the_integral(llvm, kind: str, options: dict) -> None:
    """F' = rho / pi cos with a sampler that is not in proportion to it, against `path` on the diffuse ball that it stands for."""
    weights = lambert_asset("lambert", tuple(RHO))
    scene = scene_of(llvm, weights, kind)
    if kind == "constant":
        assert_same_mean(mean_of(llvm, scene, **options), (RHO, np.zeros(3)), RUNS)
        return
    plain = llvm.load_dict({**paper_ball(), "sensor": sensor(llvm), "light": light(llvm, kind)}, parallel=False)
    path = llvm.load_dict({"type": "path", "max_depth": 2})
    reference = mean_and_error(lambda s: np.asarray(llvm.render(plain, integrator=path, spp=256, seed=s)).mean((0, 1)), RUNS, 100)
    assert_same_mean(mean_of(llvm, scene, **options), reference, RUNS)


def test_rays_pass_through_the_asset_itself_but_not_through_others(llvm) -> None:
    """A point light behind the ball, F' the same for all w: the ball throws no shadow on itself, a screen does."""
    lamp = {"light": {"type": "point", "position": [0, 6, 0], "intensity": 30.0}}
    weights = lambert_asset("everywhere", tuple(RHO), everywhere=True)
    mean = mean_of(llvm, scene_of(llvm, weights, extra=lamp), spp=16, runs=2)[0]
    assert np.allclose(mean, RHO / (4 * np.pi) * 30 / 7**2, rtol=0.02)  # x_o is near (0, -1, 0)
    screen = {"screen": {"type": "rectangle", "to_world": llvm.ScalarTransform4f().translate([0, 3, 0]).rotate([1, 0, 0], 90).scale(3)}}
    hidden = mean_of(llvm, scene_of(llvm, weights, extra={**lamp, **screen}), spp=16, runs=2, max_depth=2)[0]
    assert (hidden == 0).all()


def test_direct_lobe_is_added(llvm) -> None:
    """The ball's own diffuse lobe on top of a far field of the same size: twice the light, split or chosen."""
    ball = {"ball": paper_ball()["ball"]}
    weights = lambert_asset("with-lobe", tuple(RHO / 2), separate=True, boundary=ball)
    for options in ({}, {"split": False}):
        assert_same_mean(mean_of(llvm, scene_of(llvm, weights, "constant"), spp=24, **options), (1.5 * RHO, np.zeros(3)), RUNS)


def test_verify_compares_a_far_field_with_its_source(baked: Path, llvm) -> None:
    """The constant light is as far away as light can be: the energy agrees."""
    import mi_neural_asset.verify.verify as module

    light = module.verify(baked, lights=["constant"], size=24, spp=32, progress=False)["lights"]["constant"]
    for ratio, error in zip(light["energy_ratio"], light["energy_ratio_error"], strict=True):
        assert abs(ratio - 1) < 0.04 + 4 * error


def test_resumed_far_field_is_the_same(tmp_path: Path, llvm, monkeypatch: pytest.MonkeyPatch) -> None:
    import mi_neural_asset
    from mi_neural_asset.baking import bake as module
    from mi_neural_asset.baking import presets

    monkeypatch.setitem(presets.PRESETS, "preview", presets.BakeConfig(batch=384, buffer=8192, validation=4096))
    settings = {"kind": "far_field", "steps": 12, "progress": False, "certify": False, **SMALL}
    whole = mi_neural_asset.bake(paper_ball(), **{**settings, "separate_direct": False})
    advance = module.Trainer.advance

    def stopping(self, progress: float):
        if self.step == 7:
            raise KeyboardInterrupt
        return advance(self, progress)

    out = tmp_path / "a.pt"
    config = module._config("preview", 12, {**SMALL, "separate_direct": False}, "far_field")
    run = module.Bake(paper_ball(), out, config, minutes=None, seed=0,
                      device=None, progress=False, only=None, options=module.BakeOptions())  # fmt: skip
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.Trainer, "advance", stopping)
        run.run(None)
    run.save_checkpoint()
    resumed = mi_neural_asset.bake(paper_ball(), out, resume=True, **{**settings, "separate_direct": False})
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_wrong_kinds_are_named(llvm) -> None:
    import mi_neural_asset

    with pytest.raises(ValueError, match="kind: expected one of transport, far_field, got 'near_field'"):
        mi_neural_asset.bake(paper_ball(), kind="near_field", progress=False)
