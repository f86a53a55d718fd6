"""The spline kernels of cuda/ without a GPU: formulas in float64, rounding in float32 and float16, sanitizers, registers.

The kernels are compiled by g++ through cuda/host.h, which runs the threads of a block as threads of the system.
"""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mi_neural_asset.layout import folder
from mi_neural_asset.splines import plain as spline

CUDA = folder("cuda")
CHANNELS = 3
TYPES = {"f16": torch.float16, "f32": torch.float32, "f64": torch.float64}
BLOCKS, THREADS = 2, 8  # blocks of a grid and threads of a block: small, so that every thread goes round several times
GCC = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-pthread", "-x", "c++"]

every_spline = pytest.mark.parametrize(
    ("knots", "periodic", "hero"), [(k, p, h) for k in (12, 16, 24, 32) for p in (False, True) for h in (False, True)]
)


def compiler(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"no {name} in PATH")


def compile_cpp(arguments: list[str | Path]) -> None:
    done = subprocess.run([compiler("g++"), *GCC, *map(str, arguments)], capture_output=True, text=True)
    if "_Float16" in done.stderr:
        pytest.skip("this g++ has no _Float16: version 12 or newer on x86-64 does")
    assert done.returncode == 0, done.stderr


def run_sanitized(folder: Path, main: str, sanitizers: str, *more: str) -> None:
    """Compile a program that ends by saying "done", run it, and see that the sanitizers have nothing to say."""
    (folder / "main.cpp").write_text(main)
    flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-g", "-O1", *more, f"-I{CUDA}"]
    compile_cpp([*flags, folder / "main.cpp", "-o", folder / "main"])
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([folder / "main"], capture_output=True, text=True, env=environment, timeout=120)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer cannot run under this kernel's address layout")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def ptxas_report(folder: Path, source: str, architecture: str, *more: str) -> tuple[str, list[tuple[str, ...]], list[int]]:
    """What ptxas says of a source: all of it; stack frame, spill stores and loads of each function; registers of each."""
    flags = ["-std=c++17", "-Werror", "all-warnings", "-cubin", f"-arch={architecture}", "-Xptxas", "-v", *more]
    command = [compiler("nvcc"), *flags, str(CUDA / source), "-o", str(folder / "kernels.cubin")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = done.stdout + done.stderr
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    return report, frames, [int(n) for n in re.findall(r"Used (\d+) registers", report)]


class Kernels:
    """The entry points of spline.cu on torch tensors, in a grid of BLOCKS x THREADS."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def _launch(self, operation: str, raw: Tensor, channel: Tensor | None, periodic: bool, *tensors: Tensor) -> None:
        kind = next(name for name, dtype in TYPES.items() if dtype == raw.dtype)
        knots = raw.shape[-1] // 3
        name = f"spline_{operation}_{'all' if channel is None else 'hero'}_{kind}_{'periodic' if periodic else 'open'}_k{knots}"
        arguments = [ctypes.c_void_p(0 if t is None else t.data_ptr()) for t in (raw, channel, *tensors)]
        arguments += [ctypes.c_longlong(raw.shape[0]), ctypes.c_int(raw.shape[1])]
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        getattr(self.library, "launch_" + name)(BLOCKS, THREADS, pointers)

    def _evaluate(self, operation: str, at: Tensor, raw: Tensor, channel: Tensor | None, periodic: bool) -> tuple[Tensor, Tensor]:
        value, log_p = (torch.full(raw.shape[:2] if channel is None else at.shape, torch.nan, dtype=at.dtype) for _ in range(2))
        self._launch(operation, raw, channel, periodic, at, value, log_p)
        return value, log_p

    def sample(self, z: Tensor, raw: Tensor, channel: Tensor | None, periodic: bool) -> tuple[Tensor, Tensor]:
        """(s, log p): z [N], raw [N, C, raw_size]; results [N] of one channel each, or [N, C] where `channel` is None."""
        return self._evaluate("sample", z, raw, channel, periodic)

    def cdf(self, s: Tensor, raw: Tensor, channel: Tensor | None, periodic: bool) -> tuple[Tensor, Tensor]:
        """(z, log p), as `sample`."""
        return self._evaluate("cdf", s, raw, channel, periodic)

    def backward(self, s: Tensor, incoming: Tensor, raw: Tensor, channel: Tensor | None, periodic: bool) -> Tensor:
        """Gradient of (incoming * log p).sum() with respect to raw."""
        gradient = torch.full_like(raw, torch.nan)
        self._launch("backward", raw, channel, periodic, s, incoming, gradient)
        return gradient


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Kernels:
    library = tmp_path_factory.mktemp("cuda") / "spline.so"
    compile_cpp(["-O1", "-fPIC", "-shared", CUDA / "spline.cu", "-o", library])
    return Kernels(library)


class Case:
    """Random splines of several magnitudes and s or z (`at`) from 0 to 1, both ends among them; the plain twin in float64 beside it."""

    def __init__(self, knots: int, periodic: bool, hero: bool, dtype: torch.dtype = torch.float64, rows: int = 301) -> None:
        generator = torch.Generator().manual_seed(knots)
        real = torch.float64 if dtype == torch.float64 else torch.float32  # of everything but the raw numbers
        spread = torch.tensor([0.3, 2.0, 6.0])[torch.arange(rows) % 3, None, None]
        self.raw = (spread * torch.randn(rows, CHANNELS, spline.raw_size(knots, periodic), generator=generator)).to(dtype)
        self.at = torch.rand(rows, generator=generator, dtype=real)
        self.at[:6], self.at[6:12] = 0, 1
        self.channel = torch.randint(CHANNELS, (rows,), generator=generator) if hero else None
        self.incoming = torch.randn((rows,) if hero else (rows, CHANNELS), generator=generator, dtype=real) / 16  # within float16
        self.periodic = periodic

        # each [N] for a hero, else [N, C]
        self.at64 = self.at.double() if hero else self.at.double()[:, None].expand(-1, CHANNELS)
        self.leaf = self.raw.double().requires_grad_()
        self.chosen = (torch.arange(rows), self.channel) if hero else ...
        self.graph = spline.normalise(self.leaf[self.chosen], knots, periodic)
        self.table = spline.Knots(*(t.detach() for t in self.graph))

    def arguments(self) -> tuple[Tensor, Tensor | None, bool]:
        return self.raw, self.channel, self.periodic

    def plain_gradient(self) -> Tensor:
        log_p = spline.cdf(self.at64, self.graph)[1]
        return torch.autograd.grad((log_p * self.incoming.double()).sum(), self.leaf)[0]

    def steepness(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds, up to small factors, of |d z / d s| and |d log p / d s| in the bins that hold `at` by these edges (of s or z).

        That is how far z and log p move with a rounded knot or s, and the square of the second is how far the gradient does.
        """
        index = (self.at64[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)
        width = self.table.width.gather(-1, index)[..., 0]
        secant = self.table.height.gather(-1, index)[..., 0] / width
        ends = torch.stack([self.table.slope.gather(-1, index + side)[..., 0] for side in (0, 1)], -1)
        ratio = torch.maximum(ends.amax(-1) / secant, secant / ends.amin(-1))
        return 1 + ends.amax(-1) + secant, 1 + (1 + ratio) / width

    def steepest(self) -> Tensor:
        """Bound of |d z / d s| in all bins: a rounded z may fall into the next one."""
        return 1 + self.table.slope.amax(-1) + (self.table.height / self.table.width).amax(-1)


def worst(error: Tensor, scale: Tensor | float = 1.0) -> float:
    assert torch.isfinite(error).all()
    return (error.abs() / scale).max().item()


@every_spline
def test_formulas_in_float64(kernels: Kernels, knots: int, periodic: bool, hero: bool) -> None:
    case = Case(knots, periodic, hero)
    z, log_p = kernels.cdf(case.at, *case.arguments())
    plain_z, plain_log_p = spline.cdf(case.at64, case.table)
    slope, steep = case.steepness(case.table.s)
    assert worst(z - plain_z, slope) < 1e-13  # measured 5e-16
    assert worst(log_p - plain_log_p, steep) < 1e-12  # 2e-15

    s, log_p = kernels.sample(case.at, *case.arguments())
    plain_s, plain_log_p = spline.sample(case.at64, case.table)
    _, steep_s = case.steepness(case.table.z)
    assert worst(s - plain_s, 1 + (-plain_log_p).exp()) < 1e-12
    assert worst(log_p - plain_log_p, steep_s) < 1e-11

    gradient = kernels.backward(case.at, case.incoming, *case.arguments())
    error = gradient - case.plain_gradient()
    assert worst(error[case.chosen], steep[..., None] ** 2) < 1e-13
    error[case.chosen] = 0
    assert (error == 0).all()  # the other channels of a hero: zeros, not what was there before


@pytest.mark.parametrize("kind", ["f32", "f16"])
@every_spline
def test_rounding_in_float32(kernels: Kernels, knots: int, periodic: bool, hero: bool, kind: str) -> None:
    case = Case(knots, periodic, hero, TYPES[kind])
    rounding = 32 * 2.0**-24  # a knot is a sum of up to 32 rounded parts

    z, log_p = kernels.cdf(case.at, *case.arguments())
    plain_z, plain_log_p = spline.cdf(case.at64, case.table)
    slope, steep = case.steepness(case.table.s)
    assert worst(z - plain_z, slope) < rounding  # measured 0.25 of that
    assert worst(log_p - plain_log_p, steep) < rounding  # 0.46

    s, log_p = kernels.sample(case.at, *case.arguments())
    back, _ = spline.cdf(s.double(), case.table)
    _, plain_log_p = spline.sample(case.at64, case.table)
    _, steep_s = case.steepness(case.table.z)
    assert worst(back - case.at64, case.steepest()) < rounding
    assert worst(log_p - plain_log_p, steep_s * (1 + (-plain_log_p).exp())) < rounding

    gradient, plain = kernels.backward(case.at, case.incoming, *case.arguments()), case.plain_gradient()
    stored = 2.0**-11 * plain.abs() + 2.0**-25 if kind == "f16" else torch.zeros(())  # half a unit in the last place
    error = ((gradient - plain).abs() - stored).clamp_min(0)[case.chosen]
    # the density bends at knots: its gradient jumps where rounding moves s over one
    clear = (case.at64[..., None] - case.table.s[..., 1:-1]).abs().amin(-1) > rounding
    assert clear.double().mean() > 0.99
    scale = (case.incoming.abs() * steep**2)[..., None].expand_as(error)
    assert worst(error[clear], scale[clear]) < rounding


@pytest.mark.parametrize("periodic", [False, True])
def test_knots_and_ends(kernels: Kernels, periodic: bool) -> None:
    case = Case(16, periodic, False)
    table, count = case.table, case.raw.shape[0] * CHANNELS
    flat = case.raw.reshape(count, 1, -1)  # a value of its own for each channel: as many rows of one channel
    for k in range(17):
        s, z, slope = (t[..., k].reshape(count).contiguous() for t in (table.s, table.z, table.slope))
        at_s, log_p = kernels.cdf(s, flat, None, periodic)
        assert worst(at_s[:, 0] - z, 1 + slope) < 1e-12
        assert worst(log_p[:, 0] - slope.log(), case.steepest().reshape(count) / table.width.amin(-1).reshape(count)) < 1e-12
        at_z, _ = kernels.sample(z, flat, None, periodic)
        assert worst(at_z[:, 0] - s, 1 + 1 / slope) < 1e-12
    for dtype in TYPES.values():
        case = Case(16, periodic, False, dtype)
        for evaluate, scale in ((kernels.cdf, 1 + case.table.slope), (kernels.sample, 1 + 1 / case.table.slope)):
            value, _ = evaluate(case.at, *case.arguments())
            assert (value[:6] == 0).all() and (value <= 1).all()
            assert worst(value[6:12] - 1, scale[6:12, :, -1]) < 16 * 2.0**-24


@every_spline
def test_cdf_undoes_sample(kernels: Kernels, knots: int, periodic: bool, hero: bool) -> None:
    for kind, rounding in (("f64", 1e-13), ("f32", 32 * 2.0**-24), ("f16", 32 * 2.0**-24)):
        case = Case(knots, periodic, hero, TYPES[kind])
        s, _ = kernels.sample(case.at, *case.arguments())
        raw = case.raw if hero else case.raw.reshape(-1, 1, case.raw.shape[-1])
        z, _ = kernels.cdf(s.reshape(-1), raw, case.channel, periodic)
        assert worst(z.reshape(s.shape) - case.at64, case.steepest()) < rounding


@pytest.mark.parametrize("hero", [False, True])
def test_empty_batch(kernels: Kernels, hero: bool) -> None:
    case = Case(16, False, hero, torch.float32, rows=0)
    for evaluate in (kernels.cdf, kernels.sample):
        assert evaluate(case.at, *case.arguments())[0].numel() == 0
    assert kernels.backward(case.at, case.incoming, *case.arguments()).shape == (0, CHANNELS, 49)


@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize("periodic", [False, True])
def test_extreme_raw_numbers_stay_finite(kernels: Kernels, periodic: bool, kind: str) -> None:
    case = Case(32, periodic, False, torch.float32)
    raw = (40 * case.raw).clamp(-1000, 1000).to(TYPES[kind])
    for evaluate in (kernels.cdf, kernels.sample):
        value, log_p = evaluate(case.at, raw, None, periodic)
        assert ((value >= 0) & (value <= 1)).all() and torch.isfinite(log_p).all()
    if kind == "f32":  # float16 ends at 65504
        assert torch.isfinite(kernels.backward(case.at, case.incoming, raw, None, periodic)).all()


def test_nan_stays_nan(kernels: Kernels) -> None:
    """In s, and in raw widths, heights and slopes: nothing turns it into a number, and neighbours do not see it."""
    case = Case(16, False, False, torch.float32)
    case.at[20] = torch.nan
    for row, number in ((21, 0), (22, 15), (23, 16), (24, 31)):
        case.raw[row, 1, number] = torch.nan
    case.raw[25, 1, 32:] = torch.nan
    expected = torch.zeros(case.raw.shape[:2], dtype=torch.bool)
    expected[20], expected[21:26, 1] = True, True
    for evaluate in (kernels.cdf, kernels.sample):
        _, log_p = evaluate(case.at, *case.arguments())
        assert torch.equal(log_p.isnan(), expected)
    gradient = kernels.backward(case.at, case.incoming, *case.arguments())
    assert torch.equal(gradient.isnan().any(-1), expected)


MAIN = r"""
#include "spline.cu"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <type_traits>

// Buffers of exactly the documented sizes, so that one read or write too far is seen.
template <typename T, typename Second, typename Third>
void run(void (*kernel)(const T *, const long long *, const Real<T> *, Second *, Third *, long long, int), int size, bool hero) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (long long rows : {0, 1, 37}) {
        int channels = 3;
        const long long results = hero ? rows : rows * channels;
        std::vector<T> raw(rows * channels * size);
        std::vector<long long> channel(hero ? rows : 0);
        std::vector<Real<T>> at(rows);
        std::vector<std::remove_const_t<Second>> second(results, 1);
        std::vector<Third> third(std::is_const_v<Second> ? raw.size() : results);
        for (T &x : raw) x = T(3 * normal(random));
        for (long long &c : channel) c = random() % channels;
        for (Real<T> &x : at) x = Real<T>(random() % 65) / 64;
        const T *p = raw.data();
        const long long *q = channel.data();
        const Real<T> *r = at.data();
        Second *s = second.data();
        Third *t = third.data();
        void *arguments[] = {&p, &q, &r, &s, &t, &rows, &channels};
        launch(kernel, 2, 8, arguments);
        for (Third x : third)
            if (!std::isfinite(float(x))) std::exit(1);
    }
}

#define RUN(TYPE, CHANNELS, ENDS, SIZE, HERO)                          \
    run(spline_sample_##CHANNELS##_##TYPE##_##ENDS##_k12, SIZE, HERO); \
    run(spline_cdf_##CHANNELS##_##TYPE##_##ENDS##_k12, SIZE, HERO);    \
    run(spline_backward_##CHANNELS##_##TYPE##_##ENDS##_k12, SIZE, HERO);

int main() {
    RUN(f32, hero, open, 37, true) RUN(f32, hero, periodic, 36, true) RUN(f32, all, open, 37, false)
    RUN(f32, all, periodic, 36, false) RUN(f16, hero, open, 37, true) RUN(f16, all, periodic, 36, false)
    std::puts("done");
}
"""


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_sanitizers(tmp_path: Path, sanitizers: str) -> None:
    """No access out of bounds, no undefined behaviour, no race between the threads of a block."""
    run_sanitized(tmp_path, MAIN, sanitizers, "-DSPLINE_KNOTS=12")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_90"])
@pytest.mark.parametrize("knots", [pytest.param(k, marks=() if k == 32 else pytest.mark.slow) for k in (12, 16, 24, 32)])
def test_registers(tmp_path: Path, knots: int, architecture: str) -> None:
    """ptxas spills nothing and keeps to 64 registers: 16 blocks of 64 threads on a multiprocessor."""
    report, frames, registers = ptxas_report(tmp_path, "spline.cu", architecture, f"-DSPLINE_KNOTS={knots}")
    entries = re.findall(rf"Compiling entry function 'spline_\w+_k{knots}'", report)
    assert len(entries) == len(registers) == len(frames) == 24
    assert set(frames) == {("0", "0", "0")}
    assert max(registers) <= 64
