"""What smooth surfaces do to light is followed by the renderer, and none of the networks': mirror reflections, whatever they meet, and
what passes unscattered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracle import SMALL, uniform_asset
from test_render import RUNS, light, mean_of, scene_of, sensor
from test_sampler import exit_radiance, heterogeneous, sampler_of, to_mi, volpath, z_scores
from zstats import assert_same_mean, mean_and_error

import mi_neural_asset
from mi_neural_asset.render.passage import Passage

CONDUCTOR = {"type": "twosided", "nested": {"type": "conductor", "material": "Au"}}
GLASS = {"type": "dielectric", "int_ior": 2.5, "specular_transmittance": {"type": "rgb", "value": 0.0}}  # nothing gets in
BEFORE = 0.05  # rays begin this far before the boundary


class Unit:
    """An asset whose normalised space is the world."""

    center, scale = (0.0, 0.0, 0.0), 1.0


def stock(mi, scene, kind: str, **options) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN001, ANN003
    """Mean and error of one of Mitsuba's own integrators."""
    integrator = mi.load_dict({"type": kind, **options})
    return mean_and_error(lambda s: np.asarray(mi.render(scene, integrator=integrator, spp=256, seed=s)).mean((0, 1)), RUNS, 50)


def fold(mi, bsdf: dict) -> dict:  # noqa: ANN001
    """Two sheets at a right angle, open to the camera: what it sees has been mirrored twice."""
    sheets = {}
    for name, side in (("left", -1.0), ("right", 1.0)):
        to_world = mi.ScalarTransform4f().look_at([0.3 * side, 0, 0], [0, -0.3, 0], [0, 0, 1]).scale(0.42)
        sheets[name] = {"type": "rectangle", "to_world": to_world, "bsdf": bsdf}
    return sheets


@pytest.mark.parametrize("bsdf", [CONDUCTOR, GLASS], ids=["conductor", "dielectric"])
def test_a_fold_of_mirrors_is_that_of_path(llvm, bsdf: dict) -> None:  # noqa: ANN001
    """With black networks: the image of `path`, of which one reflection alone is another."""
    sheets = fold(llvm, bsdf)
    asset = scene_of(llvm, uniform_asset(f"fold {bsdf['type']}", (0.0, 0.0, 0.0), True, boundary=sheets), "constant", "area")
    lights = {f"light_{kind}": light(llvm, kind) for kind in ("constant", "area")}
    plain = llvm.load_dict({"type": "scene", **sheets, **lights, "sensor": sensor(llvm)}, parallel=False)

    whole, once = (stock(llvm, plain, "path", max_depth=depth) for depth in (-1, 2))
    assert abs(whole[0] - once[0]).max() > 0.01
    assert_same_mean(mean_of(llvm, asset), whole, RUNS)


def pair(medium: dict) -> dict:
    """Two balls side by side: much of what one mirrors is the other."""
    ball = {"type": "sphere", "radius": 0.5, "bsdf": {"type": "dielectric", "int_ior": 2.4}, "interior": medium}
    return {name: {**ball, "center": [x, 0.0, 0.0]} for name, x in (("left", -0.55), ("right", 0.55))}


def test_paths_and_mirrored_rays_are_all_that_leaves(llvm) -> None:  # noqa: ANN001
    """Under a white sky, at x_o met from all around and at x_o met by mirrored rays alike: what `volpath` sees is the throughput of
    paths, the reflectance times what it sees of the mirrored ray, and what passes unscattered.
    """
    albedo, sigma_t = ({"type": "rgb", "value": value} for value in ([0.9, 0.8, 0.6], [0.2, 0.5, 1.0]))
    medium = {"type": "homogeneous", "albedo": albedo, "sigma_t": sigma_t, "scale": 3.0}
    shapes = pair(medium)
    lit = llvm.load_dict({"type": "scene", **shapes, "sky": light(llvm, "constant")}, parallel=False)
    paths = sampler_of(llvm, shapes, specular=True).sample(400_000, 3)
    chained = (paths.x_v != paths.x_o).any(-1)
    assert 1000 < chained.sum() < 50_000
    assert (paths.chain[~chained] == 1).all()
    assert (paths.chain[chained].log2() % 1 == 0).all()  # reflectance over its probability is one, and half of the rays are taken
    once = chained & (paths.chain[:, 0] == 2)
    towards = torch.nn.functional.normalize(paths.x_v - paths.x_o, dim=-1)
    assert once.sum() > 0.8 * chained.sum() and (towards - paths.w_o)[once].norm(dim=-1).max() < 2e-3  # seen from where it was mirrored
    for some in (chained, ~chained):
        rows = some.nonzero()[:, 0][:60_000]
        p = paths.rows(rows)
        si = lit.ray_intersect(llvm.Ray3f(to_mi(llvm.Point3f, p.x_o + BEFORE * p.w_o), -to_mi(llvm.Vector3f, p.w_o)))
        context = llvm.BSDFContext()
        context.type_mask = +llvm.BSDFFlags.DeltaReflection
        bs, reflectance = si.bsdf().sample(context, si, 0.5, llvm.Point2f(0.5))
        mirrored = llvm.RayDifferential3f(si.spawn_ray(si.to_world(bs.wo)))
        rendered = volpath(llvm, lit, p, 5)
        integrator = llvm.load_dict({"type": "volpath", "rr_depth": 100000})
        sampler = llvm.load_dict({"type": "independent"})
        sampler.seed(6, len(rows))
        seen = reflectance * integrator.sample(lit, sampler, mirrored)[0]
        seen = torch.stack([seen[k].torch() for k in range(3)], -1)
        through = passed(llvm, Passage(Unit, llvm.load_dict({"type": "scene", **shapes})), p, si)
        z = z_scores(exit_radiance(llvm, lit, p) + seen + through - rendered)
        assert seen.mean() > 0.02 and through.mean() > 0.1 and z.abs().max() < 4, z


def passed(mi, passage: Passage, paths, si) -> torch.Tensor:  # noqa: ANN001
    """What passes unscattered, [N, 3], of rays that meet a dielectric boundary."""
    context = mi.BSDFContext()
    context.type_mask = +mi.BSDFFlags.DeltaTransmission
    bs, weight = si.bsdf().sample(context, si, 0.5, mi.Point2f(0.5))
    found = passage.follow(mi.Point3f(si.p), -to_mi(mi.Vector3f, paths.w_o), si.to_world(bs.wo), si.is_valid(), mi.UInt32(7))
    value = weight * found.weight
    return torch.stack([value[k].torch() for k in range(3)], -1)


@pytest.mark.parametrize(
    "content", ["empty", "coloured", *(pytest.param(name, marks=pytest.mark.slow) for name in ("homogeneous", "heterogeneous"))]
)
@pytest.mark.parametrize("kind", ["constant", "area"])
def test_what_passes_is_that_of_volpath(llvm, content: str, kind: str) -> None:  # noqa: ANN001
    """With black networks, a block of glass that holds nothing, or a medium that absorbs: the image of `volpath`, of which mirror
    reflections are a small part."""
    medium = {"interior": absorbing(llvm, content)} if content != "empty" else {}
    block = llvm.ScalarTransform4f().rotate([1, 2, 3], 30).scale([0.5, 0.3, 0.6])
    shapes = {"block": {"type": "cube", "to_world": block, "bsdf": {"type": "dielectric", "int_ior": 1.3}, **medium}}
    weights = uniform_asset(f"block {content}", (0.0, 0.0, 0.0), True, boundary=shapes)
    lights = {"lamp": light(llvm, kind)} | ({"wall": wall(llvm)} if kind == "area" else {})
    asset = scene_of(llvm, weights, extra=lights)
    plain = llvm.load_dict({"type": "scene", **shapes, **lights, "sensor": sensor(llvm)}, parallel=False)

    whole = stock(llvm, plain, "volpath", rr_depth=100000)
    assert whole[0].max() > 0.05
    assert_same_mean(mean_of(llvm, asset, rr_depth=100000), whole, RUNS)


def test_panes_and_masks_are_those_of_path(llvm) -> None:  # noqa: ANN001
    """Panes, holes in black sheets and a mirror behind them: with black networks the image of `path`, through them all."""
    black = {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": 0.0}}
    bsdfs = {"pane": {"type": "thindielectric", "int_ior": 1.8}, "sheet": {"type": "mask", "opacity": 0.3, "bsdf": black}}
    shapes = {"mirror": {"type": "rectangle", "to_world": facing(llvm, 0.4, 20).scale(0.4), "bsdf": CONDUCTOR}}
    for k, y in enumerate((-0.5, -0.3, -0.1, 0.1)):
        place, bsdf = facing(llvm, y, 10 * k - 15).scale(0.5), bsdfs[("pane", "sheet")[k % 2]]
        shapes[f"leaf {k}"] = {"type": "rectangle", "to_world": place, "bsdf": bsdf}
    lights = {f"light_{kind}": light(llvm, kind) for kind in ("constant", "area")}
    asset = scene_of(llvm, uniform_asset("panes", (0.0, 0.0, 0.0), True, boundary=shapes), extra=lights)
    plain = llvm.load_dict({"type": "scene", **shapes, **lights, "sensor": sensor(llvm)}, parallel=False)

    whole, short = (stock(llvm, plain, "path", max_depth=depth, rr_depth=100000) for depth in (-1, 4))
    assert abs(whole[0] - short[0]).max() > 0.05
    assert_same_mean(mean_of(llvm, asset, rr_depth=100000), whole, RUNS)


def facing(mi, y: float, angle: float):  # noqa: ANN001, ANN202
    """A rectangle at height y along the camera's axis, turned about the vertical."""
    return mi.ScalarTransform4f().translate([0, y, 0]).rotate([0, 0, 1], angle).rotate([1, 0, 0], 90)


def wall(mi) -> dict:  # noqa: ANN001
    """A lit thing behind the block, seen through it."""
    to_world = mi.ScalarTransform4f().look_at([0, 2, 0], [0, 0, 0], [0, 0, 1]).scale(1.5)
    return {"type": "rectangle", "to_world": to_world, "bsdf": {"type": "diffuse"}, "emitter": {"type": "area", "radiance": 0.5}}


def absorbing(mi, content: str) -> dict:  # noqa: ANN001
    """Media without scattering."""
    if content == "homogeneous":
        return {"type": "homogeneous", "albedo": 0.0, "sigma_t": {"type": "rgb", "value": [0.1, 0.3, 1.0]}, "scale": 3.0}
    return {**heterogeneous(mi, 2.0, content == "coloured"), "albedo": 0.0}


def test_what_passes_is_nothing_of_paths(llvm) -> None:  # noqa: ANN001
    """All that leaves a ball of glass, empty or filled with what absorbs, is the renderer's; without `specular` it is that of paths."""
    shapes = {"ball": {"type": "sphere", "bsdf": {"type": "dielectric"}, "interior": absorbing(llvm, "homogeneous")}}
    with_, without = (sampler_of(llvm, shapes, radius=1.0, specular=specular).sample(20_000, 4) for specular in (True, False))
    assert (with_.beta == 0).all()
    assert without.beta.mean() > 0.2


def test_a_mirror_carries_nothing_else(llvm) -> None:  # noqa: ANN001
    """All throughput of a fold of mirrors is the renderer's; without `specular` it is that of paths."""
    shapes = fold(llvm, CONDUCTOR)
    with_, without = (sampler_of(llvm, shapes, specular=specular).sample(20_000, 4) for specular in (True, False))
    assert (with_.beta == 0).all() and (with_.x_v != with_.x_o).any()
    assert without.beta.mean() > 0.5 and not without.mirrored.any() and (without.chain == 1).all()


@pytest.mark.parametrize(("bsdf", "kept"), [("dielectric", True), ("roughdielectric", False)])
def test_media_are_kept_where_light_passes(llvm, bsdf: str, kept: bool, tmp_path) -> None:  # noqa: ANN001
    """Without its source too: a render needs them."""
    medium = {"type": "homogeneous", "albedo": 0.8, "sigma_t": 3.0}
    scene = {"type": "scene", "ball": {"type": "sphere", "bsdf": {"type": bsdf}, "interior": medium}}
    mi_neural_asset.bake(scene, tmp_path / "ball.pt", steps=1, source=False, progress=False, certify=False, **SMALL)
    asset = mi_neural_asset.load(tmp_path / "ball.pt")
    assert asset.source is None and bool(asset.boundary.media) == kept
    assert (Passage.of(asset, llvm.load_dict(asset.boundary_scene(media=True))) is not None) == kept
