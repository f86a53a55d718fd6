"""Baking a loaded scene and looking at it through its own sensor: what `nap_train` does."""

from __future__ import annotations

import os
from typing import Any

import mitsuba as mi

from .bake import bake


def bake_and_show(
    scene: mi.Scene, sensor: mi.Sensor, weights: str | os.PathLike, seed: int, spp: int, settings: dict[str, Any]
) -> mi.TensorXf:
    """Bake a loaded scene's shapes into `weights`, then render the asset with the scene's lights.

    Args:
        settings: arguments of `bake`.

    Returns:
        the developed film of `sensor`.

    Raises:
        as `bake`.
    """
    asset = bake(scene, weights, **settings)
    baked = {shape["id"] for shape in asset.boundary.shapes}
    only = settings.get("only")
    rest = [s for s in scene.shapes() if s.emitter() is not None or (only and s.id() not in baked)]
    lights = [light for light in scene.emitters() if light.get_shape() is None]
    shown = mi.load_dict(
        {
            "type": "scene", "asset": {"type": "neural_asset", "weights": str(weights)}, "sensor": sensor,
            **{f"shape_{k}": shape for k, shape in enumerate(rest)}, **{f"light_{k}": light for k, light in enumerate(lights)},
        },
        parallel=False,
    )  # fmt: skip
    integrator = mi.load_dict({"type": "nap_path"})
    integrator.render(shown, sensor=sensor, seed=seed, spp=spp)
    return sensor.film().develop()
