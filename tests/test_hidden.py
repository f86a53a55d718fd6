"""`hide_emitters`: what is seen straight, null crossings included, is as `volpath` shows it."""

import numpy as np
import pytest
from test_render import sensor
from zstats import assert_same_mean, mean_and_error

RUNS = 6


@pytest.mark.parametrize("hidden", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_emitters_behind_null_surfaces(llvm, hidden: bool) -> None:  # noqa: ANN001
    """Stripes of null, mask and nothing before a lamp, a lit wall and the sky: radiance and alpha of every block."""
    mi, t = llvm, llvm.ScalarTransform4f
    stripes = {
        "null": {"type": "rectangle", "to_world": t().translate([-0.3, -1, 0]).rotate([1, 0, 0], 90).scale([0.1, 1, 1]),
                 "bsdf": {"type": "null"}},
        "mask": {"type": "rectangle", "to_world": t().translate([0.1, -1, 0]).rotate([1, 0, 0], 90).scale([0.1, 1, 1]),
                 "bsdf": {"type": "mask", "opacity": 0.4, "b": {"type": "twosided", "b": {"type": "diffuse"}}}},
    }  # fmt: skip
    behind = {
        "lamp": {"type": "rectangle", "to_world": t().translate([0, 1, 0.28]).rotate([1, 0, 0], 90).scale([1, 0.1, 1]),
                 "emitter": {"type": "area", "radiance": 3.0}},
        "wall": {"type": "rectangle", "to_world": t().translate([0, 1, -0.28]).rotate([1, 0, 0], 90).scale([1, 0.1, 1])},
        "sky": {"type": "constant", "radiance": 0.7},
    }  # fmt: skip
    scene = {"type": "scene", **stripes, **behind, "sensor": sensor(mi, 8)}
    scene["sensor"]["film"]["pixel_format"] = "rgba"
    loaded = mi.load_dict(scene, parallel=False)

    def picture(kind: str, seed: int):  # noqa: ANN202
        integrator = mi.load_dict({"type": kind, "hide_emitters": hidden, "max_depth": 6})
        return mean_and_error(lambda s: np.asarray(mi.render(loaded, integrator=integrator, spp=256, seed=s)), RUNS, seed)

    ours, reference = picture("nap_path", 0), picture("volpath", 50)
    assert (reference[0][..., :3].mean((0, 1)) > 0.05).all()
    assert_same_mean(ours, reference, RUNS)
