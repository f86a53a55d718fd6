"""What becomes of one file: refused with a clear error, or accepted and sound; anything else is a defect.

Run as a process (`python -m fuzz.check SEED BEGIN END FOLDER`), it makes the mutants of a range itself and prints one JSON line for
each, so that a crash of the process names the file.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SECONDS = 1.0  # of the processor, for a file of at most a few MB
MEMORY = 128 * 2**20  # bytes more at the peak than before
ADDRESS_SPACE = 16 * 2**30  # bytes; an error of memory beyond, rather than a machine that swaps
TEMPORARY = tempfile.gettempdir()
FIELD = re.compile(
    r"(the file|its entry|its entries|its directory|its container|the container|the tensors|asset|magic|version|kind|units|up_axis"
    r"|boundary|source|center|scale|config|weights|provenance)[ .:\[]"
    r"|.{,500}: (expected a plain value|contains itself|holds more than)"  # in a field that should not be there
)
ADVICE = re.compile("; (the file is|upgrade|if a newer|make one)|, or make one with|this is not an asset file$|bake it again")

_forbidden: list[str] = []
_watching = False


def _audit(event: str, arguments: tuple) -> None:
    """Python reports what a program does to the world; nothing of it belongs to reading a file."""
    if not _watching:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        curves = "/mi_neural_asset_" in str(path) or path == TEMPORARY  # come to Mitsuba by a temporary file
        if writes and not curves:
            _forbidden.append(f"opened {path} to write")
    elif event.split(".")[0] in ("subprocess", "socket", "ctypes", "shutil", "ftplib", "urllib") or event in (
        "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.rename", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate",
        "os.putenv", "pty.spawn", "pickle.find_class",
    ):  # fmt: skip
        _forbidden.append(f"{event} {arguments!r:.100}")


def judge(path: Path, mitsuba: bool = True) -> tuple[str, str]:
    """("accepted", "") or ("refused", message) or ("defect", what is wrong)."""
    from mi_neural_asset.asset.asset import NeuralAsset
    from mi_neural_asset.asset.values import AssetFileError
    from mi_neural_asset.asset.vocabulary import DescriptionError

    try:
        asset = NeuralAsset.load(path)
        _use(asset, mitsuba)
    except AssetFileError as error:
        message = str(error)
        text = message.removeprefix(f"{path}: ")
        if not message.isprintable() or len(message) > 1500:
            return "defect", f"an error that cannot be shown: {message!r:.300}"
        if not FIELD.match(text) or not ADVICE.search(text):
            return "defect", f"an error that names no field, or says not what to do: {text:.300}"
        return "refused", text
    except DescriptionError as error:  # Mitsuba refuses what no rule of the format forbids
        clear = str(error).isprintable() and re.match(r"(shape|medium) '.*Mitsuba refuses", str(error)) and len(str(error)) < 1500
        return ("refused" if clear else "defect"), str(error)
    except BaseException as error:
        return "defect", f"{type(error).__name__}: {error!s:.300}"
    return "accepted", ""


def _use(asset: Any, mitsuba: bool) -> None:
    """What programs do with an asset."""
    import torch

    asset.summary().encode()
    model, x = asset.model(), torch.nn.functional.normalize(torch.linspace(-1, 1, 24).reshape(8, 3), dim=-1)
    around = torch.zeros(8, asset.config.surroundings)
    with torch.no_grad():
        if asset.kind == "far_field":
            sites = model.sites(x, x, x, around)
            assert model.value(sites, x, x).shape == (8, 3) and model.log_density(sites, x, x).shape == (8,)
        else:
            assert model.log_density(x, x, x, 1.03 * x, x, around).shape == (8, 3)
            assert model.albedo(model.sites(x, x, x, around)).isnan().sum() == 0 or not mitsuba
    if mitsuba:
        import mitsuba as mi

        mi.load_dict(asset.boundary_scene(media=True), parallel=False)
        if asset.source is not None:
            mi.load_dict(asset.source_scene(), parallel=False)


def peak() -> int:
    """Largest memory of this process since `reset_peak`, bytes."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) << 10


def reset_peak() -> int:
    """Forget the peak; returns the memory in use, bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def prepare() -> None:
    """Load what judging needs, so that no file is charged for it."""
    import mitsuba as mi
    import torch

    import mi_neural_asset

    torch.set_num_threads(1)
    sys.addaudithook(_audit)
    mi.set_variant("llvm_ad_rgb")
    mi.set_log_level(mi.LogLevel.Error)
    mi_neural_asset.register()
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, resource.getrlimit(resource.RLIMIT_AS)[1]))


def examine(data: bytes, folder: Path) -> dict[str, Any]:
    """Judge a file in an empty folder, with its time, memory and what it did."""
    global _watching
    path = folder / "asset.pt"
    path.write_bytes(data)
    before, world, start = reset_peak(), _world(folder), time.process_time()
    _watching = True
    try:
        verdict, message = judge(path)
    finally:
        _watching = False
    seconds, growth = time.process_time() - start, peak() - before
    if _forbidden:
        verdict, message = "defect", "; ".join(_forbidden)
        _forbidden.clear()
    if _world(folder) != world or path.read_bytes() != data:
        verdict, message = "defect", f"files changed: {sorted(set(_world(folder)) ^ set(world))}"
    if seconds > SECONDS:
        verdict, message = "defect", f"took {seconds:.1f} s ({message:.100})"
    if growth > MEMORY + 4 * len(data):
        verdict, message = "defect", f"took {growth >> 20} MiB ({message:.100})"
    return {"verdict": verdict, "message": message, "seconds": round(seconds, 4), "growth": growth, "bytes": len(data)}


def _world(folder: Path) -> list[str]:
    """Files where a hostile one could leave some."""
    return sorted(str(path) for place in (folder, folder.parent, Path.cwd()) for path in place.iterdir())


def main() -> None:
    """The process."""
    from .mutations import mutant
    from .sample import sample

    seed, begin, end, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    prepare()
    whole = sample()
    (folder / "asset.pt").write_bytes(whole.data)
    judge(folder / "asset.pt")  # what is done once is done
    if (first := examine(whole.data, folder))["verdict"] != "accepted":
        raise RuntimeError(f"the sound asset: {first}")
    for index in range(begin, end):
        kind, data = mutant(seed, index, whole)
        print(json.dumps({"index": index, "kind": kind}), flush=True)
        print(json.dumps(examine(data, folder)), flush=True)


if __name__ == "__main__":
    main()
