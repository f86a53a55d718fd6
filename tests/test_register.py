"""Plugins are there for whichever variant becomes active, whatever the order of import and set_variant."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mi_neural_asset import register
from mi_neural_asset.register import PLUGINS, plugin, registered

KNOWN = """
def known(mi, name):
    try:
        mi.load_dict({"type": name})
    except Exception as error:
        return f'Plugin "{name}" not found' not in str(error)
    return True
"""
exec(KNOWN)

ORDERS = {
    "import, set": "import mi_neural_asset, mitsuba as mi; mi.set_variant('llvm_ad_rgb')",
    "set, import": "import mitsuba as mi; mi.set_variant('llvm_ad_rgb'); import mi_neural_asset",
    "mitsuba, import, set": "import mitsuba as mi; import mi_neural_asset; mi.set_variant('llvm_ad_rgb')",
    "another variant first": "import mitsuba as mi; mi.set_variant('scalar_rgb'); import mi_neural_asset; "
    "mi.set_variant('llvm_ad_rgb')",
    "mono": "import mi_neural_asset, mitsuba as mi; mi.set_variant('llvm_ad_mono')",
}


@pytest.mark.parametrize("order", ORDERS)
def test_any_order(order):
    code = f"{KNOWN}\n{ORDERS[order]}\nprint([name for name in {list(PLUGINS)} if not known(mi, name)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_unregistered_plugin_is_unknown(llvm):
    # The check above can fail.
    assert not known(llvm, "nap_nothing")  # noqa: F821


def test_there_and_back(llvm):
    llvm.set_variant("scalar_rgb")
    llvm.set_variant("llvm_ad_rgb")
    assert registered("llvm_ad_rgb") and registered("scalar_rgb")
    integrator = llvm.load_dict({"type": "nap_path"})
    assert isinstance(integrator, llvm.Integrator)
    assert integrator.variant_name() == "llvm_ad_rgb"


def test_register_again_changes_nothing(llvm):
    register()
    register()
    assert isinstance(llvm.load_dict({"type": "nap_path"}), llvm.Integrator)
    calls = []
    original = plugin("nap_path").register
    plugin("nap_path").register = calls.append
    try:
        llvm.set_variant("scalar_rgb")
        llvm.set_variant("llvm_ad_rgb")
    finally:
        plugin("nap_path").register = original
        register()
    assert calls == ["llvm_ad_rgb"]  # one callback, however often register() was called


@pytest.mark.parametrize("name", ["nap_path", "nap_train"])
def test_scalar_variant_refuses_integrators(scalar, name):
    with pytest.raises(Exception, match=f"{name} needs a JIT variant such as llvm_ad_rgb, not scalar_rgb"):
        scalar.load_dict({"type": name})


@pytest.mark.parametrize("name", PLUGINS)
def test_scalar_rgb_knows_the_interface(name):
    # Mitsuba asks scalar_rgb alone for it; unknown there, two equal shapes of a scene are merged into one.
    code = f"""if True:
        import mi_neural_asset, mitsuba as mi
        mi.set_variant("llvm_ad_rgb")
        print(mi.PluginManager.instance().plugin_type({name!r}))
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().lower().endswith(PLUGINS[name]), done.stdout + done.stderr


def test_package_import_chooses_no_variant_and_loads_no_torch():
    code = "import sys, mi_neural_asset, mitsuba as mi; print(mi.variant(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "None False", done.stderr


def test_entry_point_module_can_be_reloaded(llvm):
    import importlib

    from mi_neural_asset import entry_point

    importlib.reload(entry_point)
    assert isinstance(llvm.load_dict({"type": "nap_path"}), llvm.Integrator)
