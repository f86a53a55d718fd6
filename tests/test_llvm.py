"""The LLVM library is judged before anything can abort."""

from __future__ import annotations

import _ctypes
import os
import shutil
import subprocess
import sys

import pytest

from mi_neural_asset import llvm

CURES = ("karellen-llvm-core", "libllvm19", "DRJIT_LIBLLVM_PATH")


def run(code: str, path: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, llvm.VARIABLE: path}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, env=environment
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compiles a library that claims to be a version of LLVM."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip(
            "no C compiler to make a library that claims a version (the case without one is tested all the same)"
        )
    folder = tmp_path_factory.mktemp("llvm")

    def compile_fake(major: int) -> str:
        source, library = folder / f"{major}.c", folder / f"libLLVM-{major}.so"
        source.write_text(
            f"void LLVMGetVersion(unsigned *a, unsigned *b, unsigned *c) {{ *a = {major}; *b = 0; *c = 6; }}\n"
        )
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        return str(library)

    return compile_fake


def test_version_of_libraries(build):
    assert llvm.version_of(build(16)) == (16, 0, 6)
    assert llvm.version_of(build(19)) == (19, 0, 6)


def test_library_without_version_function_is_older_than_16():
    # LLVMGetVersion came with LLVM 16; any other shared library lacks it as well.
    library = llvm._examine(_ctypes.__file__, "environment")
    assert library.version == (0, 0, 0) and not library.usable
    assert "older than 16" in llvm.complaint(library)


def test_seventeen_is_the_first_usable(build):
    assert not llvm._examine(build(16), "system").usable
    assert llvm._examine(build(17), "system").usable


def test_library_in_use_renders_and_is_what_drjit_loaded():
    library = llvm.find()
    assert library.usable
    import drjit as dr
    import mitsuba as mi

    mi.set_variant("llvm_ad_rgb")
    assert dr.sum(dr.arange(mi.Float, 10))[0] == 45
    assert os.path.samefile(library.path, os.environ[llvm.VARIABLE])


def test_import_with_old_llvm_names_both_cures():
    done = run("import mi_neural_asset", _ctypes.__file__)
    assert done.returncode == 1  # not a signal
    last = done.stderr[done.stderr.index("ImportError") :]
    assert all(cure in last for cure in CURES) and "older than 16" in last
    assert "unset" in last  # it was the user's own choice


def test_import_with_llvm_16_names_its_version(build):
    done = run("import mi_neural_asset", build(16))
    assert done.returncode == 1
    assert "version 16.0.6" in done.stderr and all(cure in done.stderr for cure in CURES)


def test_import_with_missing_llvm(tmp_path):
    done = run("import mi_neural_asset", str(tmp_path / "libLLVM.so"))
    assert done.returncode == 1
    assert "cannot be loaded" in done.stderr and all(cure in done.stderr for cure in CURES)


def test_import_after_drjit_with_old_llvm_says_the_order():
    done = run("import drjit, mi_neural_asset", _ctypes.__file__)
    assert done.returncode == 1
    assert "import mi_neural_asset before mitsuba" in done.stderr and all(cure in done.stderr for cure in CURES)


def test_none_at_all(monkeypatch):
    monkeypatch.delenv(llvm.VARIABLE)
    monkeypatch.setattr(llvm, "_wheel", lambda: None)
    monkeypatch.setattr(llvm, "_system", lambda: None)
    with pytest.raises(ImportError, match="none was found") as caught:
        llvm.prepare(llvm.choose())
    assert all(cure in str(caught.value) for cure in CURES)
    assert llvm.VARIABLE not in os.environ


def test_order_of_choice(monkeypatch, build):
    chosen, wheel, system = build(20), build(21), build(22)
    monkeypatch.setattr(llvm, "_wheel", lambda: wheel)
    monkeypatch.setattr(llvm, "_system", lambda: system)
    monkeypatch.setenv(llvm.VARIABLE, chosen)
    assert llvm.prepare(llvm.choose()).path == os.environ[llvm.VARIABLE] == chosen
    monkeypatch.delenv(llvm.VARIABLE)
    assert llvm.prepare(llvm.choose()).path == os.environ[llvm.VARIABLE] == wheel
    monkeypatch.setattr(llvm, "_wheel", lambda: None)
    monkeypatch.delenv(llvm.VARIABLE)
    assert llvm.prepare(llvm.choose()).path == os.environ[llvm.VARIABLE] == system


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("/usr/lib/x86_64-linux-gnu/libLLVM-9.so.1", "/usr/lib/x86_64-linux-gnu/libLLVM-19.so.1"),
        ("/usr/lib/llvm-15/lib/libLLVM.so", "/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1"),
        ("/usr/lib64/libLLVM.so", "/usr/lib64/libLLVM-17.so"),
    ],
)
def test_newest_by_name(older, newer):
    assert max([older, newer], key=llvm._version_in_name) == newer


def test_doctor_with_old_llvm_fails_and_names_both_cures():
    done = run("import sys; sys.argv[0] = 'mi-neural-asset'; from mi_neural_asset.cli import main; sys.exit(main())",
               _ctypes.__file__, "doctor")  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert all(cure in done.stdout for cure in CURES)
    assert "it would abort" in done.stdout and "Not usable: llvm, llvm_ad_rgb" in done.stdout
