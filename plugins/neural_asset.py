"""Shape `neural_asset`: a baked asset in a scene.

| property | type | default | meaning |
|---|---|---|---|
| weights | string | required | path of the asset file (`.pt`), relative to the scene file |
| to_world | transform | identity | rotation, translation, uniform scale, on top of where the asset was baked |
| (nested) | bsdf | the asset's own | overrides the direct lobe of all boundary shapes |

None is differentiable.  Render with `nap_path`; any other integrator sees the boundary shapes with their BSDFs and nothing
inside.  A mirror or a non-uniform scale is refused: media do not follow it.
"""

from __future__ import annotations

import mitsuba as mi

from mi_neural_asset.asset.cache import resolve
from mi_neural_asset.render.shape import build_shape, similarity

HANDLE = "neural_asset_handle"


def register(variant: str) -> None:
    """Register the shape and its handle for the active variant."""

    class NeuralAssetHandle(mi.Sampler):
        """Keeps the loaded asset with the scene; listed by `mi.traverse`."""

        is_neural_asset_handle = True

        def __init__(self, props: mi.Properties) -> None:
            super().__init__(props)
            self.asset = self.instance = self.to_world = None
            self.weights = ""

        def traverse(self, callback: mi.TraversalCallback) -> None:
            callback.put("weights", self.weights, mi.ParamFlags.NonDifferentiable)

        def to_string(self) -> str:
            return f"NeuralAsset[\n  weights = {self.weights!r},\n  {self.asset!r}\n]"

    def neural_asset(props: mi.Properties) -> mi.Object:
        if "weights" not in props:
            raise ValueError('neural_asset: "weights" is missing: <string name="weights" value="asset.pt"/>')
        to_world = similarity(props.get("to_world", mi.ScalarTransform4f()))
        bsdf = next((value for value in (props[name] for name in props.keys()) if isinstance(value, mi.BSDF)), None)
        asset = resolve(props["weights"])
        handle = mi.load_dict({"type": HANDLE}, parallel=False)
        return build_shape(asset, props["weights"], to_world, bsdf, handle, props.id())

    mi.register_sampler(HANDLE, NeuralAssetHandle)
    mi.register_shape("neural_asset", neural_asset)
