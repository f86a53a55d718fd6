"""Integrator `nap_train`: bakes the scene's shapes when it renders, writes the weights file, returns a picture of the asset.

| property | type | default | meaning |
|---|---|---|---|
| weights | string | nap_train.pt | asset file to write |
| preset | string | preview | `preview`, `standard` or `paper` |
| kind | string | transport | `transport`, or `far_field`, the baseline |
| steps | integer | the preset's | optimisation steps |
| minutes | float | none | wall-clock budget instead of steps |
| seed | integer | the render's | seed of the bake |
| only | string | all shapes | ids of the shapes to bake, separated by commas |
| coordinates | string | local | `local` or `paper` |
| proxy | string | sphere | `sphere`, `box` or `hull` |
| certify | boolean | true | end with a quick certificate |
| progress | boolean | true | show progress on standard error |

None is differentiable.  The picture is the scene's sensor and lights with the baked asset in place of the shapes that were
baked.  What a loaded scene cannot tell (a BSDF whose parameters cannot be read back) is an error that names the BSDF; pass
such a scene's file to `mi-neural-asset bake`.
"""

from __future__ import annotations

import importlib

import mitsuba as mi


def register(variant: str) -> None:
    """Register the integrator for the active variant."""
    common = importlib.import_module("mitsuba.python.ad.integrators.common")

    class NapTrain(common.ADIntegrator):
        """Bakes when rendered; see the table of this module."""

        def __init__(self, props: mi.Properties) -> None:
            super().__init__(props)
            self.weights = props.get("weights", "nap_train.pt")
            self.settings = {"preset": props.get("preset", "preview"), "progress": props.get("progress", True)}
            for name in ("steps", "minutes", "seed", "coordinates", "certify", "proxy", "kind"):
                if name in props:
                    self.settings[name] = props[name]
            only = props.get("only", "")
            self.settings["only"] = [name.strip() for name in only.split(",")] if only else None

        def render(self, scene, sensor=0, seed=0, spp=0, develop=True, evaluate=True):  # noqa: ANN001, ANN201, ANN202
            from mi_neural_asset.baking.inplace import bake_and_show

            settings = {"seed": int(seed), **self.settings}
            sensor = scene.sensors()[sensor] if isinstance(sensor, int) else sensor
            picture = bake_and_show(scene, sensor, self.weights, int(seed), spp, settings)
            return picture if develop else mi.TensorXf()

        def aov_names(self) -> list[str]:
            return []

        def to_string(self) -> str:
            return f"NapTrain[weights = {self.weights!r}, {self.settings}]"

    mi.register_integrator("nap_train", NapTrain)
