"""`mi-neural-asset doctor`: is everything there that baking and rendering need?

Whatever can abort or hang (a variant's first render, the CUDA driver) is tried in child processes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass

from . import llvm
from .register import PLUGINS

PROBED = ("scalar_rgb", "llvm_ad_rgb", "cuda_ad_rgb")
REQUIRED = ("llvm_ad_rgb",)
_PROBE_SECONDS = 120

_RENDER = """
import sys, mitsuba as mi
mi.set_variant(sys.argv[1])
scene = {"type": "scene", "integrator": {"type": "path"}, "shape": {"type": "sphere", "center": [0, 0, 4]}, "light":
{"type": "constant"},
         "sensor": {"type": "perspective", "film": {"type": "hdrfilm", "width": 8, "height": 8}}}
image = mi.render(mi.load_dict(scene), spp=4)
total = sum(float(value) for value in image.array)
if not 0 < total < 1e4:
    sys.exit(f"wrong image (sum {total})")
"""

_PLUGINS = """
import sys, mi_neural_asset, mitsuba as mi
mi.set_variant(sys.argv[1])
for name in sys.argv[2:]:
    try:
        mi.load_dict({"type": name})
    except Exception as error:
        if f'Plugin "{name}" not found' in str(error):
            print(name)
"""

_GPU = """
import ctypes, sys
try:
    driver = ctypes.CDLL("libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll")
except OSError:
    sys.exit("no NVIDIA driver (libcuda.so.1)")
count = ctypes.c_int()
if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
    sys.exit("NVIDIA driver without a usable GPU")
name = ctypes.create_string_buffer(128)
driver.cuDeviceGetName(name, 128, 0)
try:
    ctypes.CDLL("libnvoptix.so.1" if sys.platform != "win32" else "nvoptix.dll")
except OSError:
    sys.exit(f"{name.value.decode()}, but no OptiX (libnvoptix.so.1): Mitsuba's CUDA variants cannot run")
print(f"{name.value.decode()}, OptiX found")
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        state: `"ok"`, `"missing"` (optional, so no failure) or `"FAILED"`.
        text: what was found; for a failure, what to do about it.
    """

    subject: str
    state: str
    text: str


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser("doctor", help="check Python, Mitsuba, LLVM, GPU and the plugins")
    parser.set_defaults(run=run, needs_mitsuba=False)


def run(options: argparse.Namespace) -> int:
    """Print the findings; exit code 1 if one is a failure."""
    findings = []
    for finding in examine():
        print(f"{finding.subject:<16} {finding.state:<8} " + finding.text.replace("\n", f"\n{'':<26}"), flush=True)
        findings.append(finding)
    failed = [finding.subject for finding in findings if finding.state == "FAILED"]
    print(f"\nNot usable: {', '.join(failed)}." if failed else "\nReady to bake and render.")
    return 1 if failed else 0


def examine():  # noqa: ANN201
    """Yield the findings, one after the other."""
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    for package in ("mi-neural-asset", "mitsuba", "drjit", "torch", "numpy"):
        yield _package(package)
    library = llvm.find()
    if library.usable:
        yield Finding("llvm", "ok", library.description)
        os.environ[llvm.VARIABLE] = library.path
    else:
        yield Finding("llvm", "FAILED", llvm.complaint(library))
    for variant in PROBED:
        if variant.startswith("llvm") and not library.usable:
            yield Finding(variant, "FAILED", "not tried: it would abort without a usable LLVM library")
        else:
            yield _variant(variant)
    yield _gpu()
    yield _cupy()
    if library.usable:
        yield _plugins()
    yield _boot()


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "FAILED", f"not installed: run `pip install {name}`")


def _child(code: str, *arguments: str) -> tuple[bool, str]:
    """Run Python code in a child process: whether it ended well, and its last line of output or error."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=_PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False, f"no end after {_PROBE_SECONDS} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode < 0:
        return False, f"ended by signal {-done.returncode}: {lines[0] if lines else 'no message'}"
    return done.returncode == 0, lines[-1] if lines else ""


def _variant(name: str) -> Finding:
    works, line = _child(_RENDER, name)
    if works:
        return Finding(name, "ok", "renders")
    return Finding(name, "FAILED" if name in REQUIRED else "missing", f"does not render: {line}")


def _gpu() -> Finding:
    works, line = _child(_GPU)
    return Finding("gpu", "ok" if works else "missing", line)


def _cupy() -> Finding:
    for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy"):
        try:
            return Finding("cupy", "ok", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Finding("cupy", "missing", "networks on a GPU would use slower splines: run `pip install 'mi-neural-asset[cuda]'`")


def _plugins() -> Finding:
    works, line = _child(_PLUGINS, "llvm_ad_rgb", *PLUGINS)
    if works and not line:
        return Finding("plugins", "ok", f"{', '.join(PLUGINS)} are known to Mitsuba")
    return Finding("plugins", "FAILED", f"not known to Mitsuba: {line}: install mi-neural-asset again")


def _boot() -> Finding:
    """Whether `mitsuba` would see our plugins: the start-up hook wraps `mitsuba.cli` in processes of that name."""
    code = "import sys; print(any(type(f).__module__ == 'mi_neural_asset_boot' for f in sys.meta_path))"
    works, line = _child(code, "mitsuba")
    if works and line == "True":
        return Finding("command", "ok", "`mitsuba` renders scenes with neural assets")
    problem = "`mitsuba` does not know the plugins: mi_neural_asset_boot.pth is missing from site-packages"
    return Finding("command", "FAILED", f"{problem}\ninstall mi-neural-asset again, and run Python without -S")
