"""Every kind of surface that can be baked, side by side: paths and direct lobe against Mitsuba's own integrators."""

from __future__ import annotations

import math

import numpy as np
import torch
from oracle import uniform_asset
from scipy import stats
from test_curves import tuft
from test_render import sensor
from test_sampler import exit_radiance, lights, sampler_of, volpath, z_scores
from zstats import assert_same_mean, blocks, mean_and_error

from mi_neural_asset.asset import curves
from mi_neural_asset.asset.description import describe, shape_dicts
from mi_neural_asset.asset.validate import check

SIGNIFICANCE = 0.01
RED, BLUE = {"type": "rgb", "value": [0.8, 0.3, 0.2]}, {"type": "rgb", "value": [0.2, 0.3, 0.8]}
GREY, GLASS = {"type": "diffuse", "reflectance": 0.6}, {"type": "dielectric", "int_ior": 1.5, "ext_ior": 1.0}
TILES = {"type": "checkerboard", "color0": RED, "color1": BLUE, "to_uv": {"type": "transform", "matrix": np.diag([4.0, 4, 1, 1]).tolist()}}


def bsdfs(mi):
    """By the name of the shape that wears them; `open_...` are on open shapes."""
    image = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(1))
    paint = {"type": "bitmap", "bitmap": mi.Bitmap(image.numpy()), "raw": True, "filter_type": "nearest"}
    tiles = {**TILES, "to_uv": mi.ScalarTransform4f().scale([4, 4, 1])}
    return {
        "textured": {"type": "diffuse", "reflectance": paint},
        "conductor": {"type": "conductor", "material": "Cu"},
        "rough_conductor": {"type": "roughconductor", "material": "Au", "alpha": tiles_of(0.1, 0.5, tiles)},
        "plastic": {"type": "plastic", "diffuse_reflectance": RED},
        "rough_plastic": {"type": "roughplastic", "diffuse_reflectance": tiles, "alpha": 0.2, "nonlinear": True},
        "principled": {"type": "principled", "base_color": BLUE, "roughness": 0.3, "metallic": 0.4, "clearcoat": 0.5, "sheen": 0.5},
        "glass_principled": {"type": "principled", "base_color": RED, "roughness": 0.3, "spec_trans": 0.8, "eta": 1.4},
        "glass": GLASS,
        "rough_glass": {"type": "roughdielectric", "alpha": 0.2},
        "blend": {"type": "blendbsdf", "weight": 0.3, "a": GREY, "b": {"type": "plastic"}},
        "bumpy": {"type": "bumpmap", "bsdf": GREY, "texture": paint, "scale": 0.1},
        "open_two_sides": {"type": "twosided", "front": {"type": "diffuse", "reflectance": RED}, "back": {"type": "plastic"}},
        "open_window": {"type": "thindielectric"},
        "open_leaf": {"type": "principledthin", "base_color": RED, "diff_trans": 1.2, "roughness": 0.4},
        "open_mask": {"type": "mask", "opacity": tiles_of(0.1, 0.9, tiles), "bsdf": {"type": "twosided", "bsdf": GREY}},
    }


def tiles_of(low, high, tiles):
    return {**tiles, "color0": low, "color1": high}


def zoo(mi):
    """Small balls, and thin sheets of two leaves, on a grid, with tufts of curves before and behind them."""
    scene = {"type": "scene"}
    for k, (name, bsdf) in enumerate(bsdfs(mi).items()):
        place = mi.ScalarTransform4f().translate([0.36 * (k % 4) - 0.54, 0.1 * ((k // 4) % 2) - 0.05, 0.36 * (k // 4) - 0.54])
        if name.startswith("open_"):
            turned = place.rotate([0.96, 0.28, 0], 70)
            scene[name] = {"type": "rectangle", "to_world": turned.scale(0.13), "bsdf": bsdf}
            scene[f"{name}_2"] = {"type": "disk", "to_world": turned.translate([0.03, 0.02, 0.05]).scale(0.13), "bsdf": bsdf}
        else:
            scene[name] = {"type": "sphere", "to_world": place.scale(0.16), "bsdf": bsdf}
    for name, kind, bsdf in (
        ("hair", "bsplinecurve", {"type": "hair", "eumelanin": 0.2, "pheomelanin": 0.3}),
        ("fibres", "linearcurve", {"type": "diffuse", "reflectance": RED}),
    ):
        geometry = tuft(kind, count=25)
        geometry["control_points"] *= torch.tensor([0.3, 0.3, 0.3, 0.4])
        geometry["control_points"][:, :3] += torch.tensor([0.54, 0.0, 0.54]) if name == "hair" else torch.tensor([0.0, -0.4, 0.0])
        scene[name] = curves.build(name, geometry, {"bsdf": mi.load_dict(bsdf)})
    back = mi.ScalarTransform4f().translate([0.3, 0.35, -0.1]).rotate([1, 0, 0], 90)  # its front is away from the camera
    scene["one_sided"] = {"type": "rectangle", "to_world": back.scale(0.2), "bsdf": {"type": "roughplastic", "diffuse_reflectance": RED}}
    return scene


def described(mi, scene):
    """The same scene through a description: what is baked."""
    tufts = {name: shape for name, shape in scene.items() if isinstance(shape, mi.Shape)}
    description = describe({name: shape for name, shape in scene.items() if name not in tufts})
    assert check(description) == []
    return {**dict(shape_dicts(description)), **tufts}


def test_paths_equal_volpath(llvm):
    """All paths; and those of the direct lobe against one bounce of `path`, null crossings and masks included."""
    mi, count = llvm, 150000
    scene = zoo(mi)
    paths = sampler_of(mi, described(mi, scene), radius=1.0).sample(count, seed=4)
    assert paths.truncated == 0 and paths.invalid == 0
    assert (paths.direct & (paths.events == 0)).any() and ((paths.events == 1) & ~paths.direct).any()
    lit = mi.load_dict({**scene, **lights(mi, "structured")})
    ours = exit_radiance(mi, lit, paths)
    limit = stats.norm.isf(SIGNIFICANCE / (2 * 2 * 3))
    for kind, depth, mine in (("volpath", -1, ours), ("path", 2, ours * paths.direct[:, None])):
        difference = mine - volpath(mi, lit, paths, seed=3, max_depth=depth, back=1e-3, kind=kind)
        error = difference.double().std(0) / math.sqrt(count) / mine.double().mean(0)
        assert (error < 0.02).all() and (z_scores(difference).abs() < limit).all(), (depth, z_scores(difference), error)


def test_direct_lobes_equal_path(llvm):
    """A black network: what is left is one bounce, as `path` renders it, under a sky and a near lamp.

    What smooth surfaces mirror or let through goes on to others (tests/test_specular.py).
    """
    mi = llvm
    others = ("glass", "open_window", "open_mask", "conductor")
    scene = {name: shape for name, shape in zoo(mi).items() if not name.startswith(others)}
    boundary = described(mi, scene)
    weights = uniform_asset("zoo", albedo=(0.0, 0.0, 0.0), separate=True, boundary=boundary)
    around = {**lights(mi, "structured"), "sensor": sensor(mi, size=48, fov=18)}
    ours = mi.load_dict({"type": "scene", "asset": {"type": "neural_asset", "weights": weights}, **around}, parallel=False)
    theirs = mi.load_dict({**scene, **around}, parallel=False)

    def picture(scene, kind, seed, **options):
        integrator = mi.load_dict({"type": kind, **options})
        return mean_and_error(lambda s: blocks(np.asarray(mi.render(scene, integrator=integrator, spp=32, seed=s))[..., :3], 8), 12, seed)

    mine, reference = picture(ours, "nap_path", 0), picture(theirs, "path", 100, max_depth=2)
    assert reference[0].max() > 0.05
    assert_same_mean(mine, reference, 12)
