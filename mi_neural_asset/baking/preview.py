"""A small picture of the asset while it is being baked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import mitsuba as mi

from ..asset.cache import forget, remember
from ..images import write_png

if TYPE_CHECKING:
    from ..asset.asset import NeuralAsset
    from .bake import Bake

INTERVAL = 60.0  # seconds


def preview_scene(weights: str, center: list[float], radius: float, size: int = 160) -> mi.Scene:
    """The asset under a near lamp and a weak sky, seen from a little above."""
    c = mi.ScalarPoint3f(center)
    t = mi.ScalarTransform4f
    eye = c + radius * mi.ScalarVector3f(1.6, 1.4, 3.2)
    lamp = c + radius * mi.ScalarVector3f(-1.6, 2.0, 0.6)
    return mi.load_dict(
        {
            "type": "scene",
            "asset": {"type": "neural_asset", "weights": weights},
            "sky": {"type": "constant", "radiance": 0.25},
            "lamp": {
                "type": "rectangle", "to_world": t().look_at(lamp, c, [0, 0, 1]).scale(0.5 * radius),
                "emitter": {"type": "area", "radiance": 12.0},
            },
            "sensor": {
                "type": "perspective", "fov": 36, "to_world": t().look_at(eye, c, [0, 1, 0]),
                "film": {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}}, "sampler": {"type": "independent"},
            },
        },
        parallel=False,
    )  # fmt: skip


def render_preview(asset: NeuralAsset, spp: int = 16, size: int = 160) -> mi.TensorXf:
    """Linear RGB picture of an asset in memory, [size, size, 3]."""
    name = remember(asset, f"preview-{id(asset)}")
    try:
        scene = preview_scene(name, list(asset.center), asset.scale, size)
        return mi.render(scene, integrator=mi.load_dict({"type": "nap_path", "hide_emitters": True}), spp=spp)[:, :, :3]
    finally:
        forget(name)


class Preview:
    """Writes the preview of a running bake every minute."""

    def __init__(self, bake: Bake) -> None:
        self._bake, self._last = bake, time.monotonic() - INTERVAL + 5

    def update(self) -> None:
        """Render if a minute has passed."""
        if time.monotonic() - self._last >= INTERVAL:
            self._bake.buffer.rest()
            write_png(self._bake.options.preview_image, render_preview(self._bake.asset()))
            self._last = time.monotonic()
