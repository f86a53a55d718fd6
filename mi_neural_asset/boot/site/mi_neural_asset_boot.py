"""Wraps `mitsuba.cli`, the module behind the `mitsuba` command; see mi_neural_asset/boot/__init__.py.

Imported at interpreter start by the `.pth` or `.start` file of the same name, so it stays small and imports nothing
of ours.
"""

import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType

_COMMANDS = ("mitsuba", "mitsuba.exe", "mitsuba-script.py", "mitsuba.cli")
_WRAPPED = "mitsuba.cli"
_SOURCE = """
from mi_neural_asset_boot import run as _main

if __name__ == "__main__":
    _main()
"""
_stock: CodeType | None = None


def start() -> None:
    """Wrap the module if this process is the `mitsuba` command."""
    names = {word.replace("\\", "/").rpartition("/")[2] for word in sys.orig_argv[1:6]}
    if not names.isdisjoint(_COMMANDS) and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def run() -> None:
    """The `mitsuba` command: ours for scenes that name our plugins, else the stock one."""
    from mi_neural_asset.boot.command import main

    sys.exit(main(sys.argv[1:], run_stock))


def run_stock() -> None:
    """Run the stock command; ends the process with its exit code."""
    names = {"__name__": _WRAPPED}
    exec(_stock, names)
    names["_main"]()


class _Loader(SourceFileLoader):
    # get_code is what both an import and `python -m` ask for.
    def get_code(self, fullname: str) -> CodeType:
        global _stock
        _stock = super().get_code(fullname)
        return compile(_SOURCE, __file__, "exec")


class _Finder:
    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "mitsuba":  # imports Dr.Jit, which then loads LLVM
            from mi_neural_asset.boot.environment import choose_llvm

            choose_llvm()
        if name != _WRAPPED:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if isinstance(spec.loader, SourceFileLoader):
                    spec.loader = _Loader(spec.loader.name, spec.loader.path)
                return spec
        return None
