"""The `mitsuba` command: ours for scenes that name our plugins, the stock binary for all others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest

from mi_neural_asset import llvm as library
from mi_neural_asset.boot import command, environment
from mi_neural_asset.boot.command import INTERRUPTED, main, parse
from mi_neural_asset.boot.scan import names_plugin

COMMAND = Path(sysconfig.get_path("scripts")) / "mitsuba"
RADIANCE = 0.25

SCENE = f"""<scene version="3.0.0">
    <default name="integrator" value="path"/>
    <default name="spp" value="4"/>
    <integrator type="$integrator"/>
    <sensor type="perspective">
        <film type="hdrfilm">
            <integer name="width" value="8"/> <integer name="height" value="6"/> <rfilter type="box"/>
        </film>
        <sampler type="independent"> <integer name="sample_count" value="$spp"/> </sampler>
    </sensor>
    <emitter type="constant"> <rgb name="radiance" value="{RADIANCE}"/> </emitter>
</scene>
"""
FIXED = SCENE.replace("$integrator", "path").replace('<default name="integrator" value="path"/>', "")


@pytest.fixture
def scene(tmp_path):
    """Folder with an empty scene in a constant light, so that every pixel's value is known."""
    (tmp_path / "scene.xml").write_text(SCENE)
    (tmp_path / "fixed.xml").write_text(FIXED)
    return tmp_path


def run(folder: Path, *arguments: str, command: tuple = (str(COMMAND),)) -> subprocess.CompletedProcess:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, cwd=folder)


def pixels(path: Path) -> np.ndarray:
    import mitsuba as mi

    return np.array(mi.Bitmap(str(path)))[..., :3]


def messages(done: subprocess.CompletedProcess) -> str:
    """What the command said, without the log's lines; the bar's times, which go with the machine's load, are left out."""
    lines = re.sub(r"\x1b\[(31|0)m|\([^()]*, ETA: [^()]*\)|(?<=\d)ms", "", done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in lines if " INFO " not in line).strip()


@pytest.mark.parametrize("form", ["script", "module"])
def test_literal_command(scene, form):
    command = (str(COMMAND),) if form == "script" else (sys.executable, "-m", "mitsuba.cli")
    done = run(scene, "-D", "integrator=nap_path", "scene.xml", command=command)
    assert done.returncode == 0, done.stderr
    assert "llvm_ad_rgb" in messages(done)  # says which variant it chose
    image = pixels(scene / "scene.exr")
    assert image.shape == (6, 8, 3)
    np.testing.assert_allclose(image, RADIANCE, rtol=1e-6)


def test_flags(scene):
    (scene / "inner").mkdir()
    (scene / "inner/part.xml").write_text('<scene version="3.0.0"><emitter type="point"/></scene>')
    text = SCENE.replace("</scene>", '<include filename="part.xml"/></scene>')
    (scene / "scene.xml").write_text(text)
    done = run(scene, "-vm", "llvm_ad_rgb", "-t", "1", "-Dintegrator=nap_path", "--define", "spp=9", "-s", "0",
               "-a", "nowhere;inner", "-O0", "-W", "-V", "4", "scene.xml", "-o", "out.exr")  # fmt: skip
    assert done.returncode == 0, messages(done)
    assert "DEBUG" in done.stdout + done.stderr  # -v
    np.testing.assert_allclose(pixels(scene / "out.exr"), RADIANCE, rtol=1e-6)
    assert not (scene / "scene.exr").exists()


def test_several_scenes(scene):
    (scene / "other.xml").write_text(SCENE)
    done = run(scene, "-D", "integrator=nap_path", "scene.xml", "other.xml")
    assert done.returncode == 0, messages(done)
    assert (scene / "scene.exr").exists() and (scene / "other.exr").exists()


def test_print_ir(scene):
    done = run(scene, "-S", "-D", "integrator=nap_path", "scene.xml")
    assert done.returncode == 0 and "define void @drjit" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-s", "3", "scene.xml"], "Specified sensor index is out of bounds!"),
        (["-m", "nothing", "scene.xml"], 'Unsupported variant: "nothing". Must be one of scalar_rgb'),
        (["-m", "scalar_rgb", "scene.xml"], "nap_path needs a JIT variant such as llvm_ad_rgb"),
        (["-m", "scalar_rgb", "-W", "scene.xml"], "only makes sense in a JIT"),
        (["-V", "3", "scene.xml"], "must be a power of two"),
        (["-D", "nothing=1", "scene.xml"], "Found unused parameters:\n  - $nothing=1"),
        (["missing.xml"], "File not found: missing.xml"),
        (["-o", "no/folder/out.exr", "scene.xml"], "No such file or directory"),
    ],
)
def test_errors_exit_with_255(scene, arguments, said):
    done = run(scene, "-D", "integrator=nap_path", *arguments)
    assert done.returncode == 255
    assert said in messages(done)
    assert messages(done).count("Caught a critical exception") == 1


def test_scene_without_integrator_parameter(scene):
    done = run(scene, "-D", "integrator=nap_path", "fixed.xml")
    assert done.returncode == 255
    assert "Found unused parameters:\n  - $integrator=nap_path" in messages(done)  # Mitsuba's own
    assert (
        '<default name="integrator" value="path"/> <integrator type="$integrator"/>' in messages(done).splitlines()[-1]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "scalar_rgb", "-D", "integrator=direct", "scene.xml"],
        ["-m", "scalar_rgb", "-D", "integrator=path", "fixed.xml"],
        ["-m", "scalar_rgb", "-D", "integrator=nothing", "scene.xml"],
        ["missing.xml", "-m", "scalar_rgb"],
        ["--help"],
    ],
)
def test_other_scenes_get_what_the_stock_binary_says(scene, arguments):
    import mitsuba as mi

    binary = Path(mi.__file__).parent / "mitsuba" if mi.__file__ else None
    ours, stock = run(scene, *arguments), run(scene, *arguments, command=(str(binary),))
    assert ours.returncode == stock.returncode
    assert messages(ours) == messages(stock)
    assert "mi_neural_asset" not in ours.stdout + ours.stderr


@pytest.mark.parametrize(
    "arguments", [["fixed.xml"], ["-Q", "scene.xml"], ["-D", "integrator", "scene.xml"], [], ["-s", "x"]]
)
def test_what_is_not_ours_goes_to_the_stock_binary(scene, monkeypatch, arguments):
    monkeypatch.chdir(scene)
    monkeypatch.setattr(command, "_run", lambda options: pytest.fail("rendered in process"))
    calls = []
    main(arguments, lambda: calls.append(arguments))
    assert calls == [arguments]


def test_interruption(scene, monkeypatch):
    def interrupted(options):
        raise RuntimeError("Mitsuba wraps it") from KeyboardInterrupt()

    monkeypatch.setattr(command, "_run", interrupted)
    assert main(["-D", "integrator=nap_path", "scene.xml"], pytest.fail) == INTERRUPTED


def test_cause_of_an_error_is_told(scene, monkeypatch, capsys):
    def failing(options):
        raise RuntimeError("render() failed") from ValueError("seal.pt: wrong magic")

    monkeypatch.setattr(command, "_run", failing)
    assert main(["-D", "integrator=nap_path", "scene.xml"], pytest.fail) == 255
    assert "caused by ValueError: seal.pt: wrong magic" in capsys.readouterr().err


def test_parse():
    options = parse(["a.xml", "-vvm", "llvm_ad_rgb", "-Da=1", "--define", "b=x=y", "-s2", "b.xml", "-a", "p;q"])
    assert options.scenes == ["a.xml", "b.xml"]
    assert options.defines == {"a": "1", "b": "x=y"}
    assert options.count("-v") == 2 and options.first("-m") == "llvm_ad_rgb" and options.first("-s") == "2"
    assert options.search == ["p", "q"]


def test_scan(tmp_path):
    def text(body: str) -> list[str]:
        (tmp_path / "s.xml").write_text(f'<scene version="3.0.0">{body}</scene>')
        return [str(tmp_path / "s.xml")]

    (tmp_path / "inner.xml").write_text('<scene version="3.0.0"><shape type="neural_asset"/></scene>')
    assert names_plugin(text('<shape type="neural_asset"/>'), {})
    assert names_plugin(text('<integrator type="nap_train"/>'), {})
    assert names_plugin(text('<default name="i" value="nap_path"/><integrator type="$i"/>'), {})
    assert not names_plugin(text('<default name="i" value="nap_path"/><integrator type="$i"/>'), {"i": "path"})
    assert names_plugin(text('<integrator type="nap_$i"/>'), {"i": "path"})
    assert names_plugin(text('<include filename="inner.xml"/>'), {})
    assert names_plugin(text('<default name="f" value="inner.xml"/><include filename="$f"/>'), {})
    assert names_plugin(text(""), {"anything": "nap_path"})
    assert not names_plugin(text('<!-- <shape type="neural_asset"/> --><string name="neural_asset" value=""/>'), {})
    assert not names_plugin([str(tmp_path / "missing.xml")], {"integrator": "path"})


@pytest.mark.parametrize(
    ("system", "variant", "kept"),
    [
        ("new", "", False),
        ("new", "llvm_ad_rgb", False),
        ("old", "", True),
        ("none", "", False),
        ("none", "llvm_ad_rgb", True),
    ],
)
def test_environment_of_the_stock_binary(monkeypatch, system, variant, kept):
    versions = {"new": (19, 1, 0), "old": (15, 0, 7), "none": None}
    monkeypatch.setattr(library, "system", lambda: library.Library(
        None if system == "none" else "/usr/lib/libLLVM.so", "system", versions[system]))  # fmt: skip
    monkeypatch.delenv(library.VARIABLE)
    monkeypatch.setattr(environment, "_chosen", False)
    monkeypatch.setattr(library, "choose", lambda: library.Library("/wheel/libLLVM.so", "wheel", (23, 1, 0)))
    environment.choose_llvm()
    assert os.environ[library.VARIABLE] == "/wheel/libLLVM.so"
    environment.restore_for_stock(variant)
    assert (library.VARIABLE in os.environ) == kept


def test_user_choice_of_llvm_is_left_alone(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "/chosen/libLLVM.so")
    monkeypatch.setattr(environment, "_chosen", False)
    environment.choose_llvm()
    environment.restore_for_stock("")
    assert os.environ[library.VARIABLE] == "/chosen/libLLVM.so"


def test_startup_hook_costs_nothing_elsewhere():
    folder = Path(command.__file__).parent / "site"
    line = (folder / "mi_neural_asset_boot.pth").read_text()
    assert line.startswith("import ") and line.count("\n") == 1  # what site.py executes
    code, start = compile(line, "pth", "exec"), time.perf_counter()
    for _ in range(1000):
        exec(code)
    cost = (time.perf_counter() - start) / 1000
    print(f"startup hook: {cost * 1e6:.1f} microseconds")
    assert cost < 1e-3
    # The word `mitsuba` must not be in the command line; with it, only the module of the hook is loaded.
    loaded = "import sys; print([n for n in sys.modules if n[:3] in ('mi_', 'mit', 'drj', 'tor')])"
    for more, expected in ([], "[]"), (["mitsuba_script.py"], "['mi_neural_asset_boot']"):
        done = subprocess.run([sys.executable, "-c", loaded, *more], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == expected
    assert (folder / "mi_neural_asset_boot.start").read_text() == "mi_neural_asset_boot:start\n"
