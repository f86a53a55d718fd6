"""Files are whole or not there, whatever stops a save; one output has one writer."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from mi_neural_asset import files
from mi_neural_asset.files import Busy, Lock, remove_leftovers, replacing


def write(path, data: bytes) -> None:
    with replacing(path) as stream:
        stream.write(data)


def names(folder) -> list[str]:
    return sorted(os.listdir(folder))


def test_file_appears_when_the_block_ends(tmp_path):
    with replacing(tmp_path / "a.txt") as stream:
        stream.write(b"new")
        assert not (tmp_path / "a.txt").exists() and str(stream.name).endswith(".txt")
    assert (tmp_path / "a.txt").read_bytes() == b"new" and names(tmp_path) == ["a.txt"]


WRITERS = {
    "bytes": lambda stream: stream.write(bytes(100_000)),
    "torch": lambda stream: torch.save({"x": torch.zeros(25_000)}, stream),
    "numpy": lambda stream: np.save(stream, np.zeros(25_000, np.float32)),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("old", [b"old", None])
def test_full_disk(tmp_path, writer, old):
    """The system refuses to let the file grow: each library's own error becomes one that says what stands."""
    path = tmp_path / "a.pt"
    if old:
        path.write_bytes(old)
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=r"a\.pt was not written \(File too large\)") as caught, replacing(path) as stream:
            WRITERS[writer](stream)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert ("the file that was there is whole" if old else "there is none now") in str(caught.value)
    assert names(tmp_path) == (["a.pt"] if old else []) and (not old or path.read_bytes() == old)


@pytest.fixture
def locked_folder(tmp_path):
    """A folder in which this process may not write; one that runs as root gives up its rights for the test."""
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "a.pt").write_bytes(b"old")
    root = os.geteuid() == 0
    for parent in [tmp_path, *tmp_path.parents][:4] if root else []:
        parent.chmod(parent.stat().st_mode | 0o055)
    folder.chmod(0o555)
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)


def test_folder_that_cannot_be_written(locked_folder):
    with pytest.raises(PermissionError, match=r"a\.pt was not written \(Permission denied\); the file that was there is whole"):
        write(locked_folder / "a.pt", b"new")
    assert (locked_folder / "a.pt").read_bytes() == b"old" and names(locked_folder) == ["a.pt"]
    with pytest.raises(PermissionError, match=r"b\.pt was not written.*there is none now"):
        write(locked_folder / "b.pt", b"new")
    with pytest.raises(PermissionError, match=r"a\.pt cannot be written: Permission denied; choose another output"):
        Lock(locked_folder / "a.pt").__enter__()


def test_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.pt was not written \(No such file or directory\)"):
        write(tmp_path / "none" / "a.pt", b"new")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write(tmp_path, b"new")


def test_interrupted_save(tmp_path, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs behind them with it ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    (tmp_path / "a.pt").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt, match=r"a\.pt was not written \(interrupted\); the file that was there is whole"):
        with replacing(tmp_path / "a.pt") as stream:
            stream.write(b"half")
            signal.raise_signal(signal.SIGINT)
    assert (tmp_path / "a.pt").read_bytes() == b"old" and names(tmp_path) == ["a.pt"]


def test_errors_of_the_content_stay_what_they_are(tmp_path):
    with pytest.raises(ValueError, match="^my own$"), replacing(tmp_path / "a.pt"):
        raise ValueError("my own")
    assert not names(tmp_path)


# -- killed processes -----------------------------------------------------------------------------------------------

HOLD = """if True:
    import sys, time
    from mi_neural_asset.files import Lock, replacing
    with {what}(sys.argv[1]) as held:
        {then}
        print("there", flush=True)
        time.sleep(60)
    """


def holder(what: str, path, then: str = "pass") -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD.format(what=what, then=then), str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    return process


def test_part_file_of_a_killed_save_goes_with_the_next(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    process = holder("replacing", path, "held.write(b'half'); held.flush()")
    part = [name for name in names(tmp_path) if name != "a.pt"]
    assert len(part) == 1 and remove_leftovers(path) == []  # it is at work
    process.kill()
    process.wait()
    assert names(tmp_path) == sorted([*part, "a.pt"]) and path.read_bytes() == b"old"
    (tmp_path / ".a.other.part.pt").write_bytes(b"no part file of ours")
    write(path, b"new")
    assert names(tmp_path) == [".a.other.part.pt", "a.pt"] and path.read_bytes() == b"new"


def test_two_writers_of_one_output_refuse_each_other(tmp_path):
    path = tmp_path / "a.pt"
    process = holder("Lock", path)
    with pytest.raises(Busy, match=rf"a\.pt: another process \(process {process.pid}\) is writing it; wait"), Lock(path):
        pass
    with Lock(tmp_path / "b.pt"):
        pass
    process.kill()
    process.wait()
    assert names(tmp_path) == [".a.pt.lock"]  # of a dead process: it holds nobody back
    with Lock(path):
        with pytest.raises(Busy, match=f"process {os.getpid()}"), Lock(path):
            pass
    assert not names(tmp_path)


def test_lock_is_held_by_one_at_a_time(tmp_path):
    """Threads that take and give it back as fast as they can: never two at once, although the lock file comes and goes."""
    inside, worst, taken, stop = [], [], [], time.monotonic() + 0.5

    def work() -> None:
        while time.monotonic() < stop:
            try:
                with Lock(tmp_path / "a"):
                    inside.append(1)
                    worst.append(len(inside))
                    time.sleep(0)
                    inside.pop()
                    taken.append(1)
            except Busy:
                pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) == 1 and len(taken) > 50 and not names(tmp_path)


def test_file_systems_without_locks_still_write(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", none)
    (tmp_path / ".a.01234567.part.pt").write_bytes(b"perhaps at work")
    with Lock(tmp_path / "a.pt"):
        write(tmp_path / "a.pt", b"new")
    assert names(tmp_path) == [".a.01234567.part.pt", "a.pt"]


def test_system_without_fcntl_imports(tmp_path):
    code = "import sys; sys.modules['fcntl'] = None; from mi_neural_asset.files import *; import mi_neural_asset.files as f\n"
    code += "with f.Lock(sys.argv[1]), f.replacing(sys.argv[1]) as s: s.write(b'x')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=True, timeout=60)
    assert names(tmp_path) == ["a"]
