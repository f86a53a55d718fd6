"""Imports run one way, and importing the package does nothing that a user did not ask for."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGE = ROOT / "mi_neural_asset"

HEAVY = ("torch", "mitsuba", "drjit", "cupy")

# What each room may import of the package, and of the heavy libraries.
ALLOWED = {
    "drjit_core": {"drjit"},
    "splines": {"splines", "drjit_core", "launcher", "torch", "drjit"},
    "workers": {"drjit_core", "drjit"},
    "threads": {"drjit_core", "workers", "drjit", "torch"},
    "distributed": {"memory", "threads", "torch"},
    "model": {"model", "splines", "launcher", "torch"},
    "asset": {"asset", "model", "loading", "files", "curve_ends", "torch", "mitsuba", "drjit"},
    "probes": {"asset", "interop", "model", "torch", "mitsuba", "drjit"},
    "occlusion": {"interop", "probes", "torch", "mitsuba", "drjit"},
    "flights": {"mitsuba", "drjit"},
    "curve_ends": {"mitsuba", "drjit"},
    "specular": {"mitsuba"},
    "memory": set(),
    "fused": {"fused", "model", "occlusion", "splines", "threads", "torch", "mitsuba", "drjit"},
    "render": {
        *("render", "fused", "memory", "asset", "model", "interop", "occlusion", "threads", "allocator", "distributed", "images"),
        *("loading", "flights", "specular", "progress", "cuda_graphs", "__version__"),
        *("torch", "mitsuba", "drjit"),
    },
    "baking": {
        *("baking", "asset", "fused", "model", "render", "interop", "occlusion", "probes", "allocator", "threads", "images", "progress"),
        *("loading", "splines", "files", "verify", "memory", "distributed", "flights", "specular", "cuda_graphs", "__version__"),
        *("torch", "mitsuba", "drjit"),
    },
    "verify": {
        *("verify", "asset", "model", "splines", "render", "interop", "occlusion", "threads", "files", "images", "progress", "register"),
        "__version__",
        *("torch", "mitsuba", "drjit"),
    },
    "report": {"report", "files", "mitsuba"},
    "boot": {"boot", "drjit_core", "llvm", "loading", "register", "scene_xml", "threads", "workers", "mitsuba", "drjit"},
    "llvm": set(),
    "files": set(),
    "images": {"files", "mitsuba"},
    "scene_xml": set(),
    "layout": set(),
    "launcher": {"layout", "torch", "cupy"},
    "cuda_graphs": {"torch"},
    "register": {"layout", "threads", "mitsuba"},
    "loading": {"curve_ends", "scene_xml", "mitsuba"},
}


def imports(path) -> set[str]:
    """Rooms of the package and heavy libraries that a file imports, anywhere in it."""
    found = set()
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*folder[: len(folder) - node.level + 1]] if node.level else []
            names = [".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first in HEAVY:
                found.add(first)
            elif first == "mi_neural_asset" and rest:
                found.add(rest.split(".")[0])
    return found


def files(room: str) -> list:
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_one_way(room):
    assert files(room)
    for path in files(room):
        assert imports(path) <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {imports(path) - ALLOWED[room]}"


def test_imports_are_found(tmp_path):
    # The check above can fail: relative, absolute and nested imports are seen.
    assert "llvm" in imports(PACKAGE / "boot/command.py") and "mitsuba" in imports(PACKAGE / "boot/command.py")
    assert "render" in imports(ROOT / "plugins/nap_path.py")


def test_only_plugins_are_found_by_name():
    # Nothing in the library imports a plugin; register.py loads them.
    for path in PACKAGE.rglob("*.py"):
        assert "plugins" not in imports(path), path


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_sets_no_variant_compiles_nothing_and_loads_no_torch():
    code = """if True:
        import sys, mi_neural_asset, mitsuba as mi, drjit as dr
        print(mi.variant(), 'torch' in sys.modules, len(dr.kernel_history()))
        """
    assert run(code) == "None False 0"


def test_public_names_are_there():
    code = """if True:
        import mi_neural_asset
        print([name for name in mi_neural_asset.__all__ if not hasattr(mi_neural_asset, name)])
        print(mi_neural_asset.nothing)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]"
    assert "module 'mi_neural_asset' has no attribute 'nothing'" in done.stderr


def test_bake_is_a_function_however_it_was_imported():
    for first in ("", "import mi_neural_asset.baking.losses; ", "from mi_neural_asset.baking.bake import bake; "):
        code = f"{first}import mi_neural_asset; print(callable(mi_neural_asset.bake))"
        assert run(code) == "True"
