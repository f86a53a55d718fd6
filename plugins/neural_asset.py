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
from mi_neural_asset.render.shape import build_shape, seen, similarity

HANDLE = "neural_asset_handle"


def register(variant: str) -> None:
    """Register the shape and its handle for the active variant."""

    class NeuralAssetHandle(mi.Sampler):
        """Keeps the loaded asset with the scene; listed by `mi.traverse`."""

        is_neural_asset_handle = True

        def __init__(self, props: mi.Properties) -> None:
            super().__init__(props)
            self.asset = self.instance = self.to_world = self.group = None
            self.weights = ""
            self.known, self.told = {}, ""  # of `render.guard`

        def traverse(self, callback: mi.TraversalCallback) -> None:
            seen(self)
            callback.put("weights", self.weights, mi.ParamFlags.NonDifferentiable)

        def to_string(self) -> str:
            return f"NeuralAsset[\n  weights = {self.weights!r},\n  {self.asset!r}\n]"

    def neural_asset(props: mi.Properties) -> mi.Object:
        weights, to_world = _weights(props), similarity(_to_world(props))
        bsdf = _bsdf(props)
        asset = resolve(weights)
        handle = mi.load_dict({"type": HANDLE}, parallel=False)
        return build_shape(asset, weights, to_world, bsdf, handle, props.id())

    mi.register_sampler(HANDLE, NeuralAssetHandle)
    mi.register_shape("neural_asset", neural_asset)


def _weights(props: mi.Properties) -> str:
    if "weights" not in props:
        raise ValueError('neural_asset: "weights" is missing: <string name="weights" value="asset.pt"/>')
    if props.type("weights") != mi.Properties.Type.String or not props["weights"]:
        raise ValueError('neural_asset: "weights" must be the name of a file: <string name="weights" value="asset.pt"/>')
    return props["weights"]


def _to_world(props: mi.Properties) -> mi.ScalarTransform4f:
    if "to_world" not in props:
        return mi.ScalarTransform4f()
    if props.type("to_world") != mi.Properties.Type.Transform:
        raise ValueError('neural_asset: "to_world" must be a transform: <transform name="to_world">...</transform>')
    return props["to_world"]


def _bsdf(props: mi.Properties) -> mi.BSDF | None:
    """The nested BSDF, if there is one; whatever else is nested has no meaning here.  Plain unknown properties are Mitsuba's to refuse."""
    found = None
    for name in props.keys():
        if props.type(name) not in (mi.Properties.Type.Object, mi.Properties.Type.ResolvedReference):
            continue
        child = props[name]
        if isinstance(child, mi.Emitter):
            raise ValueError("neural_asset: an asset emits no light: take the emitter away, or give it to a shape of its own")
        if isinstance(child, mi.Medium):
            raise ValueError("neural_asset: a medium is part of what was baked: take it away, or bake a scene that has it")
        if not isinstance(child, mi.BSDF) or found is not None:
            raise ValueError(f"neural_asset: takes one nested BSDF and nothing else, got {type(child).__name__} {name!r}: take it away")
        found = child
    return found
