"""Bounds on memory: passes that fit, bands where not even one sample a pixel fits, nothing that grows; errors that say what would do."""

from __future__ import annotations

import re

import numpy as np
import pytest
from oracle import random_asset
from test_render import RUNS, light, mean_of, scene_of, sensor
from zstats import assert_same_mean

from mi_neural_asset import memory


def test_sizes_are_read_as_they_are_written():
    for written, size in (("4GB", 4e9), ("512 MiB", 2**29), ("1.5gib", 3 * 2**29), (4096, 4096), ("2e3", 2000), ("10k", 1e4)):
        assert memory.parse_size(written, "x") == size, written
    for wrong in ("", "0", "-3GB", "many", "4 GB GB", "1XB", 0, -1, None):
        with pytest.raises(ValueError, match="x must be a positive number of bytes, such as 4GB or 512MiB"):
            memory.parse_size(wrong, "x")
    free = memory.free_memory()
    assert 2**20 < free < 2**46 and 0.3 * free < memory.bound(None, "x") < 0.7 * free
    assert memory.parse_size(memory.text(12345678), "x") >= 12345678


def test_plans_fit_and_say_what_would():
    from mi_neural_asset.render.passes import Plan, plan

    mib = 1 << 20
    cases = ((1024, 16, 16, 200 * mib), (7, 640, 480, 300 * mib), (4096, 3840, 2160, 4000 * mib), (12, 100, 3, 101 * mib))
    for spp, width, height, bound in cases:
        found = plan(spp, width, height, bound, 5000, 100 * mib)
        assert found.rows * width * found.spp * 5000 + 100 * mib <= bound and spp % found.spp == 0
        assert found.rows == height or found.spp == 1
        next_spp = next((k for k in range(found.spp + 1, spp + 1) if spp % k == 0), spp + 1)
        larger = Plan(found.rows + 1, 1) if found.rows < height else Plan(height, next_spp)
        assert larger.spp > spp or larger.rows * width * larger.spp * 5000 + 100 * mib > bound
    assert plan(64, 8, 8, 1 << 40, 5000, 0, lanes=128) == Plan(8, 2)
    with pytest.raises(ValueError, match="memory. of 100MiB is too little for 3840 x 2160 pixels: the smallest bound is 119MiB") as info:
        plan(1, 3840, 2160, 100 * mib, 5000, 100 * mib)
    needed = memory.parse_size(re.search(r"bound is (\w+);", str(info.value))[1], "x")
    assert plan(1, 3840, 2160, needed, 5000, 100 * mib).rows >= 1


def test_bands_do_not_change_the_mean(llvm, monkeypatch) -> None:
    """A picture in bands of a few rows is the picture; every pixel is there, with its border."""
    from mi_neural_asset.render import passes

    parts = {"ball": {"type": "sphere"}, "light": light(llvm, "area"), "sensor": sensor(llvm)}
    scene = llvm.load_dict({"type": "scene", **parts}, parallel=False)
    whole = mean_of(llvm, scene, spp=64)
    monkeypatch.setattr(passes, "DEFAULT_LANES", 16 * 5)
    assert_same_mean(mean_of(llvm, scene, spp=4, seed=60), whole, RUNS)
    sky = {"type": "scene", "sky": {"type": "constant", "radiance": 0.7}, "sensor": {**sensor(llvm), "film": {
        "type": "hdrfilm", "width": 13, "height": 9, "rfilter": {"type": "gaussian"}, "crop_offset_x": 2, "crop_offset_y": 3,
        "crop_width": 7, "crop_height": 5, "sample_border": True}}}  # fmt: skip
    image = np.asarray(llvm.render(llvm.load_dict(sky), integrator=llvm.load_dict({"type": "nap_path"}), spp=4))
    assert image.shape[:2] == (5, 7)
    np.testing.assert_allclose(image[..., :3], 0.7, rtol=1e-5)


def render_passes(mi, count: int) -> list[int]:
    """Resident bytes after each of so many passes of 256 paths, each with 4 exits."""
    from mi_neural_asset.render import passes

    scene = scene_of(mi, random_asset("growth", seed=3, separate=True), "area")
    integrator, seen = mi.load_dict({"type": "nap_path", "max_depth": 2, "exits": 4}), []
    integrator.progress = lambda done, total: seen.append(memory.resident())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "DEFAULT_LANES", 4 * 256)
        mi.render(scene, integrator=integrator, spp=count)
    assert len(seen) == count
    return seen


def test_passes_do_not_grow(llvm) -> None:
    seen = render_passes(llvm, 50)
    assert seen[-1] - seen[9] < 16 << 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_passes_do_not_grow(llvm) -> None:
    seen = render_passes(llvm, 1000)
    assert seen[-1] - seen[99] < 16 << 20


def test_render_keeps_its_bound(llvm) -> None:
    """What a render adds to the process is within the bound, at a size where paths dominate."""
    from mi_neural_asset.render import passes

    mi = llvm
    scene = scene_of(mi, random_asset("bound", seed=3, separate=True), "area")
    integrator = mi.load_dict({"type": "nap_path", "memory": "400MB"})
    mi.render(scene, integrator=mi.load_dict({"type": "nap_path"}), spp=1)
    planned, plans = passes.Passes.plan, []
    before, most = memory.resident(), [0]
    integrator.progress = lambda done, total: most.append(memory.resident())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes.Passes, "plan", lambda *given: plans.append(planned(*given)) or plans[-1])
        mi.render(scene, integrator=integrator, spp=512)
    assert plans[0].spp < 512 and plans[0].spp * 256 > 20000
    assert max(most) - before < 400e6


def test_what_cannot_fit_is_told(llvm) -> None:
    import mi_neural_asset

    scene = scene_of(llvm, random_asset("little", seed=3), "area")
    with pytest.raises(RuntimeError) as info:
        llvm.render(scene, integrator=llvm.load_dict({"type": "nap_path", "memory": "100MB"}), spp=1)
    assert re.search(r"too little for 16 x 16 pixels: the smallest bound is \d+MiB", str(info.value.__cause__))
    ball = {"type": "scene", "ball": {"type": "sphere", "bsdf": {"type": "diffuse"}}}
    with pytest.raises(ValueError, match=r"bake: 10MiB of memory is too little .*: the smallest bound is \d+MiB"):
        mi_neural_asset.bake(ball, memory="10MiB", steps=1, progress=False)
    with pytest.raises(ValueError, match="bake: memory must be a positive number of bytes"):
        mi_neural_asset.bake(ball, memory="lots", steps=1, progress=False)
