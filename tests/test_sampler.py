"""The path sampler against `volpath`, known answers and itself."""

from __future__ import annotations

import math

import pytest
import torch
from broken import INVALID, broken_bsdf
from scipy import stats

COUNT = 100000
SIGNIFICANCE = 0.01


def homogeneous(scale, albedo, sigma_t=1.0, phase=None):  # noqa: ANN001, ANN201
    """A homogeneous medium; sigma_t in units of `scale`."""
    rgb = isinstance(sigma_t, list)
    return {
        "type": "homogeneous",
        "albedo": {"type": "rgb", "value": albedo},
        "sigma_t": {"type": "rgb", "value": sigma_t} if rgb else sigma_t,
        "scale": scale,
        "phase": phase or {"type": "isotropic"},
    }


def grid(mi, data):  # noqa: ANN001, ANN201
    """A volume over the cube [-1, 1]^3."""
    transform = mi.ScalarTransform4f().translate([-1, -1, -1]).scale(2)
    return {"type": "gridvolume", "grid": mi.VolumeGrid(data.numpy()), "to_world": transform, "raw": True}


def heterogeneous(mi, scale, coloured):  # noqa: ANN001, ANN201
    """A random grid medium over [-1, 1]^3 with coloured albedo and, on request, coloured extinction."""
    generator = torch.Generator().manual_seed(5)
    albedo = 0.5 + 0.5 * torch.rand(4, 4, 4, 3, generator=generator)
    sigma_t = 0.1 + 0.9 * torch.rand(5, 5, 5, 3 if coloured else 1, generator=generator)
    return {"type": "heterogeneous", "albedo": grid(mi, albedo), "sigma_t": grid(mi, sigma_t), "scale": scale}


GLASS = {"type": "dielectric", "int_ior": 1.5, "ext_ior": 1.0}
ROUGH = {"type": "roughdielectric", "int_ior": 1.5, "ext_ior": 1.0, "alpha": 0.2}
INNER = {"type": "dielectric", "int_ior": 1.2, "ext_ior": 1.5}


def interreflection(mi):  # noqa: ANN001, ANN201, D103
    block = mi.ScalarTransform4f().rotate([0.6, 0, 0.8], 40).scale(0.65)
    diffuse = {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.8, 0.5, 0.2]}}
    metal = {"type": "roughconductor", "material": "Au", "alpha": 0.3}
    shell = {"type": "sphere", "radius": 0.5, "center": [0.3, 0, 0.7], "bsdf": {"type": "twosided", "nested": metal}}
    return {"block": {"type": "cube", "to_world": block, "bsdf": diffuse}, "shell": shell}


def ball(bsdf, medium, **inside):  # noqa: ANN001, ANN003, ANN201, D103
    return {"ball": {"type": "sphere", "bsdf": bsdf, "interior": medium}, **inside}


def nested(bsdf):  # noqa: ANN001, ANN201, D103
    outer = {**homogeneous(3, [0.9, 0.8, 0.7]), "id": "outer"}
    core = {
        "type": "sphere", "radius": 0.5, "center": [0.2, 0.1, 0], "bsdf": bsdf,
        "interior": homogeneous(9, [0.3, 0.9, 0.5]), "exterior": {"type": "ref", "id": "outer"},
    }  # fmt: skip
    shell = {"type": "sphere", "bsdf": GLASS, "interior": {"type": "ref", "id": "outer"}}
    return {"outer": outer, "ball": shell, "core": core}


CASES = {
    "interreflection": interreflection,
    "smooth boundary": lambda mi: ball(GLASS, homogeneous(8, [0.95, 0.9, 0.8])),
    "rough boundary": lambda mi: ball(ROUGH, homogeneous(8, [0.95, 0.9, 0.8], phase={"type": "hg", "g": 0.6})),
    "grid in null boundary": lambda mi: {
        "box": {"type": "cube", "bsdf": {"type": "null"}, "interior": heterogeneous(mi, 3, False)}
    },
    "grid in glass": lambda mi: ball(GLASS, heterogeneous(mi, 6, False)),
    "coloured grid": lambda mi: ball(ROUGH, heterogeneous(mi, 4, True)),
    "coloured extinction": lambda mi: ball(GLASS, homogeneous(3, [0.9, 0.8, 0.9], [0.6, 0.8, 1.0])),
    "nested glass": lambda mi: nested(INNER),
    "liquid in glass": lambda mi: {
        "glass": {"type": "sphere", "bsdf": GLASS},
        "liquid": {
            "type": "sphere", "radius": 0.8, "center": [0.1, 0, 0], "bsdf": {"type": "dielectric", "int_ior": 1.33, "ext_ior": 1.5},
            "interior": homogeneous(5, [0.95, 0.9, 0.8]),
        },
    },
    "nested null": lambda mi: nested({"type": "null"}),
}


def lights(mi, name):  # noqa: ANN001, ANN201
    """Constant, or something that tells directions and positions of the exit rays apart."""
    if name == "constant":
        return {"light": {"type": "constant"}}
    image = torch.full((8, 16, 3), 0.02)
    image[:4] = torch.tensor([1.0, 0.6, 0.3])
    image[2:5, 3:7] = torch.tensor([0.3, 1.0, 2.0])
    look = mi.ScalarTransform4f().look_at(origin=[0.4, -1.4, 0.9], target=[0, 0, 0], up=[0, 0, 1]).scale(0.4)
    black = {"type": "diffuse", "reflectance": 0.0}
    return {
        "light": {"type": "envmap", "bitmap": mi.Bitmap(image.numpy())},
        "lamp": {"type": "rectangle", "to_world": look, "bsdf": black, "emitter": {"type": "area", "radiance": 5.0}},
    }


def to_mi(kind, tensor):  # noqa: ANN001, ANN201
    """[N, 3] to a Mitsuba vector."""
    import mitsuba as mi

    return kind(*(mi.Float(tensor[:, k].contiguous()) for k in range(3)))


def sampler_of(mi, shapes, **options):  # noqa: ANN001, ANN003, ANN201
    """PathSampler of a dict of shapes, bounded by the sphere of radius 1.75 (a cube's corner) around the origin."""
    from mi_neural_asset.baking.sampler import PathSampler

    return PathSampler(mi.load_dict({"type": "scene", **shapes}), [0, 0, 0], options.pop("radius", 1.75), **options)


def exit_radiance(mi, lit, paths):  # noqa: ANN001, ANN201
    """beta times what arrives at x_i from w_i [N, 3]."""
    ray = mi.Ray3f(to_mi(mi.Point3f, paths.x_i + 1e-4 * paths.n_i), to_mi(mi.Vector3f, paths.w_i))
    si = lit.ray_intersect(ray, mi.Bool((paths.status == 0).contiguous()))
    light = si.emitter(lit).eval(si)
    return paths.beta * torch.stack([light[k].torch() for k in range(3)], -1)


def volpath(mi, lit, paths, seed, max_depth=-1, back=0.05, kind="volpath"):  # noqa: ANN001, ANN201
    """One estimate of `volpath`, or another integrator, for each path's viewing ray [N, 3], from a distance `back`; hardly any roulette."""
    integrator = mi.load_dict({"type": kind, "max_depth": max_depth, "rr_depth": 100000})
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(seed, len(paths))
    origin = to_mi(mi.Point3f, paths.x_o + back * paths.w_o)
    ray = mi.RayDifferential3f(mi.Ray3f(origin, -to_mi(mi.Vector3f, paths.w_o)))
    value = integrator.sample(lit, sampler, ray)[0]
    return torch.stack([value[k].torch() for k in range(3)], -1)


def z_scores(difference):  # noqa: ANN001, ANN201
    """Mean over its standard error, per channel, in float64."""
    difference = difference.double()
    return difference.mean(0) / (difference.std(0) / math.sqrt(len(difference)))


@pytest.mark.parametrize("case", CASES)
def test_means_equal_volpath(llvm, case):
    """Per channel and under both lights: 2 x 3 x len(CASES) z-tests at a joint significance of 1 %."""
    limit = stats.norm.isf(SIGNIFICANCE / (2 * 2 * 3 * len(CASES)))
    shapes = CASES[case](llvm)
    paths = sampler_of(llvm, shapes).sample(COUNT, seed=11)
    assert paths.truncated == 0 and paths.invalid == 0
    for name in ("constant", "structured"):
        lit = llvm.load_dict({"type": "scene", **shapes, **lights(llvm, name)})
        ours = exit_radiance(llvm, lit, paths)
        theirs = volpath(llvm, lit, paths, seed=3)
        difference = (ours - theirs).double()
        error = difference.std(0) / math.sqrt(COUNT) / theirs.double().mean(0)
        z = z_scores(difference)
        print(case, name, "z", z.tolist(), "relative error", error.tolist())
        assert (error < 0.02).all(), f"{name}: too noisy to prove anything: {error.tolist()}"
        assert (z.abs() < limit).all(), f"{name}: z = {z.tolist()}, limit {limit:.2f}"


def test_furnace_smooth_boundary_is_exact(llvm):
    """Without absorption every single path has beta = 1."""
    paths = sampler_of(llvm, ball(GLASS, homogeneous(20, [1.0] * 3)), radius=1.0).sample(20000, seed=1)
    assert (paths.status == 0).all()
    assert (paths.beta - 1).abs().max() < 1e-5  # rounding of eta^2 factors only
    assert paths.events.float().mean() > 20


def test_furnace_coloured_extinction(llvm):
    """Extinction that differs tenfold between channels: mean beta = 1, and no weight above the number of channels."""
    medium = homogeneous(30, [1.0] * 3, [0.1, 0.5, 1.0])
    paths = sampler_of(llvm, ball(GLASS, medium), radius=1.0).sample(COUNT, seed=1)
    assert paths.beta.max() < 3.001
    assert (z_scores(paths.beta - 1).abs() < stats.norm.isf(SIGNIFICANCE / 6)).all()


@pytest.mark.parametrize("sigma_t", [1.0, [0.1, 0.5, 1.0]])
def test_roulette_changes_no_mean(llvm, sigma_t):
    """Roulette from the first event on, against none."""
    shapes = ball(GLASS, homogeneous(20, [0.97, 0.9, 0.6], sigma_t))
    early = sampler_of(llvm, shapes, radius=1.0, rr_depth=0).sample(10 * COUNT, seed=1)
    never = sampler_of(llvm, shapes, radius=1.0, rr_depth=1000000).sample(10 * COUNT, seed=2)
    a, b = early.beta.double(), never.beta.double()
    z = (a.mean(0) - b.mean(0)) / ((a.var(0) + b.var(0)) / (10 * COUNT)).sqrt()
    assert early.bounces < 0.8 * never.bounces
    assert (z.abs() < stats.norm.isf(SIGNIFICANCE / 12)).all()


def same(a, b):  # noqa: ANN001, ANN201
    """Whether two sets of paths agree bit for bit."""
    fields = ("x_o", "w_o", "n", "x_i", "w_i", "beta", "events", "status")
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in fields)


def test_lanes_have_no_influence(llvm):
    """One path a lane and many: the same paths at the same places, so that regeneration cannot favour short ones."""
    shapes = ball(GLASS, homogeneous(20, [0.97, 0.9, 0.6]))
    one_each = sampler_of(llvm, shapes, lanes=3001, rr_depth=4).sample(3001, seed=9)
    for lanes in (1, 64, 1000, 32768):
        other = sampler_of(llvm, shapes, lanes=lanes, rr_depth=4).sample(3001, seed=9)
        assert same(one_each, other), lanes
        assert other.misses == one_each.misses and other.bounces == one_each.bounces


def test_seed_and_count(llvm):
    """Deterministic; another seed gives other paths; a larger count continues a smaller one; seeds are independent."""
    sampler = sampler_of(llvm, ball(GLASS, homogeneous(5, [0.9] * 3)))
    first, again, other = (sampler.sample(2000, seed=s) for s in (1, 1, 2))
    assert same(first, again)
    assert not torch.equal(first.x_o, other.x_o)
    assert torch.equal(sampler.sample(3000, seed=1).x_i[:2000], first.x_i)
    assert len(torch.cat([first.x_o, other.x_o]).unique(dim=0)) == 4000
    assert len(sampler.sample(1, seed=4)) == 1


def test_first_hits_are_uniform_lines(llvm):
    """On a sphere: x_o uniform, w_o cosine-distributed about n; the rate of misses is the ratio of the areas."""
    sphere = {"type": "sphere", "radius": 0.5, "center": [0.2, 0, 0], "bsdf": {"type": "diffuse"}}
    paths = sampler_of(llvm, {"s": sphere}, radius=1.0).sample(20000, seed=2)
    normal = (paths.x_o - torch.tensor([0.2, 0, 0])) / 0.5
    assert (normal - paths.n).abs().max() < 1e-4
    cosine = (paths.n * paths.w_o).sum(-1)
    p = [stats.kstest(0.5 + 0.5 * paths.n[:, k].numpy(), "uniform").pvalue for k in range(3)]
    p.append(stats.kstest(cosine.square().numpy(), "uniform").pvalue)
    p.append(stats.binomtest(len(paths), len(paths) + paths.misses, (0.5 / 1.001) ** 2).pvalue)
    assert min(p) > SIGNIFICANCE / len(p), p


def test_beam_meets_the_asset_where_it_points(llvm):
    """Parallel rays through a square: first hits are uniform over it, and rays that miss are drawn again."""
    from mi_neural_asset.baking.sampler import Beam

    sampler = sampler_of(llvm, {"s": {"type": "sphere", "bsdf": {"type": "diffuse"}}})
    beam = Beam(llvm.Point3f(0.5, -0.1, 3), llvm.Vector3f(0.7, 0, 0), llvm.Vector3f(0, 0.2, 0), llvm.Vector3f(0, 0, -1))
    paths = sampler.sample(20000, 3, beam)
    x, y, z = paths.x_o.double().T
    assert torch.equal(paths.w_o, torch.tensor([[0.0, 0.0, 1.0]]).expand(20000, 3))
    assert torch.allclose(x**2 + y**2 + z**2, torch.ones(1, dtype=torch.float64), atol=1e-5) and (z >= 0).all()
    area = math.asin(0.1) + 0.1 * math.sqrt(0.99) - 0.1  # of the part of the square within the unit disc
    p = [stats.binomtest(20000, 20000 + paths.misses, area / 0.14).pvalue]
    p.append(stats.kstest((y / 0.2 + 0.5)[x < 0.9].numpy(), "uniform").pvalue)
    assert min(p) > SIGNIFICANCE / len(p), p
    assert sampler.sample(1000, 3, beam).x_i.equal(paths.x_i[:1000])


def test_direct_paths_of_a_convex_diffuse_body(llvm):
    """One event, then out: all direct, beta is the reflectance, directions are unit vectors, x_i is x_o."""
    bsdf = {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.8, 0.5, 0.2]}}
    paths = sampler_of(llvm, {"s": {"type": "sphere", "bsdf": bsdf}}, rr_depth=100).sample(5000, seed=2)
    assert paths.direct.all() and (paths.events == 1).all() and paths.bounces == 5000
    assert (paths.beta - torch.tensor([0.8, 0.5, 0.2])).abs().max() < 1e-5
    assert (paths.w_i.norm(dim=1) - 1).abs().max() < 1e-5
    assert (paths.x_i - paths.x_o).norm(dim=1).max() < 1e-3


def test_normal_faces_the_viewer(llvm):
    """Flipped normals: n still lies on the side of w_o."""
    sphere = {"type": "sphere", "flip_normals": True, "bsdf": {"type": "twosided", "b": {"type": "diffuse"}}}
    paths = sampler_of(llvm, {"s": sphere}, radius=1.0).sample(1000, seed=2)
    assert (paths.n - paths.x_o).abs().max() < 1e-4


def test_beer_lambert(llvm):
    """A black medium behind a null boundary: through with probability exp(-sigma chord), else absorbed."""
    medium = homogeneous(1.5, [0.0] * 3)
    paths = sampler_of(llvm, ball({"type": "null"}, medium), radius=1.0).sample(40000, seed=6)
    through = paths.status == 0
    assert (paths.events == (~through).int()).all() and (paths.status[~through] == 1).all()
    assert (paths.beta[through] == 1).all() and (paths.beta[~through] == 0).all()
    assert (paths.w_i[through] + paths.w_o[through]).abs().max() < 1e-6
    assert not paths.direct.any()
    chance = torch.exp(-3.0 * (paths.n * paths.w_o).sum(-1)).double()
    z = (through.double() - chance).sum() / (chance * (1 - chance)).sum().sqrt()
    assert abs(z) < stats.norm.isf(SIGNIFICANCE / 2)


def test_counts_add_up(llvm):
    """Every path has one status; cut paths are counted and carry nothing."""
    shapes = ball(GLASS, homogeneous(20, [0.97, 0.9, 0.6]))
    paths = sampler_of(llvm, shapes, max_events=12, rr_depth=3).sample(5000, seed=1)
    by_status = torch.bincount(paths.status.long(), minlength=4).tolist()
    assert sum(by_status) == 5000 and all(n > 0 for n in by_status[:3])
    assert paths.truncated == by_status[2] and paths.invalid == by_status[3] == 0
    assert (paths.beta[paths.status != 0] == 0).all() and (paths.beta[paths.status == 0].amax(1) > 0).all()
    assert paths.events.max() == 12 and (paths.events[paths.status == 2] == 12).all()
    assert paths.bounces == int(paths.events.sum())  # no null collisions here
    assert 0 < paths.occupancy <= 1


def test_non_finite_paths_are_counted_and_stopped(llvm):
    """A BSDF that sometimes returns NaN: those paths are invalid and hold finite numbers; the rest is untouched."""
    paths = sampler_of(llvm, {"s": {"type": "sphere", "bsdf": broken_bsdf(llvm)}}).sample(5000, seed=1)
    assert stats.binomtest(paths.invalid, 5000, INVALID).pvalue > SIGNIFICANCE
    assert paths.invalid == int((paths.status == 3).sum())
    for name in ("x_o", "w_o", "n", "x_i", "w_i", "beta"):
        assert torch.isfinite(getattr(paths, name)).all(), name
    assert (paths.beta[paths.status == 3] == 0).all() and (paths.beta[paths.status == 0] == 0.5).all()


def test_errors_say_what_to_do(llvm):
    """Empty scene, bad sphere, bad count, and a sphere nowhere near the asset."""
    from mi_neural_asset.baking.sampler import PathSampler

    scene = llvm.load_dict({"type": "scene", "s": {"type": "sphere"}})
    with pytest.raises(ValueError, match="holds no shape"):
        PathSampler(llvm.load_dict({"type": "scene"}), [0, 0, 0], 1.0)
    with pytest.raises(ValueError, match="radius: expected a positive number"):
        PathSampler(scene, [0, 0, 0], 0.0)
    with pytest.raises(ValueError, match="center: expected 3 finite numbers"):
        PathSampler(scene, [0, 0, math.nan], 1.0)
    with pytest.raises(ValueError, match="lanes: expected at least 1"):
        PathSampler(scene, [0, 0, 0], 1.0, lanes=0)
    with pytest.raises(ValueError, match="count: expected at least 1"):
        PathSampler(scene, [0, 0, 0], 1.0).sample(0, seed=1)
    with pytest.raises(ValueError, match="check that it bounds the asset"):
        PathSampler(scene, [100, 0, 0], 1.0).sample(16, seed=1)
