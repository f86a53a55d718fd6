"""The integrator `nap_path`: known transports against integrals done by hand, means that must agree, and plain `path`."""

import drjit as dr
import numpy as np
import pytest
from broken import INVALID, broken_bsdf
from oracle import random_asset, uniform_asset
from scipy import stats
from zstats import assert_same_mean, blocks, mean_and_error

from mi_neural_asset.render.instances import find_handles

ALBEDO = np.array([0.9, 0.6, 0.3])
RADIUS = 1.2  # of the proxy sphere
AREA = 4 * np.pi * RADIUS**2
LAMP_AT, LAMP_SIZE, LAMP_RADIANCE = np.array([2.0, 0.0, 1.0]), 0.3, 10.0
POINT_AT, POINT_INTENSITY = np.array([2.0, 0.0, 1.0]), 5.0
RUNS = 8


def light(mi, kind: str) -> dict:  # noqa: ANN001
    if kind == "constant":
        return {"type": "constant"}
    if kind == "area":
        to_world = mi.ScalarTransform4f().look_at(LAMP_AT.tolist(), [0, 0, 0], [0, 1, 0]).scale(LAMP_SIZE)
        return {"type": "rectangle", "to_world": to_world, "emitter": {"type": "area", "radiance": LAMP_RADIANCE}}
    return {"type": "point", "position": POINT_AT.tolist(), "intensity": POINT_INTENSITY}


def sensor(mi, size: int = 16, fov: float = 8.0) -> dict:  # noqa: ANN001
    return {
        "type": "perspective", "fov": fov, "to_world": mi.ScalarTransform4f().look_at([0, -6, 0], [0, 0, 0], [0, 0, 1]),
        "film": {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}}, "sampler": {"type": "independent"},
    }  # fmt: skip


def scene_of(mi, weights: str, *lights: str, extra: dict | None = None, **shape):  # noqa: ANN001, ANN003, ANN202
    # not in parallel: Mitsuba 3.9.1 then failed once in an environment map's constructor (basic_string::_M_create)
    return mi.load_dict(
        {
            "type": "scene", "asset": {"type": "neural_asset", "weights": weights, **shape}, "sensor": sensor(mi),
            **{f"light_{k}": light(mi, kind) for k, kind in enumerate(lights)}, **(extra or {}),
        },
        parallel=False,
    )  # fmt: skip


def mean_of(mi, scene, spp: int = 64, runs: int = RUNS, seed: int = 0, **options):  # noqa: ANN001, ANN003, ANN202
    integrator = mi.load_dict({"type": "nap_path", **options})
    return mean_and_error(lambda s: np.asarray(mi.render(scene, integrator=integrator, spp=spp, seed=s)).mean((0, 1)), runs, seed)


def integral(kind: str) -> np.ndarray:
    """L_o of the uniform-ray asset: albedo / (pi A) times the flux that enters the proxy sphere."""
    distance = np.linalg.norm(POINT_AT)
    if kind == "constant":
        return ALBEDO
    if kind == "point":
        cone = 2 * np.pi * (1 - np.sqrt(1 - (RADIUS / distance) ** 2))
        return ALBEDO * POINT_INTENSITY * cone / (np.pi * AREA)
    # area light: from each of its points the sphere is seen in a cone of sin(alpha) = R / D, whose projected
    # solid angle is pi sin^2(alpha) cos(axis, normal); midpoint rule over the rectangle
    k = (np.arange(64) + 0.5) / 32 - 1
    axis = -LAMP_AT / distance
    side = np.cross(axis, [0, 1, 0])
    side /= np.linalg.norm(side)
    up = np.cross(side, axis)
    y = LAMP_AT + LAMP_SIZE * (k[:, None, None] * side + k[None, :, None] * up)
    d = np.linalg.norm(y, axis=-1)
    projected = np.pi * (RADIUS / d) ** 2 * (-y @ axis) / d
    return ALBEDO * LAMP_RADIANCE * projected.mean() * (2 * LAMP_SIZE) ** 2 / (np.pi * AREA)


@pytest.mark.parametrize("kind", ["constant", "area", "point"])
@pytest.mark.parametrize("options", [{}, {"mis": False}, {"channels": "hero"}], ids=["mis", "no-mis", "hero"])
def test_known_transport_equals_the_integral(llvm, kind: str, options: dict) -> None:  # noqa: ANN001
    scene = scene_of(llvm, uniform_asset("oracle"), kind)
    assert_same_mean(mean_of(llvm, scene, **options), (integral(kind), np.zeros(3)), RUNS)


@pytest.mark.parametrize("options", [{}, {"mis": False}, {"channels": "hero"}], ids=["mis", "no-mis", "hero"])
def test_direct_lobe_adds_to_the_network(llvm, options: dict) -> None:  # noqa: ANN001
    """A diffuse ball (reflectance rho, no self-shadow) on top of a known transport, under a constant environment."""
    rho = np.array([0.05, 0.2, 0.4])
    ball = {"ball": {"type": "sphere", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": rho.tolist()}}}}
    weights = uniform_asset("with-direct", albedo=(0.5, 0.4, 0.3), separate=True, boundary=ball)
    scene = scene_of(llvm, weights, "constant")
    expected = rho + np.array([0.5, 0.4, 0.3])
    assert_same_mean(mean_of(llvm, scene, **options), (expected, np.zeros(3)), RUNS)


def test_refracted_rays_into_a_closed_asset_are_not_direct(llvm) -> None:  # noqa: ANN001
    """Black network behind a smooth dielectric: only the mirror lobe is left, as of a path that ends inside."""
    weights = uniform_asset("black", albedo=(0.0, 0.0, 0.0), separate=True)
    scene = scene_of(llvm, weights, "constant")
    inside = {"type": "sphere", "bsdf": {"type": "dielectric"}}
    plain = llvm.load_dict({"type": "scene", "ball": inside, "sensor": sensor(llvm), "sky": light(llvm, "constant")})
    reflected = llvm.load_dict({"type": "path", "max_depth": 2})  # one event: rays refracted inwards find no light
    reference = mean_and_error(lambda s: np.asarray(llvm.render(plain, integrator=reflected, spp=256, seed=s)).mean((0, 1)), RUNS, 100)
    assert 0.02 < reference[0].mean() < 0.2
    assert_same_mean(mean_of(llvm, scene), reference, RUNS)


@pytest.mark.parametrize("kind", ["random", pytest.param("uniform", marks=pytest.mark.slow)])
def test_means_agree_on_a_floor_that_cuts_the_proxy(llvm, kind: str) -> None:  # noqa: ANN001
    """Near lamp, floor through the proxy sphere: emitter sampling from u_i and rays from x_i must see the same light."""
    floor = {"floor": {"type": "rectangle", "to_world": llvm.ScalarTransform4f().translate([0, 0, -1.0]).scale(8)}}
    weights = uniform_asset("floor") if kind == "uniform" else random_asset("floor-random", seed=1)
    scene = scene_of(llvm, weights, "area", extra=floor)
    with_mis = mean_of(llvm, scene, seed=10)
    assert_same_mean(with_mis, mean_of(llvm, scene, spp=128, mis=False, seed=30), RUNS)
    assert_same_mean(with_mis, mean_of(llvm, scene, channels="hero", seed=50), RUNS)
    assert with_mis[0].min() > 0


@pytest.mark.parametrize(
    ("coordinates", "proxy"), [("local", "sphere"), pytest.param("local", "box", marks=pytest.mark.slow), ("paper", "box")]
)
def test_energy_of_random_models_under_a_constant_sky_is_their_albedo(llvm, coordinates: str, proxy: str) -> None:  # noqa: ANN001
    """Whatever p is, it integrates to one: every technique must give the albedo alone."""
    scene = scene_of(llvm, random_asset("energy", seed=2, coordinates=coordinates, proxy=proxy), "constant")
    path_only = mean_of(llvm, scene, mis=False, max_depth=2)
    for options in ({}, {"channels": "hero"}, {"memory": "280MB"}):
        assert_same_mean(mean_of(llvm, scene, max_depth=2, seed=20, **options), path_only, RUNS)


def test_passes_do_not_change_the_mean(llvm) -> None:  # noqa: ANN001
    scene = scene_of(llvm, random_asset("passes", seed=3), "area")
    assert_same_mean(mean_of(llvm, scene, spp=128), mean_of(llvm, scene, spp=128, memory="210MB", seed=40), RUNS)


def test_transformed_asset_equals_the_asset_in_place(llvm) -> None:  # noqa: ANN001
    """The whole scene rotated, scaled and moved gives the same picture; two instances share one model."""
    mi = llvm
    weights = random_asset("moved", seed=4, separate=True)
    t = mi.ScalarTransform4f().translate([3, -2, 5]).rotate([0.36, 0.48, 0.8], 70).scale(2.5)

    def build(transform) -> object:  # noqa: ANN001
        lamp = transform @ mi.ScalarTransform4f().look_at(LAMP_AT.tolist(), [0, 0, 0], [0, 1, 0]).scale(LAMP_SIZE)
        camera = sensor(mi, fov=24)
        eye, target, up = (transform @ v for v in (mi.ScalarPoint3f(0, -6, 0), mi.ScalarPoint3f(0, 0, 0), mi.ScalarVector3f(0, 0, 1)))
        camera["to_world"] = mi.ScalarTransform4f().look_at(eye, target, up)
        second = transform @ mi.ScalarTransform4f().translate([-0.4, 0.3, 2.4]).rotate([1, 0, 0], 90).scale(0.5)
        return mi.load_dict({
            "type": "scene", "a": {"type": "neural_asset", "weights": weights, "to_world": transform},
            "b": {"type": "neural_asset", "weights": weights, "to_world": second}, "sensor": camera,
            "lamp": {"type": "rectangle", "to_world": lamp, "emitter": {"type": "area", "radiance": 10.0}},
        })  # fmt: skip

    integrator = mi.load_dict({"type": "nap_path"})

    def picture(scene: object):  # noqa: ANN202
        return mean_and_error(lambda s: blocks(np.asarray(mi.render(scene, integrator=integrator, spp=48, seed=s)), 4), 12, 0)

    place, moved = picture(build(mi.ScalarTransform4f())), picture(build(t))
    assert place[0].max() > 0.01
    noise = np.hypot(place[1], moved[1])
    assert (np.abs(place[0] - moved[0]) <= 5 * noise + 1e-4).all()
    assert_same_mean(
        (place[0].mean((0, 1)), np.sqrt((place[1] ** 2).sum((0, 1))) / 16),
        (moved[0].mean((0, 1)), np.sqrt((moved[1] ** 2).sum((0, 1))) / 16),
        12,
    )


def test_the_last_few_paths_keep_the_mean(llvm, monkeypatch) -> None:  # noqa: ANN001
    """Within a sphere that emits 1 and reflects 0.7 it is 1 / 0.3 bright, and paths are shorter where all of them are few."""
    from mi_neural_asset.render import path

    inside = {"type": "sphere", "flip_normals": True, "radius": 10.0, "bsdf": {"type": "diffuse", "reflectance": 0.7},
              "emitter": {"type": "area", "radiance": 1.0}}  # fmt: skip
    scene = llvm.load_dict({"type": "scene", "inside": inside, "sensor": sensor(llvm)})
    widths: list[int] = []
    bounce = path.PathTracer._bounce

    def counted(self, depth, lanes, *others):  # noqa: ANN001, ANN002, ANN202
        widths.append(dr.width(lanes.index))
        return bounce(self, depth, lanes, *others)

    monkeypatch.setattr(path.PathTracer, "_bounce", counted)
    lengths = []
    for few_of in (1 << 30, 1):
        monkeypatch.setattr(path, "FEW_OF", few_of)
        monkeypatch.setattr(path, "FEW", 1 << 30)
        widths.clear()
        assert_same_mean(mean_of(llvm, scene, rr_depth=1), (np.full(3, 1 / 0.3), np.zeros(3)), RUNS)
        lengths.append(sum(widths))
    assert lengths[1] < 0.75 * lengths[0]


@pytest.mark.parametrize(
    "options", [{}, {"max_depth": 3}, {"hide_emitters": True}, {"rr_depth": 2}], ids=["plain", "depth", "hide", "roulette"]
)
def test_without_assets_it_equals_path(llvm, options: dict) -> None:  # noqa: ANN001
    mi = llvm
    box = mi.cornell_box()
    box["sensor"]["film"].update(width=32, height=32, rfilter={"type": "box"})
    box["glass"] = {"type": "sphere", "center": [0.3, -0.4, 0.2], "radius": 0.25, "bsdf": {"type": "dielectric"}}
    scene = mi.load_dict(box)

    def picture(kind: str, seed: int):  # noqa: ANN202
        integrator = mi.load_dict({"type": kind, **options})
        return mean_and_error(lambda s: blocks(np.asarray(mi.render(scene, integrator=integrator, spp=32, seed=s))[..., :3], 8), RUNS, seed)

    ours, theirs = picture("nap_path", 0), picture("path", 1000)
    assert_same_mean(ours, theirs, RUNS)


def test_paths_without_a_finite_weight_are_counted(llvm) -> None:  # noqa: ANN001
    """A BSDF that reflects nothing may give no direction: such a path has ended, and nothing is wrong with it."""
    ball = {"type": "sphere", "radius": 9.0, "bsdf": broken_bsdf(llvm)}  # around the camera
    scene = llvm.load_dict({"type": "scene", "ball": ball, "sensor": sensor(llvm)})
    integrator = llvm.load_dict({"type": "nap_path", "max_depth": 2})
    picture = np.asarray(llvm.render(scene, integrator=integrator, spp=16))
    assert np.isfinite(picture).all()
    paths = 16 * picture.shape[0] * picture.shape[1]
    assert stats.binomtest(integrator.statistics.invalid, paths, INVALID).pvalue > 0.01


def test_alpha_and_aovs_are_those_of_mitsuba(llvm) -> None:  # noqa: ANN001
    mi = llvm
    film = {"type": "hdrfilm", "width": 16, "height": 16, "rfilter": {"type": "box"}, "pixel_format": "rgba"}
    camera = {**sensor(mi, fov=30), "film": film, "sampler": {"type": "stratified", "sample_count": 64}}
    scene = scene_of(mi, uniform_asset("aov"), "area", extra={"sensor": camera})
    ours = np.asarray(mi.render(scene, integrator=mi.load_dict({"type": "nap_path", "aovs": "dd:depth,nn:sh_normal"}), spp=64))
    aov = mi.load_dict({"type": "aov", "aovs": "dd:depth,nn:sh_normal", "image": {"type": "path", "max_depth": 2}})
    theirs = np.asarray(mi.render(scene, integrator=aov, spp=64))
    assert ours.shape == theirs.shape == (16, 16, 8)
    np.testing.assert_allclose(ours[..., 3:], theirs[..., 3:], atol=0.12)  # both jitter within the pixel
    assert abs(ours[..., 3] - theirs[..., 3]).mean() < 0.01


@pytest.mark.parametrize("kind", ["stratified", "independent"])
def test_camera_rays_are_even_over_a_pixel(llvm, kind: str) -> None:  # noqa: ANN001
    """Half a pixel's coverage is better than with independent samples: the structure of a sampler survives the passes, and where it has
    none our own numbers have."""
    mi = llvm

    def deviation(integrator: str, sampler: str) -> float:
        upright = mi.ScalarTransform4f().rotate([1, 0, 0], 90).scale(0.33)
        card = {"type": "rectangle", "to_world": upright, "emitter": {"type": "area", "radiance": 1.0}}
        camera = {**sensor(mi, size=4), "sampler": {"type": sampler, "sample_count": 64}}
        scene = mi.load_dict({"type": "scene", "card": card, "sensor": camera})
        integrator = mi.load_dict({"type": integrator})
        runs = [np.asarray(mi.render(scene, integrator=integrator, seed=s)) for s in range(16)]
        return float(np.stack(runs).std(0).mean())

    assert deviation("nap_path", kind) < 0.7 * deviation("path", "independent")


def test_wrong_properties_are_named(llvm) -> None:  # noqa: ANN001
    mi = llvm
    with pytest.raises(RuntimeError, match='"channels" must be "balance" or "hero"'):
        mi.load_dict({"type": "nap_path", "channels": "loudest"})
    for exits in (0, 65, 2.5, -0.5):
        with pytest.raises(RuntimeError, match=f'"exits" must be one of the numbers 1 to 64, or a share of the hits, got {exits}'):
            mi.load_dict({"type": "nap_path", "exits": exits})
    scene = scene_of(mi, uniform_asset("wrong"), "constant")
    with pytest.raises(RuntimeError) as info:
        mi.render(scene, integrator=mi.load_dict({"type": "nap_path", "memory": 0}), spp=1)
    assert '"memory" must be a positive number' in str(info.value.__cause__)
    for transform, message in (
        (mi.ScalarTransform4f().scale([1, 1, 2]), "scales the axes differently"),
        (mi.ScalarTransform4f().scale([-1, 1, 1]), "mirrors the asset"),
    ):
        with pytest.raises(RuntimeError, match=message):
            scene_of(mi, uniform_asset("wrong"), "constant", to_world=transform)
    with pytest.raises(RuntimeError, match="weights file 'nowhere.pt' does not exist"):
        scene_of(mi, "nowhere.pt", "constant")
    with pytest.raises(RuntimeError, match='"weights" is missing'):
        mi.load_dict({"type": "scene", "a": {"type": "neural_asset"}})


def test_bsdf_child_overrides_the_direct_lobe(llvm) -> None:  # noqa: ANN001
    weights = uniform_asset("override", albedo=(0.0, 0.0, 0.0), separate=True)
    scene = scene_of(llvm, weights, "constant", surface={"type": "diffuse", "reflectance": 0.25})
    assert_same_mean(mean_of(llvm, scene), (np.full(3, 0.25), np.zeros(3)), RUNS)


def test_assets_are_listed_by_traverse_and_share_their_weights(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.render.instances import SceneAssets

    weights = uniform_asset("listed")
    mi = llvm
    places = [mi.ScalarTransform4f().translate([3 * k, 0, 0]) for k in range(3)]
    shapes = {f"asset_{k}": {"type": "neural_asset", "weights": weights, "to_world": t} for k, t in enumerate(places)}
    scene = mi.load_dict({"type": "scene", **shapes})
    assert sum("weights" in key for key in mi.traverse(scene).keys()) == 3  # noqa: SIM118
    assets = SceneAssets(scene)
    assert len(assets) == 3 and len(assets.models) == 1


def kernels_made(render) -> int:  # noqa: ANN001
    """Kernels that were compiled, or read from the disk, for want of one in memory."""
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        dr.kernel_history_clear()
        render()
        launched = [kernel for kernel in dr.kernel_history() if kernel["type"] == dr.KernelType.JIT]
    assert len(launched) > 100
    return sum(not kernel["cache_hit"] or kernel["cache_disk"] for kernel in launched)


def test_no_kernel_is_compiled_for_another_number_of_samples(llvm) -> None:  # noqa: ANN001
    """The text of a kernel must know neither the size of the picture nor how many lanes are alive, nor which random number it is."""
    floor = {"type": "rectangle", "to_world": llvm.ScalarTransform4f().translate([0, 0, -1.5]).scale(4)}
    scene = scene_of(llvm, random_asset("kernels", seed=2, separate=True), "area", "constant", extra={"floor": floor})
    integrator = llvm.load_dict({"type": "nap_path", "max_depth": 5})

    def render(spp: int) -> None:
        image = np.asarray(llvm.render(scene, integrator=integrator, spp=spp, seed=spp))
        assert np.isfinite(image).all() and integrator.statistics.events > 1000

    assert kernels_made(lambda: render(24)) > 10
    assert kernels_made(lambda: render(37)) == 0
    assert kernels_made(lambda: render(64)) == 0


def test_copies_share_a_boundary_until_somebody_looks(llvm) -> None:  # noqa: ANN001
    """One group for all copies of a scene; what is changed in one scene stays there; a BSDF in the scene file is its shape's alone."""
    weights = random_asset("copies", seed=4, separate=True)

    def copies(**nested):  # noqa: ANN003, ANN202
        places = [{"to_world": llvm.ScalarTransform4f().translate([x, 0, 0])} for x in (-3, 0, 3)]
        shapes = {f"asset_{k}": {"type": "neural_asset", "weights": weights, **place} for k, place in enumerate(places)}
        shapes["asset_2"] |= nested
        return llvm.load_dict({"type": "scene", **shapes}, parallel=False)

    def groups(scene) -> list:  # noqa: ANN001
        return [handle.group for handle in sorted(find_handles(scene), key=lambda handle: handle.id())]

    def index(scene) -> float:  # noqa: ANN001
        (name,) = [key for key in llvm.traverse(scene).keys() if key.endswith("ball.bsdf.eta")]  # noqa: SIM118
        return llvm.traverse(scene)[name]

    first = copies()
    assert len({id(group) for group in groups(first)}) == 1
    parameters = llvm.traverse(first)
    parameters["group.ball.bsdf.eta"] = 1.25
    parameters.update()
    second = copies()
    assert index(first) == 1.25 and abs(index(second) - 1.5046) < 1e-3
    assert groups(second)[0] is not groups(first)[0]
    other = groups(copies(bsdf={"type": "diffuse"}))
    assert other[0] is other[1] and other[2] is None
