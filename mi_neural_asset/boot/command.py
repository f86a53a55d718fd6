"""The `mitsuba` command for scenes with our plugins: options, log, files, exit codes like the stock binary's."""

from __future__ import annotations

import getopt
import sys
from collections.abc import Callable, Sequence
from ctypes import c_char_p, c_uint32
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..drjit_core import functions
from ..llvm import choose, prepare
from ..threads import MIN_WORKERS
from ..workers import set_thread_count
from .environment import restore_for_stock
from .scan import names_plugin

FAILURE = 255  # what the stock binary's -1 arrives as
INTERRUPTED = 130
DEFAULT_VARIANT = "llvm_ad_rgb"

_LONG = {
    "--help": "-h",
    "--mode": "-m",
    "--verbose": "-v",
    "--threads": "-t",
    "--define": "-D",
    "--sensor": "-s",
    "--append": "-a",
    "--output": "-o",
}
_UNUSED_INTEGRATOR = (
    "The scene never uses $integrator, so -D integrator=... changes nothing. Write in the scene: "
    '<default name="integrator" value="path"/> <integrator type="$integrator"/>'
)


@dataclass
class Options:
    """The command line: option letters with their values in order of appearance, and the scene files."""

    scenes: list[str]
    given: dict[str, list[str]] = field(default_factory=dict)
    defines: dict[str, str] = field(default_factory=dict)  # of -D: later ones win

    def first(self, letter: str, default: str = "") -> str:
        """Value of the first occurrence, which is the one that the stock binary takes."""
        return self.given.get(letter, [default])[0]

    def count(self, letter: str) -> int:
        """Number of occurrences."""
        return len(self.given.get(letter, []))

    @property
    def search(self) -> list[str]:
        """Folders of -a."""
        return [path for path in self.first("-a").split(";") if path]


def parse(arguments: Sequence[str]) -> Options | None:
    """Options of the command line, or `None` where it is one that the stock binary should explain (errors, help)."""
    try:
        pairs, scenes = getopt.gnu_getopt(
            list(arguments),
            "hvSWm:t:D:s:a:o:O:V:",
            ["help", "verbose", "mode=", "threads=", "define=", "sensor=", "append=", "output="],
        )
    except getopt.GetoptError:
        return None
    options = Options(scenes)
    for name, value in pairs:
        options.given.setdefault(_LONG.get(name, name), []).append(value)
    for definition in options.given.get("-D", []):
        key, equals, value = definition.partition("=")
        if not equals:
            return None
        options.defines[key] = value
    numbers = [options.first(letter, "0") for letter in ("-t", "-s", "-O", "-V")]
    if "-h" in options.given or not scenes or not all(number.isdecimal() for number in numbers):
        return None
    return options


def main(arguments: Sequence[str], run_stock: Callable[[], Any]) -> int:
    """Run the command; `run_stock` takes over where no scene names one of our plugins.

    Returns:
        The exit code: 0, or 255 for an error.
    """
    options = parse(arguments)
    if options is None or not names_plugin(options.scenes, options.defines, options.search):
        restore_for_stock(options.first("-m") if options else "")
        run_stock()
        return 0
    try:
        prepare(choose())
        _run(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if was_interrupted(error):
            return INTERRUPTED
        print(_report(error, options), file=sys.stderr)
        return FAILURE
    return 0


def _run(options: Options) -> None:
    import mitsuba as mi

    from ..register import register

    register()
    variant = options.first("-m")
    if not variant:
        variant = DEFAULT_VARIANT
        print(
            f'Scene with neural assets: rendering in the "{variant}" variant (choose another with -m).', file=sys.stderr
        )
    jit = variant.startswith(("llvm_", "cuda_", "metal_"))
    if not jit and any(letter in options.given for letter in ("-O", "-S", "-W", "-V")):
        raise ValueError("Specified an argument that only makes sense in a JIT (LLVM/CUDA) mode!")
    if variant not in mi.variants():
        raise ValueError(f'Unsupported variant: "{variant}". Must be one of {", ".join(mi.variants())}!')
    _set_levels(options)
    mi.set_variant(variant)
    mi.Log(mi.LogLevel.Info, f"Mitsuba version {mi.__version__}, with the plugins of mi_neural_asset")
    mi.Log(mi.LogLevel.Info, f'Rendering using the "{variant}" variant.')
    if jit:
        _set_compiler(options)
    resolver = mi.file_resolver()
    for folder in options.search:
        resolver.append(folder)
    for scene in options.scenes:
        _render(scene, options)


def _set_levels(options: Options) -> None:
    import drjit as dr
    import mitsuba as mi

    verbosity = min(options.count("-v"), 2)
    mi.set_log_level((mi.LogLevel.Info, mi.LogLevel.Debug, mi.LogLevel.Trace)[verbosity])
    dr.set_log_level((dr.LogLevel.Error, dr.LogLevel.Warn, dr.LogLevel.Info)[verbosity])
    if "-t" in options.given:
        threads = int(options.first("-t"))  # fewer stop the stock binary too
        if threads < MIN_WORKERS:
            mi.Log(mi.LogLevel.Warn, f"Dr.Jit needs {MIN_WORKERS} threads: using {MIN_WORKERS}, not {threads}.")
        set_thread_count(max(threads, MIN_WORKERS))


def _set_compiler(options: Options) -> None:
    import drjit as dr

    if "-O" in options.given:
        # Level 1, merging equal functions, stays on: without it Dr.Jit 1.5 crashes, and the stock binary with it.
        level, flags = int(options.first("-O")), dr.JitFlag
        steps = (flags.ConstantPropagation, flags.ValueNumbering, flags.OptimizeCalls, flags.OptimizeLoops)
        for needed, flag in enumerate(steps, 2):
            dr.set_flag(flag, level >= needed)
    if options.count("-W") > 0:
        dr.set_flag(dr.JitFlag.SymbolicLoops, False)
    if options.count("-W") > 1:
        dr.set_flag(dr.JitFlag.SymbolicCalls, False)
    if "-S" in options.given:
        dr.set_flag(dr.JitFlag.PrintIR, True)
    if "-V" in options.given:
        _set_vector_width(int(options.first("-V")))


def _set_vector_width(width: int) -> None:
    """Override the width of LLVM's vectors, which Dr.Jit offers in C++ alone."""
    if width < 1 or width & (width - 1):
        raise ValueError("Value specified to the -V argument must be a power of two!")
    try:
        cpu, features, set_target = functions({
            "_Z19jit_llvm_target_cpuv": (c_char_p,), "_Z24jit_llvm_target_featuresv": (c_char_p,),
            "_Z19jit_llvm_set_targetPKcS0_j": (None, c_char_p, c_char_p, c_uint32),
        })  # fmt: skip
    except OSError as error:
        raise ValueError(f"-V: {error}: leave the argument out") from error
    set_target(cpu(), features(), width)


def _render(file: str, options: Options) -> None:
    import mitsuba as mi

    from ..loading import load, parser_config

    scene = load(Path(file), options.defines, parser_config())
    if not isinstance(scene, mi.Scene):
        raise ValueError("Root element of the input file must be a <scene> tag!")
    index = int(options.first("-s", "0"))
    if index >= len(scene.sensors()):
        raise ValueError("Specified sensor index is out of bounds!")
    integrator, film = scene.integrator(), scene.sensors()[index].film()
    if integrator is None:
        raise ValueError(f"No integrator specified for scene: {file}")
    with _progress(integrator):
        integrator.render(scene, sensor=scene.sensors()[index], develop=True)
    film.write(options.first("-o", file))


class _progress:  # noqa: N801 (used as a function)
    """Progress bar for integrators that tell how far they are, in a terminal."""

    def __init__(self, integrator: Any) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = TextColumn("Rendering"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._integrator = integrator

    def __enter__(self) -> None:
        if hasattr(self._integrator, "progress"):
            self._bar.start()
            task = self._bar.add_task("render", total=None)
            self._integrator.progress = lambda done, total: self._bar.update(task, completed=done, total=total)

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


def was_interrupted(error: BaseException | None) -> bool:
    """Ctrl-C inside Mitsuba arrives as a RuntimeError caused by a KeyboardInterrupt."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__
    return False


def _report(error: Exception, options: Options) -> str:
    """The stock binary's way of reporting an error; errors of plugins hide behind Mitsuba's as their cause."""
    lines = [f"Caught a critical exception: {error}"]
    cause = error.__cause__
    while cause is not None:
        if str(cause) not in lines[0]:
            lines.append(f"  caused by {type(cause).__name__}: {cause}")
        cause = cause.__cause__
    if "Found unused parameters" in lines[0] and "$integrator=" in lines[0]:
        lines.append(_UNUSED_INTEGRATOR)
    text = "\n" + "\n".join(lines)
    return f"\x1b[31m{text}\x1b[0m" if sys.stderr.isatty() else text
