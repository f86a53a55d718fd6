"""The one place that registers the plugins, for whichever variant becomes active.

Mitsuba keeps plugins per variant, and Python classes derive from the base class of one variant, so each plugin file has
`register(variant)`, called here with that variant active: at once if one is, and again whenever another becomes so.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from . import layout
from .threads import enough_workers

PLUGINS = {"neural_asset": "shape", "nap_path": "integrator", "nap_train": "integrator"}
"""Name and Mitsuba's interface of each plugin; the file in plugins/ has the name of the plugin."""

_JIT_ONLY = ("nap_path", "nap_train")
_registered: set[str] = set()


def register() -> None:
    """Register the plugins for the active variant, if any, and for every variant that becomes active later.

    May be called any number of times, before or after `mitsuba.set_variant`; never chooses a variant itself.
    """
    import mitsuba as mi

    mi.detail.add_variant_callback(_variant_changed)  # the same callable is kept once
    if mi.variant() is not None:
        _variant_changed(None, mi.variant())


def registered(variant: str) -> bool:
    """Whether the plugins were registered for this variant in this process."""
    return variant in _registered


def _variant_changed(old: str | None, new: str) -> None:
    import mitsuba as mi

    enough_workers()
    for name, interface in PLUGINS.items():
        if name in _JIT_ONLY and not new.startswith(("llvm_", "cuda_", "metal_")):
            getattr(mi, f"register_{interface}")(name, _refuse(name, new))
        else:
            plugin(name).register(new)
    _registered.add(new)
    if "scalar_rgb" not in _registered and "scalar_rgb" in mi.variants():
        # Mitsuba asks this variant alone which interface a plugin has (without it, equal assets are merged into one).
        for name, interface in PLUGINS.items():
            getattr(mi.scalar_rgb, f"register_{interface}")(name, _refuse(name, "scalar_rgb"))


def plugin(name: str) -> ModuleType:
    """The module of plugins/NAME.py, imported as `mi_neural_asset.plugins.NAME`."""
    full_name = f"mi_neural_asset.plugins.{name}"
    if full_name in sys.modules:
        return sys.modules[full_name]
    spec = importlib.util.spec_from_file_location(full_name, layout.folder("plugins") / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[full_name]
        raise
    return module


def _refuse(name: str, variant: str) -> Callable[[Any], NoReturn]:
    """A factory for a variant in which the plugin cannot work."""

    def factory(props: Any) -> NoReturn:
        raise RuntimeError(
            f"{name} needs a JIT variant such as llvm_ad_rgb, not {variant}: call mitsuba.set_variant('llvm_ad_rgb') "
            f"or run `mitsuba -m llvm_ad_rgb`"
        )

    return factory
