"""Neural assets for Mitsuba 3: bake an object's light transport once, render it in any scene.

    import mi_neural_asset, mitsuba as mi
    mi.set_variant("llvm_ad_rgb")
    mi_neural_asset.bake("seal.xml", "seal.pt")
    scene = mi_neural_asset.load_file("scene.xml")    # <shape type="neural_asset" weights="seal.pt"/>
    image = mi.render(scene)                          # <integrator type="nap_path"/>

The import checks the LLVM library (before Mitsuba can abort over it) and registers the plugins `neural_asset`,
`nap_path` and `nap_train` for every variant.  It chooses no variant, and loads torch only when something needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .boot import is_own_command
from .llvm import prepare
from .register import register
from .threads import wait_politely

__version__ = "0.1.0"
__all__ = ["NeuralAsset", "__version__", "bake", "load", "load_file", "load_string", "register"]

_HOMES = {
    "NeuralAsset": "asset.asset",
    "bake": "baking.bake",
    "load": "asset.asset",
    "load_file": "loading",
    "load_string": "loading",
}

if TYPE_CHECKING:
    from .asset.asset import NeuralAsset, load
    from .baking.bake import bake
    from .loading import load_file, load_string

wait_politely()
if not is_own_command():  # our commands say themselves what is wrong with LLVM, and do what needs none
    prepare()
    register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
