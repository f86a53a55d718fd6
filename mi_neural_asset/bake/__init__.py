"""From a scene to an asset: path sampling, losses, training."""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """Importing this package makes it the attribute `mi_neural_asset.bake`, which is also the name of the function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`mi_neural_asset.bake(scene, ...)`: see `mi_neural_asset.bake.bake.bake`."""
        from .bake import bake

        return bake(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
