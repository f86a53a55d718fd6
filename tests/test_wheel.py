"""The wheel holds all that rendering needs: installed into a clean environment, it renders away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_command import RADIANCE, SCENE, pixels

from mi_neural_asset import llvm as library


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel; it sees the dependencies where they are, but no editable install."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    python = folder / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "-q"]
    done = subprocess.run([*install, str(wheel)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    # A path named in a .pth file is searched, but the .pth files in it (the editable install's) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = folder / "bin/mitsuba"
    script.write_text(f"#!{python}\nimport sys\nfrom mitsuba.cli import _main\nsys.exit(_main())\n")
    script.chmod(0o755)
    return folder


def run(clean: Path, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run a program of the environment with none of this process's settings."""
    dropped = (library.VARIABLE, "PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    command = [str(clean / "bin" / words[0]), *words[1:]]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    boot = {f"mi_neural_asset_boot.{suffix}" for suffix in ("py", "pth", "start")}
    assert {name for name in top if not name.endswith(".dist-info")} == {"mi_neural_asset"} | boot
    assert len(names) == len(set(names))
    assert {"mi_neural_asset/report/page.js", "mi_neural_asset/report/page.css"} <= set(names)
    for folder in ("plugins", "cuda", "scenes"):
        tracked = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True).stdout.split()
        assert {f"mi_neural_asset/{name}" for name in tracked} <= set(names), folder
    assert not [name for name in names if "__pycache__" in name or name.startswith("mi_neural_asset/tests")]


def test_entry_points(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        text = archive.read(name).decode()
    assert "[mitsuba]\nmi_neural_asset = mi_neural_asset.entry_point" in text
    assert "mi-neural-asset = mi_neural_asset.cli:main" in text


def test_package_is_the_installed_one(clean, tmp_path):
    code = "import mi_neural_asset.layout as l; print(l.__file__, l.folder('plugins'), l.folder('scenes'), sep='\\n')"
    done = run(clean, tmp_path, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(Path(line).is_relative_to(clean) for line in done.stdout.split())


def test_mitsuba_command_renders(clean, tmp_path):
    (tmp_path / "scene.xml").write_text(SCENE)
    done = run(clean, tmp_path, "mitsuba", "-D", "integrator=nap_path", "scene.xml")
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(pixels(tmp_path / "scene.exr"), RADIANCE, rtol=1e-6)


def test_python_renders(clean, tmp_path):
    (tmp_path / "scene.xml").write_text(SCENE)
    code = """if True:
        import mi_neural_asset, mitsuba as mi
        mi.set_variant("llvm_ad_rgb")
        scene = mi_neural_asset.load_file("scene.xml", integrator="nap_path")
        print(float(mi.render(scene).array[0]))
        """
    done = run(clean, tmp_path, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(RADIANCE, rel=1e-6)


def test_doctor_is_content(clean, tmp_path):
    done = run(clean, tmp_path, "mi-neural-asset", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(clean) in done.stdout and "FAILED" not in done.stdout
