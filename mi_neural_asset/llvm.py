"""Finding the LLVM library that Dr.Jit compiles with, before anything can abort.

Dr.Jit loads libLLVM when it is imported: the library named by `DRJIT_LIBLLVM_PATH`, else the newest one on the loader's
path.  Versions 15 and 16 load, and then abort the process at the first render; older ones are refused; so a look at the
version has to come first.  Nothing here imports Dr.Jit, Mitsuba or torch.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import glob
import importlib.metadata
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "DRJIT_LIBLLVM_PATH"
WHEEL = "karellen-llvm-core"
MINIMUM = 17

CURES = (
    f"Cure 1, without root: `pip install {WHEEL}` (it is found by itself).\n"
    f"Cure 2: install LLVM {MINIMUM} or newer, on Debian and Ubuntu `apt-get install libllvm19`, and where several are "
    f"installed set {VARIABLE} to the file, for instance\n"
    f"        export {VARIABLE}=/usr/lib/x86_64-linux-gnu/libLLVM-19.so"
)

_SYSTEM_PATTERNS = (
    "/usr/lib/*-linux-gnu/libLLVM*.so*",
    "/usr/lib/llvm-*/lib/libLLVM*.so*",
    "/usr/lib64/libLLVM*.so*",
    "/usr/lib64/llvm*/lib64/libLLVM*.so*",
    "/usr/lib/libLLVM*.so*",
    "/usr/local/lib/libLLVM*.so*",
    "/opt/homebrew/opt/llvm*/lib/libLLVM*.dylib",
    "/usr/local/opt/llvm*/lib/libLLVM*.dylib",
)


@dataclass(frozen=True)
class Library:
    """A libLLVM and where it was found.

    Attributes:
        path: file name; `None` when there is none.
        origin: `"environment"`, `"wheel"`, `"system"`, or `"drjit"` (Dr.Jit was imported already).
        version: `(major, minor, patch)`; `(0, 0, 0)` for one older than 16, which cannot say; `None` if it cannot be
        loaded.
        problem: the loader's message where `version` is `None`.
    """

    path: str | None
    origin: str
    version: tuple[int, int, int] | None = None
    problem: str = ""

    @property
    def usable(self) -> bool:
        """Whether Dr.Jit can render with it."""
        return self.version is not None and self.version[0] >= MINIMUM

    @property
    def description(self) -> str:
        """One line: file, version, origin."""
        if self.path is None:
            return "no libLLVM found"
        if self.version is None:
            return f"{self.path} ({self.origin}) cannot be loaded: {self.problem}"
        number = ".".join(map(str, self.version)) if self.version[0] else "older than 16"
        return f"{self.path} ({self.origin}), version {number}"


def version_of(path: str) -> tuple[int, int, int]:
    """Version of a libLLVM; `(0, 0, 0)` for one older than 16, which lacks `LLVMGetVersion`.

    Raises:
        OSError: the file is not a library that the loader accepts.
    """
    library = ctypes.CDLL(path)
    try:
        function = library.LLVMGetVersion
    except AttributeError:
        return (0, 0, 0)
    parts = [ctypes.c_uint() for _ in range(3)]
    function.restype, function.argtypes = None, [ctypes.POINTER(ctypes.c_uint)] * 3
    function(*map(ctypes.byref, parts))
    return tuple(part.value for part in parts)


def choose() -> Library:
    """The library to have Dr.Jit load: the user's choice, else that of the wheel, else the system's newest."""
    if os.environ.get(VARIABLE):
        return _examine(os.environ[VARIABLE], "environment")
    wheel = _wheel()
    return _examine(wheel, "wheel") if wheel else system()


def system() -> Library:
    """The newest library of the system, which is what Dr.Jit takes when nobody chooses."""
    return _examine(_system(), "system")


def find() -> Library:
    """The library that this process uses: what Dr.Jit has loaded, if it was imported, else what we choose for it."""
    if "drjit" in sys.modules:
        return _examine(_loaded() or os.environ.get(VARIABLE) or _system(), "drjit")
    return choose()


def prepare(library: Library | None = None) -> Library:
    """Check the library and, where the user has not chosen one, name it in `DRJIT_LIBLLVM_PATH` for Dr.Jit to load.

    Args:
        library: the one to prepare; `find()` where it is left out.

    Raises:
        ImportError: there is no libLLVM, or it is older than 17; the text names both cures.
    """
    library = library or find()
    if not library.usable:
        raise ImportError(complaint(library))
    if library.origin in ("wheel", "system"):
        os.environ[VARIABLE] = library.path
    return library


def complaint(library: Library) -> str:
    """Error text for a library that cannot be used: what is wrong, and both cures."""
    if library.path is None:
        what = f"Mitsuba's LLVM variants need the LLVM shared library, version {MINIMUM} or newer, and none was found."
    elif library.version is None:
        what = f"The LLVM library {library.description}."
    else:
        what = f"LLVM {MINIMUM} or newer is needed, older ones abort in a render; this is {library.description}."
    hint = ""
    if library.origin == "drjit":
        hint = (
            "\nDr.Jit was imported already and has made its choice: import mi_neural_asset before mitsuba and drjit, "
            f"or set {VARIABLE} before Python starts."
        )
    elif library.origin == "environment":
        hint = f"\nIt was chosen by the environment variable {VARIABLE}: unset that to let the library be found."
    return f"{what}{hint}\n{CURES}"


def _examine(path: str | None, origin: str) -> Library:
    if path is None:
        return Library(None, origin)
    try:
        return Library(path, origin, version_of(path))
    except OSError as error:
        return Library(path, origin, None, str(error))


def _loaded() -> str | None:
    """The libLLVM that this process has mapped, if the system can tell (Linux)."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    files = [line.split(maxsplit=5)[5] for line in lines if "libLLVM" in line]
    named = os.path.realpath(os.environ.get(VARIABLE, ""))
    return named if named in files else next(iter(files), None)


def _wheel() -> str | None:
    """libLLVM of the wheel, if that is installed."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [str(Path(file.locate()).resolve()) for file in files if re.match(r"libLLVM[-.\d]*\.(so|dylib)", file.name)]
    found = [path for path in found if os.path.exists(path)]
    return max(found, key=_version_in_name, default=None)


def _system() -> str | None:
    """The newest libLLVM of the system, by the version in its name; else what the loader itself finds."""
    found = [path for pattern in _SYSTEM_PATTERNS for path in glob.glob(pattern)]
    return max(found, key=_version_in_name, default=None) or ctypes.util.find_library("LLVM")


def _version_in_name(path: str) -> tuple[int, ...]:
    """Numbers in the file name: `libLLVM-19.so.1` is (19, 1), `/usr/lib/llvm-19/lib/libLLVM.so` is (19,)."""
    name = Path(path).resolve().name if os.path.islink(path) else Path(path).name
    numbers = re.findall(r"\d+", name) or re.findall(r"llvm-(\d+)", path)
    return tuple(int(number) for number in numbers[:3])
