"""Networks in half precision: another model by little, whose draws and densities still belong together."""

import drjit as dr
import numpy as np
import pytest
import torch
from oracle import LAYOUTS, SMALL, model_of, random_asset
from scipy import stats
from test_engines import Lanes, everything
from test_recorded import needs_gpu

from mi_neural_asset.asset.cache import resolve
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.far_field import FarField
from mi_neural_asset.model.kinds import in_half

LANES = 200_000
SIGNIFICANCE = 1e-3


def engines(model, device: str = "cpu"):  # noqa: ANN001, ANN201
    """The model by both engines: in half precision (torch, Dr.Jit), and in single."""
    from mi_neural_asset.render.engine import Engine
    from mi_neural_asset.render.fused_engine import FusedEngine

    return Engine(in_half(model, device), device), FusedEngine(model, half=True), Engine(model)


def errors(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """Medians of relative errors."""
    return {name: float(np.median(np.abs(ours[name] - value) / (np.abs(value) + 1e-3))) for name, value in theirs.items()}


@pytest.mark.parametrize("case", LAYOUTS)
def test_numbers_differ_by_rounding_alone(llvm, case: str) -> None:  # noqa: ANN001
    """Eight bits of each number: the albedo has all of them, densities differ by some thousandths, whichever engine says so."""
    model = model_of(case)
    lanes = Lanes(llvm, model, 4000)
    some = lanes.some(0.6)
    torch_half, fused_half, single = engines(model)
    exact = everything(single, lanes, some)
    for engine in (torch_half, fused_half):
        found = errors(everything(engine, lanes, some, exact), exact)
        assert found.pop("albedo") < 2e-6
        assert all(1e-6 < error < 0.02 for error in found.values()), found


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("case", LAYOUTS)
def test_half_precision_on_a_gpu(llvm, case: str) -> None:  # noqa: ANN001
    """Eleven bits there."""
    from mi_neural_asset.render.recorded_engine import RecordedEngine

    model = model_of(case)
    lanes = Lanes(llvm, model, 4000)
    some = lanes.some(0.6)
    single = engines(model)[-1]
    exact = everything(single, lanes, some)
    found = errors(everything(RecordedEngine(in_half(model, "cuda"), "cuda"), lanes, some, exact), exact)
    assert found.pop("albedo") < 2e-5
    assert all(1e-7 < error < 0.003 for error in found.values()), found


@pytest.mark.parametrize("number", [0, 1], ids=["torch", "drjit"])
def test_what_is_drawn_follows_the_densities(llvm, number: int) -> None:  # noqa: ANN001
    """Sums over directions at one hit, from those that are drawn and from even ones with their densities: equal within the noise."""
    model = model_of("probes")
    engine, lanes = engines(model)[number], Lanes(llvm, model, LANES)
    hit = dr.zeros(llvm.UInt32, LANES) + LANES // 2
    lanes.x_o, lanes.w_o, lanes.n = (dr.gather(type(v), v, hit) for v in (lanes.x_o, lanes.w_o, lanes.n))
    lanes.around = lanes.around[LANES // 2].expand(LANES, -1).contiguous()
    every = dr.arange(llvm.UInt32, LANES)
    event = engine.begin(lanes.x_o, lanes.w_o, lanes.n, lanes.around, lanes.z_channel, lanes.z_exit, False)
    w, weight, _ = (np.array(value) for value in engine.draw(event, every, lanes.z))
    value, _ = engine.evaluate(event, every, lanes.w)
    even, value = np.array(lanes.w), np.array(value) * 4 * np.pi
    for axis in range(3):
        drawn, summed = (np.exp(d[axis]) * x for d, x in ((w, weight), (even, value)))
        spread = np.sqrt((drawn.var(-1) + summed.var(-1)) / LANES)
        z = (drawn.mean(-1) - summed.mean(-1)) / spread
        assert (np.abs(z) < stats.norm.isf(SIGNIFICANCE / 18)).all(), (axis, z)


@pytest.mark.parametrize("knots", [5, 8, 12])
@pytest.mark.parametrize("periodic", [False, True])
def test_words_of_two_numbers_are_read_as_they_are(llvm, knots: int, periodic: bool) -> None:  # noqa: ANN001
    """A spline of bfloat16 in words is that of the same numbers in float32, bit for bit."""
    from drjit.llvm import Float, UInt32

    from mi_neural_asset.fused.tiles import memory_of
    from mi_neural_asset.splines.llvm import Spline, packet_size
    from mi_neural_asset.splines.plain import raw_size

    lanes, packet = 3000, packet_size(half=True)
    size = packet * -(-raw_size(knots, periodic) // packet)
    raw = (3 * torch.randn(lanes, size, generator=torch.Generator().manual_seed(knots))).bfloat16()
    z = Float(torch.rand(lanes, generator=torch.Generator().manual_seed(1)))
    row = dr.arange(UInt32, lanes)
    narrow, wide = (Spline(memory, row, knots, periodic, size) for memory in (memory_of(raw), memory_of(raw.float())))
    for ask in (lambda spline: spline.sample(z), lambda spline: spline.log_density(z)):
        said = np.array(ask(narrow))
        assert np.array_equal(said, np.array(ask(wide))) and np.isfinite(said).all() and len(np.unique(said)) > lanes // 2


def stage(mi, weights: str):  # noqa: ANN001, ANN201
    """An asset under a lamp and a sky."""
    look_at = mi.ScalarTransform4f().look_at
    return mi.load_dict({
        "type": "scene", "asset": {"type": "neural_asset", "weights": weights},
        "sensor": {"type": "perspective", "fov": 40, "to_world": look_at([0, -4, 1], [0, 0, 0], [0, 0, 1]),
                   "film": {"type": "hdrfilm", "width": 32, "height": 32, "rfilter": {"type": "box"}}},
        "lamp": {"type": "rectangle", "to_world": look_at([0, 0, 3], [0, 0, 0], [1, 0, 0]), "emitter": {"type": "area", "radiance": 6.0}},
        "sky": {"type": "constant", "radiance": 0.3},
    })  # fmt: skip


@pytest.mark.parametrize("engine", ["torch", "drjit"])
def test_pictures_are_nearly_the_same(llvm, engine: str) -> None:  # noqa: ANN001
    scene = stage(llvm, random_asset("precision", seed=4, separate=True))
    single, half = (
        np.array(llvm.render(scene, integrator=llvm.load_dict({"type": "nap_path", "engine": engine, "precision": name}), spp=64, seed=5))
        for name in ("single", "half")
    )
    assert 0 < np.abs(half - single).mean() < 0.01 * single.mean()
    assert abs(half.mean() / single.mean() - 1) < 2e-3


def test_precisions_do_not_mix(llvm) -> None:  # noqa: ANN001
    """An asset that is in use in both keeps its weights, and each render has its own."""
    from mi_neural_asset.render.instances import prepared

    asset = resolve(random_asset("precisions"))
    single, half = (prepared(asset, "cpu", "torch", precision).engine.model for precision in ("single", "half"))
    kinds = [{parameter.dtype for parameter in model.parameters()} for model in (single, half)]
    assert kinds == [{torch.float32}, {torch.float32, torch.bfloat16}]
    assert all(parameter.dtype == torch.float32 for parameter in half.albedo_net.parameters())


def test_the_sampler_alone_of_a_far_field_is_rounded() -> None:
    """Its value is the picture's: it stays."""
    halved = in_half(FarField(ModelConfig(**{**SMALL, "occlusion": 0, "probes": 0})), "cpu")
    kinds = [{parameter.dtype for parameter in part.parameters()} for part in (halved.steps, halved.value_net)]
    assert kinds == [{torch.bfloat16}, {torch.float32}]


def test_unknown_precision(llvm) -> None:  # noqa: ANN001
    with pytest.raises(Exception, match='"precision" must be one of single, half, got \'double\''):
        llvm.load_dict({"type": "nap_path", "precision": "double"})
