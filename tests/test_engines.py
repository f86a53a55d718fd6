"""Engines evaluate the same model to the same numbers, whatever its sizes and however many lanes there are."""

import drjit as dr
import numpy as np
import pytest
import torch
from oracle import LAYOUTS, PROBES, SMALL, Asset, lambert_asset, model_of, random_asset
from test_recorded import Calls, needs_gpu

from mi_neural_asset.asset.cache import remember
from mi_neural_asset.model.config import ModelConfig
from mi_neural_asset.model.transport import Transport


class Lanes:
    """Random lanes on a unit sphere, and uniform numbers for them."""

    def __init__(self, mi, model: Transport, count: int, copies: int = 1) -> None:  # noqa: ANN001
        rng = np.random.default_rng(count)
        self.mi, self._rng, self.count = mi, rng, copies * count
        self.n, self.w_o = self._directions(count), self._directions(count)
        self.d, self.w = self._directions(self.count), self._directions(self.count)
        self.x_o = mi.Point3f(0.9 * self.n)
        around = rng.random((count, model.config.surroundings)).astype(np.float32)
        if model.probes:
            around[:, -6:-3] = rng.integers(0, PROBES, (count, 3))
            around[:, -3:] /= around[:, -3:].sum(1, keepdims=True)
            around[: count // 8, -6:] = 0  # beside the surface
        self.around = torch.tensor(around)
        self.z_channel, self.z_exit, self.z = self._uniform(), self._pair(), self._pair()

    def _directions(self, count: int):  # noqa: ANN202
        d = self._rng.normal(size=(3, count))
        return self.mi.Vector3f((d / np.linalg.norm(d, axis=0)).astype(np.float32))

    def _uniform(self):  # noqa: ANN202
        return self.mi.Float(self._rng.random(self.count).astype(np.float32))

    def _pair(self):  # noqa: ANN202
        return self.mi.Point2f(self._uniform(), self._uniform())

    def some(self, share: float):  # noqa: ANN201
        chosen = np.flatnonzero(self._rng.random(self.count) < share)
        return self.mi.UInt32((chosen if len(chosen) else np.zeros(1)).astype(np.uint32))


def everything(engine, lanes: Lanes, some, given: dict | None = None, hero: bool = False) -> dict[str, np.ndarray]:  # noqa: ANN001
    """All that an engine says of lanes; `given`: u to be asked for, instead of that which it draws.

    It is asked for directions of all angles to that of u: near it a density amplifies how u was rounded.
    """
    def take(value):  # noqa: ANN001, ANN202
        return dr.gather(type(value), value, some)

    event = engine.begin(lanes.x_o, lanes.w_o, lanes.n, lanes.around, lanes.z_channel, lanes.z_exit, hero)
    said = {"u": engine.exit_point(event), "albedo": engine.albedo(event), "q_u": engine.exit_density(event)}
    said["w"], said["weight"], said["q_w"] = engine.draw(event, some, take(lanes.z))
    u, w = lanes.mi.Point3f((given or said)["u"]), take(lanes.w)
    said["value"], said["density"] = engine.evaluate(event, some, w)
    nobody, z = dr.zeros(lanes.mi.Float, dr.width(some)), take(lanes.z_channel)
    said["ray"], said["ray u"], said["ray w"] = engine.evaluate_ray(event, some, take(u), w, nobody, z)
    bar = 0.3 / (4 * np.pi) * take(lanes.z_channel)
    said["roulette"], *_ = engine.evaluate_ray(event, some, take(u), w, bar, take(lanes.z_exit.x))
    return {name: np.array(value) for name, value in said.items()}


def agree(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    for name, value in theirs.items():
        assert ours[name].shape == value.shape and np.isfinite(ours[name]).all(), name
        error = np.abs(ours[name] - value) / (np.abs(value) + 1e-3)
        assert np.median(error) < 2e-5, (name, np.median(error))
        assert np.quantile(error, 0.99) < 2e-3, (name, np.quantile(error, 0.99))  # densities of narrow bins amplify rounding


@pytest.mark.parametrize("case", LAYOUTS)
@pytest.mark.parametrize("hero", [False, True])
def test_both_engines_say_the_same(llvm, case, hero) -> None:  # noqa: ANN001
    from mi_neural_asset.render.engine import Engine
    from mi_neural_asset.render.fused_engine import FusedEngine

    model = model_of(case)
    lanes = Lanes(llvm, model, 4000)
    for share in (1.0, 0.4):
        some = lanes.some(share)
        theirs = everything(Engine(model), lanes, some, hero=hero)
        agree(everything(FusedEngine(model), lanes, some, theirs, hero), theirs)


@pytest.mark.parametrize("name", ["Engine", "FusedEngine"])
def test_rays_that_bring_little_count_the_same_on_average(llvm, name: str) -> None:  # noqa: ANN001
    """Each ray with 256 even numbers z: within what one of them counts, its mean is the ray's value; above the bar all count 1."""
    from mi_neural_asset.render import engine, fused_engine

    engine, strata = {"Engine": engine.Engine, "FusedEngine": fused_engine.FusedEngine}[name](model_of("probes")), 256
    lanes = Lanes(llvm, engine.model, 64)
    event = engine.begin(lanes.x_o, lanes.w_o, lanes.n, lanes.around, lanes.z_channel, lanes.z_exit, False)
    rows, of_u = dr.repeat(dr.arange(llvm.UInt32, lanes.count), strata), engine.exit_point(event)
    ray = (dr.gather(type(value), value, rows) for value in (of_u, lanes.w))
    even = llvm.Float((np.tile(np.arange(strata), lanes.count) + 0.5) / strata)
    bar = dr.sum(engine.albedo(event)) / 3 / (4 * np.pi)
    nobody = dr.zeros(llvm.Float, lanes.count)
    plain, *_ = engine.evaluate_ray(event, dr.arange(llvm.UInt32, lanes.count), of_u, lanes.w, nobody, nobody)
    played, *_ = engine.evaluate_ray(event, rows, *ray, dr.gather(llvm.Float, bar, rows), even)
    plain, played = np.array(plain).T, np.array(played).T.reshape(lanes.count, strata, 3)
    count = (played > 0).all(-1).sum(1)
    assert (count < strata).sum() > 8 and (count == strata).sum() > 8 and count.min() > 0
    error = np.abs(played.mean(1) - plain).max(1)
    assert (error <= (played.max(1) / strata).max(1) * (count < strata) + 1e-4 * plain.max(1)).all()


def test_any_number_of_lanes(llvm) -> None:  # noqa: ANN001
    """One lane, one tile and one lane more, several chunks; and few lanes of many."""
    from mi_neural_asset.fused.tiles import LANES
    from mi_neural_asset.render.engine import Engine
    from mi_neural_asset.render.fused_engine import CHUNK, FusedEngine

    model = model_of("probes")
    fused, plain = FusedEngine(model), Engine(model)
    for count in (1, 2, 17, LANES, LANES + 1, CHUNK + 1):
        lanes = Lanes(llvm, model, count)
        for share in (1.0, 3 / count, 0.5):
            some = lanes.some(share)
            theirs = everything(plain, lanes, some)
            agree(everything(fused, lanes, some, theirs), theirs)


@pytest.mark.parametrize("copies", [pytest.param(2, marks=pytest.mark.slow), 4, 7])
def test_exits_that_share_a_hit_are_those_of_hits_alone(llvm, copies: int) -> None:  # noqa: ANN001
    """Several exits of each hit, by both engines: the same as of as many hits at the same place."""
    from mi_neural_asset.fused.tiles import LANES
    from mi_neural_asset.render.engine import Engine
    from mi_neural_asset.render.fused_engine import CHUNK, FusedEngine
    from mi_neural_asset.render.lanes import repeat

    model = model_of("probes")
    fused, plain = FusedEngine(model), Engine(model)
    for count in (1, 17, LANES // copies, LANES // copies + 1, CHUNK // copies + 1):
        lanes = Lanes(llvm, model, count, copies)
        alone = Lanes(llvm, model, count, copies)
        alone.x_o, alone.w_o, alone.n = (repeat(value, copies) for value in (lanes.x_o, lanes.w_o, lanes.n))
        alone.around = lanes.around.repeat_interleave(copies, 0)
        for share in (1.0, 0.5):
            some = lanes.some(share)
            theirs = everything(plain, alone, some)
            agree(everything(plain, lanes, some, theirs), theirs)
            agree(everything(fused, lanes, some, theirs), theirs)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])])
@pytest.mark.parametrize("copies", [1, 4])
def test_recorded_tiles_say_the_same(llvm, monkeypatch, device: str, copies: int) -> None:  # noqa: ANN001
    """Batches that fill a tile, that do not, and that need several; sizes that were met before are not recorded again."""
    from mi_neural_asset.render import recorded_engine
    from mi_neural_asset.render.engine import Engine

    monkeypatch.setattr(recorded_engine, "SIZES", (64, 1024))
    monkeypatch.setattr(recorded_engine.RecordedEngine, "most", 1024)
    model, recorder = model_of("probes"), Calls() if device == "cpu" else None
    plain, recorded = Engine(model, device), recorded_engine.RecordedEngine(model, device, recorder)
    kinds = set()
    for count in (3, 64, 65, 2100, 5):
        lanes = Lanes(llvm, model, count, copies)
        for hero in (False, True):
            some = lanes.some(0.7)
            theirs = everything(plain, lanes, some, hero=hero)
            agree(everything(recorded, lanes, some, theirs, hero), theirs)
        kinds.add(len(recorded._tiles))
    assert max(kinds) <= 2 * (2 + 3)  # begin in both ways, draw, evaluate, evaluate_ray; two sizes
    assert recorder is None or recorder.recorded == len(recorded._tiles)


def test_kernels_read_copies_of_what_the_renderer_has(llvm) -> None:  # noqa: ANN001
    """Tensors of Dr.Jit's memory that become Dr.Jit's arrays again are freed by its workers, which then wait for each other's locks."""
    from mi_neural_asset.render.fused_engine import FusedEngine

    def memory(*arrays) -> set[int]:  # noqa: ANN002
        return {column.torch().data_ptr() for array in arrays for column in (array if dr.depth_v(array) > 1 else [array])}

    model = model_of("probes")
    lanes = Lanes(llvm, model, 3000)
    dr.eval(lanes.x_o, lanes.w_o, lanes.n, lanes.z_channel, lanes.z_exit)
    event = FusedEngine(model).begin(lanes.x_o, lanes.w_o, lanes.n, lanes.around, lanes.z_channel, lanes.z_exit, False)
    batch = event.parts[0].batch
    given = memory(lanes.x_o, lanes.w_o, lanes.n, lanes.z_channel, lanes.z_exit) | {lanes.around.data_ptr()}
    assert len(given) == 13
    assert given.isdisjoint(memory(batch.x_o, batch.w_o, batch.n, batch.around))


def test_kernels_are_recorded_once_for_all_sizes(llvm) -> None:  # noqa: ANN001
    """Patterns of equal widths among the arguments (one tile, all lanes, two arrays of equal size by chance) are few; sizes are many."""
    from mi_neural_asset.render.fused_engine import FusedEngine

    engine, model = FusedEngine(model_of("sphere")), model_of("sphere")
    counts = [(3 * k + 40) * (1 + 97 * (k % 2)) for k in range(12)]

    def recorded() -> int:
        run = engine._kernels
        return sum(getattr(run, name).n_recordings for name, kernel in vars(run).items() if hasattr(kernel, "n_recordings"))

    totals = []
    for count in counts:
        lanes = Lanes(llvm, model, count)
        for share in (1.0, 0.5):
            everything(engine, lanes, lanes.some(share))
        totals.append(recorded())
    assert totals[-1] - totals[3] <= 6, totals  # of the 176 launches with other sizes since then


@pytest.mark.parametrize("proxy", ["sphere", "box"])
def test_pictures_are_the_same(llvm, proxy) -> None:  # noqa: ANN001
    """Same seed: what differs is rounding, and the rare path that takes another turn for it."""
    weights = random_asset(f"engines-{proxy}", seed=4, separate=True, proxy=proxy)
    stage = {
        "type": "scene",
        "sensor": {
            "type": "perspective", "fov": 40, "to_world": llvm.ScalarTransform4f().look_at([0, -4, 1], [0, 0, 0], [0, 0, 1]),
            "film": {"type": "hdrfilm", "width": 40, "height": 40, "rfilter": {"type": "box"}},
        },
        "asset": {"type": "neural_asset", "weights": weights},
        "lamp": {"type": "rectangle", "to_world": llvm.ScalarTransform4f().look_at([0, 0, 3], [0, 0, 0], [1, 0, 0]),
                 "emitter": {"type": "area", "radiance": 6.0}},
        "sky": {"type": "constant", "radiance": 0.3},
    }  # fmt: skip
    scene = llvm.load_dict(stage)
    one, other = (
        np.array(llvm.render(scene, integrator=llvm.load_dict({"type": "nap_path", "engine": name}), spp=16, seed=5))
        for name in ("torch", "drjit")
    )
    assert abs(other.mean() / one.mean() - 1) < 2e-3
    assert (np.abs(one - other).max(-1) > 1e-3 * one.mean()).mean() < 0.03


def test_engine_is_chosen_by_what_it_can(llvm) -> None:  # noqa: ANN001
    from mi_neural_asset.asset.cache import resolve
    from mi_neural_asset.render.engine import Engine
    from mi_neural_asset.render.far_field_engine import FarFieldEngine
    from mi_neural_asset.render.fused_engine import FusedEngine
    from mi_neural_asset.render.instances import prepared

    local, paper = resolve(random_asset("chosen")), resolve(random_asset("chosen-paper", coordinates="paper"))
    many = resolve(remember(Asset(Transport(ModelConfig(**{**SMALL, "knots": 40}))), "chosen-many"))
    far = resolve(lambert_asset("chosen-far", (0.5, 0.5, 0.5)))
    assert type(prepared(local, "cpu").engine) is FusedEngine
    assert type(prepared(local, "cpu", "torch").engine) is Engine
    assert type(prepared(paper, "cpu").engine) is type(prepared(many, "cpu").engine) is Engine
    assert type(prepared(far, "cpu").engine) is FarFieldEngine
    for asset, why in ((paper, "coordinates 'paper'"), (many, "32 bins at most"), (far, "kind Lambert")):
        with pytest.raises(ValueError, match=f'engine "drjit" .*{why}.*use "auto" or "torch"'):
            prepared(asset, "cpu", "drjit")
    with pytest.raises(ValueError, match="not on 'cuda'"):
        prepared(local, "cuda", "drjit")


def test_unknown_engine(llvm) -> None:  # noqa: ANN001
    with pytest.raises(Exception, match='"engine" must be one of auto, torch, drjit, got \'fast\''):
        llvm.load_dict({"type": "nap_path", "engine": "fast"})


def test_threads_of_torch_stay(llvm) -> None:  # noqa: ANN001
    """The tiles' workers have one thread each; whoever uses torch beside them keeps those that it had."""
    from concurrent.futures import ThreadPoolExecutor

    from mi_neural_asset.fused.tiles import for_tiles

    before, seen = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        for_tiles(lambda k: seen.append(torch.get_num_threads()), 8)
        assert seen == [1] * 8 and torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def test_a_mistake_in_a_tile_is_told() -> None:
    from mi_neural_asset.fused.tiles import for_tiles

    def work(k: int) -> None:
        if k == 3:
            raise RuntimeError("tile 3")

    with pytest.raises(RuntimeError, match="tile 3"):
        for_tiles(work, 8)
