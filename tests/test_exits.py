"""The three techniques for light that leaves an asset: densities, and means that must agree whatever is combined."""

import math

import numpy as np
import pytest
from oracle import random_asset, uniform_asset, uniform_rays
from scipy import stats
from scipy.stats import qmc
from test_render import ALBEDO, LAMP_AT, LAMP_SIZE, RADIUS, scene_of
from zstats import assert_same_mean, mean_and_error

RUNS = 6
BALL_RADIUS, CUBE_SIZE = 0.15, 0.2
SETS = ("path,light", "path,lobe", "light,lobe", "path,light,lobe")


def lights(mi) -> dict:  # noqa: ANN001
    """Every kind of light, between one and three radii from the asset."""
    place = mi.ScalarTransform4f().look_at(LAMP_AT.tolist(), [0, 0, 0], [0, 1, 0])
    area = {"type": "area", "radiance": 10.0}
    checks = {"type": "checkerboard", "color0": 4.0, "color1": 30.0, "to_uv": mi.ScalarTransform4f().scale([2, 2, 1])}
    ball = {"type": "sphere", "center": LAMP_AT.tolist(), "radius": BALL_RADIUS, "emitter": {"type": "area", "radiance": 50.0}}
    sky = np.full((16, 32, 3), 0.3, np.float32)
    sky[3:5, 9:12] = 40.0
    return {
        "area": {"type": "rectangle", "to_world": place.scale(LAMP_SIZE), "emitter": area},
        "textured": {"type": "rectangle", "to_world": place.scale(LAMP_SIZE), "emitter": {"type": "area", "radiance": checks}},
        "mesh": {"type": "cube", "to_world": mi.ScalarTransform4f().translate(LAMP_AT.tolist()).scale(CUBE_SIZE), "emitter": area},
        "sphere": ball,
        "envmap": {"type": "envmap", "bitmap": mi.Bitmap(sky)},
        "point": {"type": "point", "position": LAMP_AT.tolist(), "intensity": 5.0},
        "spot": {"type": "spot", "to_world": place, "intensity": 9.0, "cutoff_angle": 25, "beam_width": 10},
        "directional": {"type": "directional", "direction": (-LAMP_AT).tolist(), "irradiance": 3.0},
        "many": {"a": {**ball, "center": [-2.0, -0.5, 0.6]}, "b": {"type": "constant", "radiance": 0.1},
                 "c": {"type": "rectangle", "to_world": place.scale(LAMP_SIZE), "emitter": area},
                 "d": {"type": "point", "position": [0.3, 1.0, 2.0], "intensity": 2.0}},
    }  # fmt: skip


def lit(mi, weights: str, kind: str, **extra):  # noqa: ANN001, ANN003, ANN202
    entry = lights(mi)[kind]
    return scene_of(mi, weights, extra={**(entry if kind == "many" else {"light": entry}), **extra})


def mean_of(mi, scene, seed: int = 0, spp: int = 32, **options):  # noqa: ANN001, ANN003, ANN202
    integrator = mi.load_dict({"type": "nap_path", **options})
    return mean_and_error(lambda s: np.asarray(mi.render(scene, integrator=integrator, spp=spp, seed=s)).mean((0, 1)), RUNS, seed)


def rays(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform rays that leave the oracle's proxy sphere, by quasi-Monte Carlo: points and directions, each [N, 3]."""
    n, w = uniform_rays(count)
    return RADIUS * n, w


def surface(kind: str, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Of an area light: points [N, 3], normals there, radiance [N] and the area; z: uniform numbers [N, 3]."""
    x, y, choice = *(2 * z.T[:2] - 1), z[:, 2]
    if kind == "textured":
        axis = -LAMP_AT / np.linalg.norm(LAMP_AT)
        left = np.cross([0, 1, 0], axis)
        left /= np.linalg.norm(left)
        p = LAMP_AT + LAMP_SIZE * (x[:, None] * left + y[:, None] * np.cross(axis, left))
        return p, np.broadcast_to(axis, p.shape), np.where((x > 0) == (y > 0), 4.0, 30.0), (2 * LAMP_SIZE) ** 2
    if kind == "sphere":
        across, phi = np.sqrt(1 - x**2), np.pi * y
        n = np.stack([across * np.cos(phi), across * np.sin(phi), x], -1)
        return LAMP_AT + BALL_RADIUS * n, n, np.full(len(n), 50.0), 4 * np.pi * BALL_RADIUS**2
    face, n = (6 * choice).astype(int), np.zeros((len(z), 3))
    rows = np.arange(len(z))
    n[rows, face // 2] = np.where(face % 2, 1.0, -1.0)
    p = n.copy()
    p[rows, (face // 2 + 1) % 3], p[rows, (face // 2 + 2) % 3] = x, y
    return LAMP_AT + CUBE_SIZE * p, n, np.full(len(z), 10.0), 6 * (2 * CUBE_SIZE) ** 2


def area_light(kind: str) -> float:
    """Mean radiance over uniform rays through the proxy sphere, told from the light: its points, and the cones that the sphere fills."""
    z = qmc.Sobol(5, seed=7).random(1 << 21)
    p, n, radiance, area = surface(kind, z[:, 2:])
    distance = np.linalg.norm(p, axis=-1)
    height = 1 - np.sqrt(1 - (RADIUS / distance) ** 2)
    axis = -p / distance[:, None]
    t = np.cross(axis, [0.0, 1.0, 0.0])
    t /= np.linalg.norm(t, axis=-1, keepdims=True)
    cosine, phi = 1 - height * z[:, 0], 2 * np.pi * z[:, 1]
    across = np.sqrt(1 - cosine**2)
    d = cosine[:, None] * axis + (across * np.cos(phi))[:, None] * t + (across * np.sin(phi))[:, None] * np.cross(axis, t)
    measure = 2 * np.pi * height * np.maximum((d * n).sum(-1), 0)
    return area * (radiance * measure).mean() / (4 * np.pi**2 * RADIUS**2)


def integral(kind: str) -> np.ndarray:
    """L_o of the uniform-ray asset: albedo times the mean radiance over the rays, without Mitsuba."""
    if kind in ("textured", "sphere", "mesh"):
        return ALBEDO * area_light(kind)
    u, _ = rays(1 << 21)
    way = LAMP_AT - u
    n = u / RADIUS
    if kind == "directional":
        return ALBEDO * 3.0 / (4 * np.pi)  # flux 3 pi R^2 over pi times the sphere's area
    distance = np.linalg.norm(way, axis=-1)
    cosine = np.maximum((way * n).sum(-1) / distance, 0)
    angle = np.degrees(np.arccos(np.clip((way @ LAMP_AT) / distance / np.linalg.norm(LAMP_AT), -1, 1)))
    beam = np.clip((25 - angle) / (25 - 10), 0, 1) * 9.0 if kind == "spot" else 5.0
    return ALBEDO * (beam * cosine / distance**2).mean() / np.pi


AXIS, NORMAL = np.array([0.36, -0.48, 0.8]), np.array([0.6, 0.8, 0.0])
SHAPES = {"even": None, "shaped": np.array([[3.0, 0.5, 1.0], [0.1, 2.0, 0.0], [4.0, 4.0, 0.2], [0.0, 1.0, 0.3]])}


def lobe_of(shape: str):  # noqa: ANN202
    from mi_neural_asset.render.lobe import Lobe

    return Lobe(SHAPES[shape])


def lobe_angles(draw, count: int = 200_000) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN001
    """((1 - cos) / 2)^(1/6) of drawn directions about one axis, and the angle about it from the normal, -pi to pi, [N] each."""
    import mitsuba as mi

    rng = np.random.default_rng(3)
    z = mi.Point2f(*(mi.Float(rng.random(count).astype(np.float32)) for _ in range(2)))
    d = np.asarray(draw(mi.Vector3f(AXIS), mi.Vector3f(NORMAL), z), dtype=np.float64)
    t = ((d - AXIS[:, None]) ** 2).sum(0) ** (1 / 6) / 4 ** (1 / 6)
    x = NORMAL - AXIS * (AXIS @ NORMAL)
    x /= np.linalg.norm(x)
    return t, np.arctan2(np.cross(AXIS, x) @ d, x @ d)


def lobe_test(draw, shape: str) -> float:  # noqa: ANN001
    """p-value of the lobe's distribution of both angles: chi^2 with a bin of its own for what lies below the cut."""
    from mi_neural_asset.render.lobe import FLOOR, LOWEST

    heights = np.ones((1, 1)) if SHAPES[shape] is None else SHAPES[shape]
    heights = FLOOR + (1 - FLOOR) * heights / heights.mean()
    bins, turns = heights.shape
    inner = LOWEST + (1 - LOWEST) * np.linspace(0, 1, 5 * bins + 1)[1:]
    edges, around = np.concatenate([[0, LOWEST * 0.98, LOWEST * 1.02], inner]), np.linspace(-np.pi, np.pi, 4 * turns + 1)
    t, phi = lobe_angles(draw)
    counts = np.histogram2d(t, phi, (edges, around))[0]
    assert counts[0].sum() == 0 and counts.sum() >= len(t) - 1, "angles below the cut"
    middles = (edges[1:-1] + edges[2:]) / 2, np.abs(around[1:] + around[:-1]) / 2 / np.pi
    row = np.clip(((middles[0] - LOWEST) / (1 - LOWEST) * bins).astype(int), 0, bins - 1)
    share = heights[np.ix_(row, (middles[1] * turns).astype(int))] * np.diff(np.clip(edges[1:], LOWEST, 1))[:, None]
    below, rest = counts[1].sum(), counts[2:].ravel()
    expected = share[1:].ravel() / share.sum() * counts.sum()
    return stats.chisquare([below, *rest], [counts.sum() - expected.sum(), *expected]).pvalue


@pytest.mark.parametrize("shape", SHAPES)
def test_lobe_is_drawn_from_its_density_without_an_atom(llvm, shape: str) -> None:  # noqa: ANN001
    import drjit as dr

    from mi_neural_asset.render.lobe import CUT, EXPONENT

    assert lobe_test(lobe_of(shape).draw, shape) > 0.01

    def clamped(a, n, z):  # noqa: ANN001, ANN202, ARG001
        """What a clamp would do instead of the truncation."""
        v = dr.maximum(z.x ** (1 / EXPONENT), CUT)
        across, (s, c) = 2 * dr.safe_sqrt(v * (1 - v)), dr.sincos(2 * math.pi * z.y)
        return llvm.Frame3f(a).to_world(llvm.Vector3f(across * c, across * s, 1 - 2 * v))

    assert lobe_test(clamped, "even") < 1e-6


def test_lobe_about_the_normal_itself(llvm) -> None:  # noqa: ANN001
    """Where no direction across the axis is nearer to the normal than others, the density is still that of what is drawn."""
    lobe, rng = lobe_of("shaped"), np.random.default_rng(4)
    a = llvm.Vector3f(0, 0, 1)
    d = lobe.draw(a, a, llvm.Point2f(*(llvm.Float(rng.random(200_000).astype(np.float32)) for _ in range(2))))
    wide = np.asarray(d)[2] < 0  # a hemisphere, of solid angle 2 pi
    inverse = np.where(wide, 1 / np.asarray(lobe.density(a, a, d), dtype=np.float64), 0)
    assert abs(inverse.mean() - 2 * np.pi) < 4 * inverse.std() / np.sqrt(len(inverse))


def test_lobe_density_integrates_to_one_and_is_zero_below_the_cut(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.render.lobe import CUT

    v = np.geomspace(CUT * 4, 1, 20001)  # what lies below is added in closed form
    middle = np.sqrt(v[1:] * v[:-1])
    across = 2 * np.sqrt(middle * (1 - middle))
    d = llvm.Vector3f(llvm.Float(across.astype(np.float32)), 0, llvm.Float((1 - 2 * middle).astype(np.float32)))
    axis, normal = llvm.Vector3f(0, 0, 1), llvm.Vector3f(1, 0, 0)
    values = np.asarray(lobe_of("even").density(axis, normal, d), dtype=np.float64)
    below = ((4 * CUT) ** (1 / 6) - CUT ** (1 / 6)) / (1 - CUT ** (1 / 6))
    keep = middle > 1e-7  # x and z of d in single precision tell smaller angles only roughly
    exact = (1 / 6) * middle ** (-5 / 6) / (4 * np.pi * (1 - CUT ** (1 / 6)))
    np.testing.assert_allclose(values[keep], exact[keep], rtol=2e-3)
    assert abs((exact * 4 * np.pi * np.diff(v)).sum() + below - 1) < 1e-4
    assert lobe_of("even").density(axis, normal, axis)[0] == 0


def heights_of(mi, model, projection, count: int = 1 << 18) -> np.ndarray:  # noqa: ANN001
    """What `Lobe.of` tells, from densities alone: exits and lights are uniform, nothing is drawn from the model; [BINS]."""
    import drjit as dr
    import torch

    from mi_neural_asset.interop import to_torch
    from mi_neural_asset.render.lobe import BINS, LOWEST

    rng = np.random.default_rng(11)
    z = [mi.Point2f(*(mi.Float(rng.random(count).astype(np.float32)) for _ in range(2))) for _ in range(4)]
    x_o, w_o, n, met = projection.uniform_hits(*z[:2])
    t, phi = LOWEST + (1 - LOWEST) * z[2].x, np.pi * z[2].y
    v, w = t**6, mi.warp.square_to_uniform_sphere(z[3])
    x, side = dr.normalize(n - w * dr.dot(n, w)), mi.Float(rng.choice([-1.0, 1.0], count).astype(np.float32))
    d = 2 * dr.safe_sqrt(v * (1 - v)) * (dr.cos(phi) * x + side * dr.sin(phi) * dr.cross(w, x)) + (1 - 2 * v) * w
    rows = torch.as_tensor(np.asarray(met)).nonzero()[:, 0]
    columns = [to_torch(value)[rows] for value in (x_o, w_o, n, projection.exit(x_o, d), w)]
    around = projection.occlusion.tensor(x_o, n, "cpu")[rows]
    with torch.no_grad():
        sites = model.sites(*columns[:3], around)
        exit_, log_p = model.exit_at(sites, columns[0], columns[2], columns[3])
        log_p = log_p + model.log_exit_solid_angle(exit_, columns[0])[:, None]
        log_p = log_p + model.direction_density(sites, exit_, columns[2], columns[4])
        f = (model.albedo(sites) * log_p.exp()).mean(-1).numpy()
    t, phi = (np.asarray(value)[rows.numpy()] for value in (t, phi))
    even = (1 / 6) * t.astype(np.float64) ** -5 / (4 * np.pi * (1 - LOWEST))  # density of d about w
    return np.histogram2d(t, phi, BINS, ((LOWEST, 1), (0, np.pi)), weights=(f / even) ** 2)[0] ** 0.5


def test_lobe_takes_the_shape_of_the_model(llvm, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    from mi_neural_asset.asset.cache import resolve
    from mi_neural_asset.render import lobe as lobes
    from mi_neural_asset.render.lobe import BINS, FLOOR, Lobe
    from mi_neural_asset.render.projection import Projection

    asset = resolve(random_asset("shape", seed=4))
    model = asset.model()
    projection = Projection(asset, model)
    expected = heights_of(llvm, model, projection)
    monkeypatch.setattr(lobes, "LINES", 1 << 17)
    lobe = Lobe.of(model, projection)
    found = (np.asarray(lobe._heights).reshape(BINS) - FLOOR) / (1 - FLOOR)
    expected /= expected.mean()
    assert expected.max() > 2 * expected.min() + 0.5  # not the same everywhere
    for axis, bound in ((0, 0.02), (1, 0.06)):
        assert np.abs(found.mean(axis) / expected.mean(axis) - 1).max() < bound


def test_densities_of_a_given_ray_are_those_of_the_model(llvm) -> None:  # noqa: ANN001
    """`evaluate_ray` (solid angle at x_o) against `log_density` (area of the proxy), Jacobian by hand; and against the draw."""
    import torch

    from mi_neural_asset.asset.cache import resolve
    from mi_neural_asset.interop import to_torch, to_vector
    from mi_neural_asset.render.choice import engine_for

    rng = np.random.default_rng(5)
    around_x_o = [("local", proxy, engine) for proxy in ("sphere", "box", "hull") for engine in ("torch", "drjit")]
    for coordinates, proxy, name in (*around_x_o, ("paper", "box", "torch"), ("paper", "hull", "torch")):
        model = resolve(random_asset(f"ray-{coordinates}-{proxy}", seed=6, coordinates=coordinates, proxy=proxy)).model()
        engine, count = engine_for(model, "cpu", name), 512
        unit = [v / np.linalg.norm(v, axis=-1, keepdims=True) for v in rng.normal(size=(4, count, 3))]
        x_o, w_o, n, w = (torch.tensor(v, dtype=torch.float32) for v in (0.8 * unit[0], *unit[1:]))
        z = rng.random((3, count)).astype(np.float32)
        mi = llvm
        around = torch.tensor(rng.random((count, model.config.surroundings)), dtype=torch.float32)
        pair = mi.Point2f(mi.Float(z[1]), mi.Float(z[2]))
        event = engine.begin(to_vector(x_o, mi.Point3f), to_vector(w_o), to_vector(n), around, mi.Float(z[0]), pair, False)
        rows = mi.UInt32(np.arange(count, dtype=np.uint32))
        u, albedo = to_torch(engine.exit_point(event)), to_torch(engine.albedo(event))
        nobody, z_bar = mi.Float(np.zeros(count, dtype=np.float32)), mi.Float(rng.random(count).astype(np.float32))
        value, q_u, q_w = engine.evaluate_ray(event, rows, to_vector(u, mi.Point3f), to_vector(w), nobody, z_bar)
        offset = (u - x_o).double()
        distance = offset.norm(dim=-1)
        cosine = (model.proxy.normal(u).double() * offset).sum(-1).abs() / distance
        expected = albedo.double() * model.log_density(x_o, w_o, n, u, w, around).double().exp() * (distance**2 / cosine)[:, None]
        np.testing.assert_allclose(np.asarray(value).T, expected, rtol=2e-3)
        np.testing.assert_allclose(np.asarray(q_u), np.asarray(engine.exit_density(event)), rtol=2e-3)
        drawn, q_drawn = engine.evaluate(event, rows, to_vector(w))
        np.testing.assert_allclose(np.asarray(q_w), np.asarray(q_drawn), rtol=2e-3)
        np.testing.assert_allclose(np.asarray(drawn) * np.asarray(q_u), np.asarray(value), rtol=4e-3)


def test_carried_density_equals_the_formula_in_area_measure(llvm) -> None:  # noqa: ANN001
    """Light points seen from x_o and asked for at u_i: p_A |y - u|^2 / cos, with p_A known for a rectangle."""
    mi = llvm
    from mi_neural_asset.render import exits

    scene = mi.load_dict({"type": "scene", "lamp": lights(mi)["area"], "ball": lights(mi)["sphere"] | {"center": [-3.0, 0, 0]}})
    rng = np.random.default_rng(1)
    z = mi.Point2f(mi.Float(rng.random(64).astype(np.float32)), mi.Float(rng.random(64).astype(np.float32)))
    x_o = exits.interaction(mi.Point3f(0.5, 0.1, 0.3) + dr_zeros(64), mi.Float(0), mi.Color0f())
    u = np.array([1.0, 0.2, 0.4])
    ds_o, _ = scene.sample_emitter_direction(x_o, z, False)
    ds_u = exits.seen_from(ds_o, mi.Point3f(*u.tolist()) + dr_zeros(64))
    density = np.asarray(exits.carried_density(scene, x_o, ds_o, ds_u), dtype=np.float64)
    y, n = np.asarray(ds_o.p, dtype=np.float64).T, np.asarray(ds_o.n, dtype=np.float64).T
    flat = np.abs((y - LAMP_AT) @ LAMP_AT) < 1e-3
    assert 10 < flat.sum() < 54
    way = u - y
    distance = np.linalg.norm(way, axis=-1)
    expected = 0.5 / (2 * LAMP_SIZE) ** 2 * distance**2 / ((way * n).sum(-1) / distance)
    np.testing.assert_allclose(density[flat], expected[flat], rtol=1e-3)


def dr_zeros(width: int):  # noqa: ANN201
    import drjit as dr
    import mitsuba as mi

    return dr.zeros(mi.Vector3f, width)


@pytest.mark.parametrize("kind", ["sphere", "mesh", "textured", "point", "spot", "directional"])
def test_known_transport_equals_the_integral(llvm, kind: str) -> None:  # noqa: ANN001
    expected = integral(kind)
    scene = lit(llvm, uniform_asset("exits"), kind)
    alone = ("light",) if kind in ("sphere", "mesh") else ("light", "lobe")  # x_o does not see all of a round lamp that u_i sees
    for number, techniques in enumerate(("path,light", "path,light,lobe", *alone)):
        assert_same_mean(mean_of(llvm, scene, 100 * number, techniques=techniques, max_depth=2), (expected, 2e-4 * expected), RUNS)


def settings(kind: str) -> list[dict]:
    """What covers the whole integrand: untrained networks also send rays into the proxy, where the lobe does not look, and no path hits
    a delta light.  There `light` alone has fireflies, which few renders show: its mean is too small, and so is its error.
    """
    hit = kind in ("area", "textured", "mesh", "sphere", "envmap")
    names = SETS[:-1] if hit else ("path,light",) if kind == "many" else ()
    one_ray = {"split": False}  # light is sampled from the u_i of every exit, not of one of several
    return [*({"techniques": techniques} for techniques in names), one_ray, {}]


def agree(mi, kind: str, weights: str, seed: int, spp: int = 32, several: list[dict] | None = None, **extra) -> None:  # noqa: ANN001, ANN003
    scene = lit(mi, weights, kind, **extra)
    means = [mean_of(mi, scene, seed + 100 * k, spp, **options) for k, options in enumerate(several or settings(kind))]
    for other in means[:-1]:
        assert other[0].min() > 0
        assert_same_mean(other, means[-1], RUNS)


@pytest.mark.parametrize("kind", [pytest.param("sphere", marks=pytest.mark.slow), "envmap", "directional", "many"])
def test_pairs_of_techniques_agree(llvm, kind: str) -> None:  # noqa: ANN001
    agree(llvm, kind, random_asset("pairs", seed=2), 0, spp=48)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1000, 2000])
@pytest.mark.parametrize("model", ["sphere", "box", "paper", "hull"])
@pytest.mark.parametrize("kind", ["area", "textured", "mesh", "sphere", "envmap", "point", "spot", "directional", "many"])
def test_every_pair_agrees_on_every_light(llvm, kind: str, model: str, seed: int) -> None:  # noqa: ANN001
    coordinates, proxy = ("paper", "box") if model == "paper" else ("local", model)
    weights = random_asset(f"every-{model}", seed=8, separate=True, coordinates=coordinates, proxy=proxy)
    agree(llvm, kind, weights, seed, spp=256)


def test_after_a_bounce_and_between_assets(llvm) -> None:  # noqa: ANN001
    """Two assets on a floor that cuts their proxies: what a path carries from an event to the next hit is the same density."""
    mi = llvm
    weights = random_asset("bounces", seed=1)
    t = mi.ScalarTransform4f()
    extra = {
        "floor": {"type": "rectangle", "to_world": t.translate([0, 0, -1.0]).scale(8)},
        "second": {"type": "neural_asset", "weights": weights, "to_world": t.translate([-2.2, 0.5, -0.4]).scale(0.6)},
    }
    agree(mi, "area", weights, 0, 96, [{"techniques": "path,light"}, {"split": False}, {}], **extra)


def test_point_light_is_the_limit_of_small_spheres(llvm) -> None:  # noqa: ANN001
    weights, r = random_asset("limit", seed=9), 0.01
    point = mean_of(llvm, lit(llvm, weights, "point"), 0)
    ball = {"type": "sphere", "center": LAMP_AT.tolist(), "radius": r, "emitter": {"type": "area", "radiance": 5.0 / (math.pi * r * r)}}
    small = mean_of(llvm, scene_of(llvm, weights, extra={"ball": ball}), 100, spp=128)
    assert (small[1] < 0.02 * small[0]).all()  # with the lobe there are no fireflies
    assert_same_mean(point, small, RUNS)


@pytest.mark.parametrize("techniques", [*SETS, "light"])
def test_furnace_with_a_map_as_its_sky(llvm, techniques: str) -> None:  # noqa: ANN001
    """A map of equal radiance everywhere: the lobe is in use, and every set gives the albedo alone."""
    sky = {"type": "envmap", "bitmap": llvm.Bitmap(np.ones((8, 16, 3), np.float32))}
    scene = scene_of(llvm, uniform_asset("furnace"), extra={"sky": sky})
    assert_same_mean(mean_of(llvm, scene, techniques=techniques), (ALBEDO, np.zeros(3)), RUNS)


@pytest.mark.parametrize("kind", ["area", "constant"])
@pytest.mark.parametrize("separate", [True, False])
def test_forks_keep_the_mean_and_lower_the_noise(llvm, kind: str, separate: bool) -> None:  # noqa: ANN001
    weights = random_asset(f"fork {separate}", seed=3, separate=separate)
    scene = scene_of(llvm, weights, kind)

    def picture(seed: int, **options: object) -> tuple[tuple[np.ndarray, np.ndarray], float]:
        """Means over all pixels, which are independent, with their errors; and the noise of the median pixel, without fireflies."""
        integrator = llvm.load_dict({"type": "nap_path", **options})
        mean, error = mean_and_error(lambda s: np.asarray(llvm.render(scene, integrator=integrator, spp=64, seed=s)), RUNS, seed)
        return (mean.mean((0, 1)), np.sqrt((error**2).sum((0, 1))) / mean[..., 0].size), np.median(error[mean > 0])

    chosen, noise = picture(200, split=False)
    for seed, exits in ((0, 1), (400, 4)):
        forked, less = picture(seed, exits=exits)
        assert_same_mean(forked, chosen, RUNS)
    assert less < 0.9 * noise


def test_number_of_exits_follows_the_assets(llvm, tmp_path) -> None:  # noqa: ANN001
    """Few where the direct lobe is as noisy as what is learned: fibres, opaque surfaces, masks."""
    from mi_neural_asset.render.instances import SceneAssets
    from mi_neural_asset.render.options import PathOptions
    from mi_neural_asset.render.path import PathTracer

    def ball(name: str, bsdf: dict) -> str:
        return uniform_asset(f"exits of {name}", boundary={"ball": {"type": "sphere", "bsdf": bsdf}})

    def exits_of(*weights: str, **options) -> int:  # noqa: ANN003
        shapes = {f"a{k}": {"type": "neural_asset", "weights": name} for k, name in enumerate(weights)}
        scene = llvm.load_dict({"type": "scene", **shapes})
        return PathTracer(scene, SceneAssets(scene, "cpu"), PathOptions(**options)).exits

    paint = {"type": "twosided", "bsdf": {"type": "plastic"}}
    opaque, masked = ball("paint", paint), ball("a mask", {"type": "mask", "opacity": 0.5, "bsdf": paint})
    glass, frosted = ball("glass", {"type": "dielectric"}), ball("frosted glass", {"type": "roughdielectric"})
    np.savetxt(tmp_path / "curve.txt", np.c_[np.zeros((8, 2)), np.linspace(-0.5, 0.5, 8), np.full(8, 0.02)])
    curve = {"type": "bsplinecurve", "filename": str(tmp_path / "curve.txt"), "bsdf": {"type": "hair"}}
    fibre = uniform_asset("exits of a fibre", boundary={"fibre": curve})
    assert [exits_of(name) for name in (opaque, masked, fibre, glass, frosted)] == [1, 1, 1, 4, 4]
    assert (exits_of(fibre, glass), exits_of(opaque, exits=7), exits_of(glass, split=False)) == (4, 7, 0)


def test_lights_that_look_the_same_everywhere_cost_nothing(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.render.exits import scene_has_lobe

    for kind, light in lights(llvm).items():
        assert kind == "many" or scene_has_lobe(llvm.load_dict({"type": "scene", "light": light})), kind
    assert not scene_has_lobe(llvm.load_dict({"type": "scene", "light": {"type": "constant"}}))


def test_unknown_techniques_are_named(llvm) -> None:  # noqa: ANN001
    with pytest.raises(RuntimeError, match="a list of path, light, lobe"):
        llvm.load_dict({"type": "nap_path", "techniques": "path,magic"})
