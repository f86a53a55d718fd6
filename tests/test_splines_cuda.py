"""The GPU splines' launcher: names, arguments, geometry, stream, compiling once, and what happens without CuPy.

Each numeric test runs twice: on this machine, where a stand-in for CuPy compiles the very source that the launcher hands over by g++
(cuda/host.h) and executes its launches on CPU tensors, and on a GPU (marker `gpu`).  The kernels' own proofs: test_cuda_kernels.py.
"""

import ctypes
import re
import shutil
import subprocess
import sys
import warnings
from contextlib import contextmanager, nullcontext
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from test_cuda_kernels import CUDA, Case, compile_cpp, compiler, worst
from torch._subclasses.fake_tensor import FakeTensorMode

from mi_neural_asset import launcher, splines
from mi_neural_asset.splines import cuda, plain

STREAM = 4711
ROUNDING = 32 * 2.0**-24  # as in test_cuda_kernels.py: a knot is a sum of up to 32 rounded parts
NO_CUPY = "needs CuPy: pip install 'mi-neural-asset[cuda]'"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and torch built for CUDA")
every_spline = pytest.mark.parametrize(
    ("knots", "periodic", "dtype"), [(k, p, t) for k in (7, 16) for p in (False, True) for t in cuda.TYPES]
)


class Host:
    """As much of CuPy as the launcher uses, on this machine's memory.  Arguments are checked, launches are recorded and executed."""

    libraries = {}  # compiled programs, by their text and options

    def __init__(self, folder: Path) -> None:
        self.folder, self.inside, self.stream, self.compiled, self.launches = folder, False, None, [], []
        self.cuda = SimpleNamespace(Stream=SimpleNamespace(from_external=self.from_external))

    @contextmanager
    def device(self, device):
        """torch.cuda.device: launching and compiling are for the device that is current."""
        assert device in (None, torch.device("cpu"))
        self.inside = True
        yield
        self.inside = False

    @contextmanager
    def from_external(self, stream):
        version, self.stream = stream.__cuda_stream__()
        assert version == 0
        yield
        self.stream = None

    def RawModule(self, *, code, options):  # noqa: N802
        def compile_():
            assert self.inside
            self.compiled.append(options)
            if (code, options) not in self.libraries:
                text, library = (self.folder / f"{len(self.libraries)}.{suffix}" for suffix in ("cpp", "so"))
                text.write_text(code)
                compile_cpp(["-O1", "-fPIC", "-shared", *options, f"-I{CUDA}", text, "-o", library])
                self.libraries[code, options] = ctypes.CDLL(str(library))

        def get_function(name):
            entry = getattr(self.libraries[code, options], f"launch_{name}")
            return lambda grid, block, arguments: self.launch(name, entry, grid, block, arguments)

        return SimpleNamespace(compile=compile_, get_function=get_function)

    def launch(self, name, entry, grid, block, arguments):
        assert self.inside and self.stream == STREAM
        assert {type(x) for x in arguments} == {np.int64, np.int32}  # pointers and numbers of rows; other numbers
        cells = [ctypes.create_string_buffer(x.tobytes(), x.nbytes) for x in arguments]
        entry(*grid, *block, (ctypes.c_void_p * len(cells))(*map(ctypes.addressof, cells)))
        self.launches.append((name, grid, block, *map(int, arguments[5:])))


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Nothing compiled or said by one test is known to the next."""
    caches = (launcher.program, launcher._entry, launcher.usable)
    monkeypatch.setattr(launcher, "_complained", False)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cuda")


@pytest.fixture
def host(programs, monkeypatch) -> Host:
    host = Host(programs)
    monkeypatch.setitem(sys.modules, "cupy", host)
    monkeypatch.setattr(torch.cuda, "device", host.device)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=STREAM))
    return host


@pytest.fixture(params=["cpu", pytest.param("cuda:0", marks=[pytest.mark.gpu, needs_gpu])])
def device(request) -> torch.device:
    """Where the kernels run: here through the stand-in, or on a GPU."""
    if request.param == "cpu":
        request.getfixturevalue("host")
    else:
        pytest.importorskip("cupy", reason=NO_CUPY)
    return torch.device(request.param)


def shared(case: Case, device: torch.device) -> torch.Tensor:
    """A row's one value for all of its channels, as the flow has it."""
    return case.at.to(device)[:, None].expand(-1, case.raw.shape[1])


@every_spline
def test_log_density_and_gradient(device, knots, periodic, dtype):
    case = Case(knots, periodic, False, dtype)
    leaf, s = case.raw.to(device).requires_grad_(), shared(case, device)
    value = cuda.log_density(s, leaf, knots, periodic)
    value.backward(case.incoming.to(device))
    assert (value.dtype, value.shape, leaf.grad.dtype) == (torch.float32, s.shape, dtype)

    _, steep = case.steepness(case.table.s)
    assert worst(value.detach().cpu() - plain.cdf(case.at64, case.table)[1].detach(), steep) < ROUNDING  # measured 0.18 of that here
    exact = case.plain_gradient()
    stored = 2.0**-11 * exact.abs() + 2.0**-25 if dtype == torch.float16 else 0  # half a unit in the last place
    error = ((leaf.grad.cpu() - exact).abs() - stored).clamp_min(0)
    clear = (case.at64[..., None] - case.table.s[..., 1:-1]).abs().amin(-1) > ROUNDING  # the gradient jumps at knots
    assert clear.double().mean() > 0.99
    assert worst(error[clear], (case.incoming.abs() * steep**2)[clear][:, None]) < ROUNDING  # 0.03

    own = torch.stack([s[:, 0], s[:, 0].flip(0), s[:, 0]], 1)  # each channel with a value of its own: rows of one channel
    values = cuda.log_density(own, leaf, knots, periodic)
    assert torch.equal(values[:, ::2], value[:, ::2])
    assert torch.equal(values[:, 1], cuda.log_density(own[:, 1], leaf[:, 1], knots, periodic))


@every_spline
def test_log_likelihood(device, knots, periodic, dtype):
    """The sum and its gradient are those of the density of one channel."""
    case = Case(knots, periodic, False, dtype)
    s, leaf, weight = case.at.to(device), case.raw[:, 1].to(device).requires_grad_(), case.incoming[:, 1].to(device)
    total, gradient = cuda.log_likelihood(s, leaf, weight, knots, periodic)
    values = cuda.log_density(s, leaf, knots, periodic)
    values.backward(weight)
    assert torch.equal(gradient, leaf.grad) and not total.requires_grad
    assert torch.allclose(total, (weight * values.detach()).sum(), rtol=1e-5, atol=1e-4)


@every_spline
def test_sample(device, knots, periodic, dtype):
    case = Case(knots, periodic, True, dtype)
    s = cuda.sample(case.at.to(device), case.raw.to(device).requires_grad_(), knots, periodic, case.channel.int().to(device)).cpu()
    assert s.dtype == torch.float32 and not s.requires_grad and (s >= 0).all() and (s <= 1).all()
    assert worst(plain.cdf(s.double(), case.table)[0].detach() - case.at64, case.steepest().detach()) < ROUNDING  # 0.31


def test_any_layout_gives_the_same(device):
    """Columns, reversed storage and slices: what is not contiguous is made so, and inputs stay as they are."""
    case = Case(16, False, True, torch.float32)
    raw, at, channel = (t.to(device) for t in (case.raw, case.at, case.channel))
    before = raw.clone()
    strided_raw = raw.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    table = torch.stack([at, -at], 1)
    strided_channel = torch.stack([channel, -channel], 1)[:, 0]
    assert not (strided_raw.is_contiguous() or table[:, 0].is_contiguous() or strided_channel.is_contiguous())
    assert torch.equal(cuda.sample(at, raw, 16, False, channel), cuda.sample(table[:, 0], strided_raw, 16, False, strided_channel))
    assert torch.equal(cuda.log_density(at, raw[:, 1], 16, False), cuda.log_density(table[:, 0], strided_raw[:, 1], 16, False))
    leaves = [t.clone().requires_grad_() for t in (raw, strided_raw)]
    for leaf in leaves:
        cuda.log_density(at[:, None].expand(-1, 3), leaf, 16, False).sum().backward()  # an expanded incoming gradient
    assert torch.equal(leaves[0].grad, leaves[1].grad) and torch.equal(raw, before)


def test_empty_batch(device):
    raw = torch.zeros(0, 3, 49, device=device, requires_grad=True)
    value = cuda.log_density(torch.zeros(0, 1, device=device).expand(0, 3), raw, 16, False)
    value.sum().backward()
    assert value.shape == (0, 3) and raw.grad.shape == raw.shape
    none = torch.zeros(0, device=device)
    assert cuda.sample(none, raw, 16, False, none.long()).shape == (0,)


@pytest.mark.parametrize("rows", [1, 21, 22, 64, 65, 1000])
def test_geometry(host, rows):
    """One thread a spline in blocks of the kernels' size, no dynamic shared memory; an empty launch would be an error of CUDA's."""
    assert f"constexpr int BLOCK = {cuda.BLOCK};" in (CUDA / "spline.cu").read_text()
    raw, z = torch.zeros(rows, 3, 48, requires_grad=True), torch.full((rows,), 0.25)
    cuda.log_density(z[:, None].expand(-1, 3), raw, 16, True).sum().backward()
    assert torch.equal(cuda.sample(z, raw, 16, True, torch.ones(rows, dtype=torch.long)), z)  # raw zeros: uniform
    every, one = (((count + 63) // 64,) for count in (3 * rows, rows))
    assert host.launches == [
        ("spline_cdf_all_f32_periodic_k16", every, (64,), rows, 3),
        ("spline_backward_all_f32_periodic_k16", every, (64,), rows, 3),
        ("spline_sample_hero_f32_periodic_k16", one, (64,), rows, 3),
    ]
    host.launches.clear()
    cuda.log_density(z, raw[:, 0], 16, True)
    cuda.sample(z[:0], raw[:0], 16, True, torch.zeros(0, dtype=torch.long))
    assert host.launches == [("spline_cdf_all_f32_periodic_k16", one, (64,), rows, 1)]


def test_compiled_once(host):
    for _ in range(3):
        for periodic, dtype in product((False, True), cuda.TYPES):
            raw = torch.zeros(5, 3, plain.raw_size(16, periodic), dtype=dtype)
            cuda.log_density(torch.rand(5, 3), raw, 16, periodic)
            cuda.sample(torch.rand(5), raw, 16, periodic, torch.zeros(5, dtype=torch.long))
        assert cuda.usable(16, None)
    assert host.compiled == [("-std=c++17", "-DSPLINE_KNOTS=16")]
    cuda.log_density(torch.rand(5), torch.zeros(5, 21), 7, True)
    assert len(host.compiled) == 2


@pytest.mark.parametrize("knots", cuda.KNOTS)
def test_every_entry_point_asked_for_exists(host, monkeypatch, tmp_path, knots):
    asked = []
    monkeypatch.setattr(launcher, "_entry", lambda name, definitions, entry, _: asked.append(entry) or (lambda *_: None))
    for periodic, dtype in product((False, True), cuda.TYPES):
        raw = torch.zeros(2, 3, plain.raw_size(knots, periodic), dtype=dtype, requires_grad=True)
        cuda.log_density(torch.zeros(2, 3), raw, knots, periodic).sum().backward()
        cuda.sample(torch.zeros(2), raw, knots, periodic, torch.zeros(2, dtype=torch.long))
    (tmp_path / "cuda_fp16.h").touch()
    command = [compiler("g++"), "-E", "-P", "-D__CUDACC__", f"-DSPLINE_KNOTS={knots}", f"-I{tmp_path}", "-x", "c++", "-"]
    text = subprocess.run(command, input=launcher.source("spline"), capture_output=True, text=True, check=True).stdout
    there = re.findall(r"__global__ void __launch_bounds__\(BLOCK, 16\) (spline_\w+)\(", text)
    assert len(there) == 24 and len(set(asked)) == 12 and set(asked) <= set(there)


def test_which_twin(monkeypatch):
    """By type and device; the tensors are described, not allocated."""
    monkeypatch.setattr(launcher, "program", lambda *_: None)
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("error")
        s, raw = torch.zeros(5, device="cuda:0"), torch.zeros(5, 49, device="cuda:0")
        for fits in (raw, raw.half(), raw.clone().requires_grad_()):
            assert splines._fast_twin(s, fits, 16) is cuda
        assert splines._fast_twin(s, raw, 32) is cuda
        for knots, position, numbers in (
            (33, s, raw), (1, s, raw), (16, s.double(), raw.double()), (16, s, raw.double()), (16, s.half(), raw.half()),
            (16, s, raw.bfloat16()), (16, s.new_zeros(0), raw.new_zeros(0, 49)), (16, s.cpu(), raw), (16, s.clone().requires_grad_(), raw),
        ):  # fmt: skip
            assert splines._fast_twin(position, numbers, knots) is None
        with torch.no_grad():
            assert splines._fast_twin(s.clone().requires_grad_(), raw, 16) is cuda
        with splines.only_plain():
            assert splines._fast_twin(s, raw, 16) is None


@pytest.mark.parametrize("trouble", ["no CuPy", "does not compile"])
def test_without_kernels_plain_torch_does_it_and_says_so_once(host, monkeypatch, trouble):
    def failing(**_):
        raise RuntimeError("nvrtc: error: no such architecture\nmore of it")

    if trouble == "no CuPy":
        monkeypatch.setitem(sys.modules, "cupy", None)
    else:
        monkeypatch.setattr(host, "RawModule", failing)
    done = []
    for name in ("log_density", "sample_channel"):
        monkeypatch.setattr(plain, name, lambda at, raw, *_: done.append((raw.device.type, raw.dtype)))
    with FakeTensorMode(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for knots, dtype in product((16, 16, 7), cuda.TYPES):
            s, raw = torch.zeros(5, device="cuda:0"), torch.zeros(5, 3, 3 * knots, device="cuda:0", dtype=dtype)
            splines.log_density(s.new_zeros(5, 3), raw, knots, True)
            splines.sample(s, raw, knots, True, s.long())
    assert done == 12 * [("cuda", torch.float32)]
    (warning,) = said
    text = str(warning.message)
    assert "done by plain torch" in text and "pip install 'mi-neural-asset[cuda" in text
    assert ("ModuleNotFoundError" in text) if trouble == "no CuPy" else ("RuntimeError: nvrtc: error: no such architecture\n" in text)


@pytest.mark.parametrize("twin", [nullcontext, splines.only_plain])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_raw_numbers_are_widened_on_the_cpu(dtype, twin):
    case = Case(16, False, True, torch.float16)
    s, raw = case.at, case.raw.to(dtype)
    chosen = raw[case.chosen]
    with twin():
        assert torch.equal(splines.log_density(s, chosen, 16, False), splines.log_density(s, chosen.float(), 16, False))
        z = splines.sample(s, raw, 16, False, case.channel)
        assert torch.equal(z, splines.sample(s, raw.float(), 16, False, case.channel))


def test_wrong_shapes_never_reach_a_kernel():
    s, raw, channel = torch.zeros(5), torch.zeros(5, 3, 49), torch.zeros(5, dtype=torch.long)
    with pytest.raises(ValueError, match=r"for \[5\] values, got \[5, 3, 49\]"):
        splines.log_density(s, raw, 16, False)
    with pytest.raises(ValueError, match=r"\[..., C, 49\] for \[5\] values, got \[5, 49\]"):
        splines.sample(s, raw[:, 0], 16, False, channel)
    with pytest.raises(ValueError, match=r"one channel for each of \[5\] values, got \[4\]"):
        splines.sample(s, raw, 16, False, channel[:4])


def test_sources_are_found_in_a_wheel_and_importing_compiles_nothing(tmp_path):
    package = tmp_path / "mi_neural_asset"
    shutil.copytree(ROOT / "mi_neural_asset/splines", package / "splines", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CUDA, package / "cuda")  # as [tool.hatch.build.targets.wheel.sources] lays it out
    for module in ("layout", "launcher"):
        shutil.copy(ROOT / f"mi_neural_asset/{module}.py", package)
    (package / "__init__.py").touch()
    code = """if True:
        import sys, torch
        from mi_neural_asset import launcher
        from mi_neural_asset.splines import cuda
        assert "cupy" not in sys.modules and not torch.cuda.is_initialized()
        assert not launcher.program.cache_info().currsize
        print(launcher.folder("cuda"), launcher.source("spline"), sep="\\n", end="")
        """
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    where, _, text = done.stdout.partition("\n")
    assert Path(where) == package / "cuda"
    assert text == launcher.source("spline") and launcher.folder("cuda") == ROOT / "cuda"
    assert '#include "spline.cuh"' not in text and "namespace spline" in text


@pytest.mark.gpu
@needs_gpu
def test_current_stream_without_waiting():
    """Behind a long wait on a side stream a launch returns at once, and reads what that stream has written before it."""
    pytest.importorskip("cupy", reason=NO_CUPY)
    case = Case(16, False, False, torch.float32)
    raw, s = case.raw.cuda(), shared(case, torch.device("cuda:0"))
    wanted = cuda.log_density(s, raw, 16, False)  # and compiles
    late, stream = torch.zeros_like(raw), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10**9)  # clock cycles, about half a second
        late.copy_(raw)
        value = cuda.log_density(s, late, 16, False)
        assert not stream.query()
    stream.synchronize()
    assert torch.equal(value, wanted)


@pytest.mark.gpu
@needs_gpu
def test_cuda_graph():
    """A captured step, gradient included, replays on new numbers: capturing forbids whatever waits for the device."""
    pytest.importorskip("cupy", reason=NO_CUPY)
    case = Case(16, True, True, torch.float32)
    leaf, z, channel = case.raw.cuda().requires_grad_(), case.at.cuda(), case.channel.cuda()

    def step() -> tuple[torch.Tensor, ...]:
        s = cuda.sample(z, leaf, 16, True, channel)
        value = cuda.log_density(s[:, None].expand(-1, 3), leaf, 16, True)
        return s, value, *torch.autograd.grad(value.sum(), leaf)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        leaf.copy_(case.raw.flip(0))
        z.copy_(case.at.flip(0).square())
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))
