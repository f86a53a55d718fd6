"""How the `mitsuba` command comes to see our plugins.

The stock command runs a C++ binary in a child process, which knows no Python plugins.  Installed beside the package are
(from site/) one module and a `.pth` file (`.start` from Python 3.15 on), which act only in processes whose first
words contain `mitsuba`: they wrap the module `mitsuba.cli`, so that the command first looks whether a scene names one
of our plugins (scan.py).  Such scenes are rendered in this process (command.py), all others by the stock binary,
untouched.
"""

from __future__ import annotations

import os
import sys


def is_own_command() -> bool:
    """Whether this process is the `mitsuba` or the `mi-neural-asset` command, which look at LLVM when they need it."""
    words = sys.orig_argv[1:]
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    if module.split(".")[0] in ("mi_neural_asset", "mitsuba"):
        return True
    script = os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0]
    return script in ("mitsuba", "mi-neural-asset")
