"""The grid kernels of cuda/ without a GPU: formulas in float64, rounding, gradients, sanitizers, registers, launches.

As test_cuda_kernels.py and test_splines_cuda.py do it for the splines; each numeric test of launches runs on a GPU too.
"""

import ctypes
from pathlib import Path

import pytest
import torch
from test_cuda_kernels import BLOCKS, CUDA, THREADS, TYPES, compile_cpp, ptxas_report, run_sanitized
from test_splines_cuda import device, forgetful, host, programs  # noqa: F401  (fixtures)

from mi_neural_asset.model import encoding, encoding_cuda

SIZES = {"triplane": 9, "cubemap": 6, "line": 12}
COLUMNS = 5
every_kind = pytest.mark.parametrize("kind", SIZES)


def points(kind: str, rows: int, dtype: torch.dtype) -> torch.Tensor:
    """Random ones, and corners, edges, and what lies outside."""
    generator = torch.Generator().manual_seed(rows)
    if kind == "line":
        some = torch.rand(rows, generator=generator)
        some[: min(rows, 4)] = torch.tensor([0.0, 1.0, -0.5, 1.5])[:rows]
        return some.to(dtype)
    some = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    special = torch.tensor([[1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0], [1, 1, 1], [-1, 1, -1]], dtype=torch.float64)
    some[: min(rows, 5)] = special[:rows]
    some = torch.nn.functional.normalize(some, dim=-1) * (1.2 if kind == "triplane" else 1)
    return some.to(dtype)


class Case:
    """A table, points, incoming numbers, and what the plain twin in float64 makes of them."""

    def __init__(self, kind: str, rows: int, dtype: torch.dtype) -> None:
        self.kind, self.size, real = kind, SIZES[kind], torch.float64 if dtype == torch.float64 else torch.float32
        generator = torch.Generator().manual_seed(7)
        self.points = points(kind, rows, real)
        self.table = torch.randn(encoding.nodes(kind, self.size), COLUMNS, generator=generator).to(dtype)
        self.incoming = torch.randn(rows, COLUMNS, generator=generator).to(dtype)
        leaf = self.table.double().requires_grad_()
        index, weight = encoding.LOCATE[kind](self.points.double(), self.size)
        plain = (leaf[index] * weight[..., None]).sum(1)
        self.plain, (self.plain_gradient,) = plain.detach(), torch.autograd.grad(plain, leaf, self.incoming.double())


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("cuda") / "encoding.so"
    compile_cpp(["-O1", "-fPIC", "-shared", CUDA / "encoding.cu", "-o", path])
    return ctypes.CDLL(str(path))


def launch(library: ctypes.CDLL, operation: str, case: Case, second: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    kind = next(name for name, dtype in TYPES.items() if dtype == values.dtype)
    arguments = [ctypes.c_void_p(t.data_ptr()) for t in (case.points, second, values)]
    arguments += [ctypes.c_longlong(values.shape[0]), ctypes.c_int(case.size), ctypes.c_int(values.shape[1])]
    pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
    getattr(library, f"launch_encoding_{operation}_{case.kind}_{kind}")(BLOCKS, THREADS, pointers)
    return values if operation == "gather" else second


@every_kind
@pytest.mark.parametrize(("type_", "tolerance"), [("f64", 1e-14), ("f32", 2e-6), ("f16", 2e-3)])
def test_values_and_gradients(library: ctypes.CDLL, kind: str, type_: str, tolerance: float) -> None:
    """Measured: 2e-15, 5e-7 and 1e-3 (half a unit in the last place of numbers up to 4)."""
    case = Case(kind, 211, TYPES[type_])
    values = launch(library, "gather", case, case.table, torch.full_like(case.incoming, torch.nan))
    assert (values - case.plain).abs().max() < tolerance
    before = torch.ones(case.table.shape, dtype=torch.float64 if type_ == "f64" else torch.float32)
    gradient = launch(library, "scatter", case, before.clone(), case.incoming)
    assert (gradient - before - case.plain_gradient).abs().max() < 30 * min(tolerance, 2e-6)  # sums of scores of numbers


@every_kind
def test_empty_batch(library: ctypes.CDLL, kind: str) -> None:
    case = Case(kind, 0, torch.float32)
    assert launch(library, "gather", case, case.table, case.incoming).shape == (0, COLUMNS)
    assert torch.equal(launch(library, "scatter", case, torch.ones(case.table.shape), case.incoming), torch.ones(case.table.shape))


@every_kind
def test_nan_stays_in_its_row(library: ctypes.CDLL, kind: str) -> None:
    case = Case(kind, 40, torch.float32)
    case.points[7] = torch.nan
    values = launch(library, "gather", case, case.table, torch.empty_like(case.incoming))
    assert values.isnan().any(-1).nonzero()[:, 0].tolist() == [7]


MAIN = r"""
#include "encoding.cu"

#include <cstdio>
#include <cstdlib>
#include <random>

// Buffers of exactly the documented sizes, so that one read or write too far is seen.
template <typename Second, typename Third>
void run(void (*kernel)(const float *, Second *, Third *, long long, int, int), int inputs, long long nodes, int size) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (long long rows : {0, 1, 37}) {
        int columns = 3;
        std::vector<float> points(rows * inputs);
        std::vector<std::remove_const_t<Second>> second(nodes * columns, 1);
        std::vector<std::remove_const_t<Third>> third(rows * columns, 1);
        for (float &x : points) x = normal(random);
        const float *p = points.data();
        Second *s = second.data();
        Third *t = third.data();
        void *arguments[] = {&p, &s, &t, &rows, &size, &columns};
        launch(kernel, 2, 8, arguments);
        for (auto x : third)
            if (!std::isfinite(float(x))) std::exit(1);
    }
}

#define RUN(TYPE)                                                                                                      \
    run(encoding_gather_triplane_##TYPE, 3, 75, 5), run(encoding_scatter_triplane_##TYPE, 3, 75, 5);                   \
    run(encoding_gather_cubemap_##TYPE, 3, 24, 2), run(encoding_scatter_cubemap_##TYPE, 3, 24, 2);                     \
    run(encoding_gather_line_##TYPE, 1, 7, 7), run(encoding_scatter_line_##TYPE, 1, 7, 7);

int main() {
    RUN(f32) RUN(f16)
    std::puts("done");
}
"""


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_sanitizers(tmp_path: Path, sanitizers: str) -> None:
    """No access out of bounds, no undefined behaviour, no race between threads that add to one node."""
    run_sanitized(tmp_path, MAIN, sanitizers)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_90"])
def test_registers(tmp_path: Path, architecture: str) -> None:
    """ptxas spills nothing, uses no stack, and keeps to 64 registers."""
    _, frames, registers = ptxas_report(tmp_path, "encoding.cu", architecture)
    assert len(registers) == len(frames) == 12 and set(frames) == {("0", "0", "0")}
    assert max(registers) <= 64


@every_kind
@pytest.mark.parametrize("dtype", encoding_cuda.TYPES)
def test_launches(device: torch.device, kind: str, dtype: torch.dtype) -> None:  # noqa: F811
    """Through the launcher, from any layout: values in the table's type, gradients in it too."""
    case = Case(kind, 130, dtype)
    leaf = case.table.to(device).t().contiguous().t().requires_grad_()
    values = encoding_cuda.encode(leaf, case.points.to(device), kind, case.size)
    values.backward(case.incoming.to(device).flip(0).flip(0))
    tolerance = 2e-6 if dtype == torch.float32 else 2e-3
    assert values.dtype == leaf.grad.dtype == dtype
    assert (values.detach().cpu() - case.plain).abs().max() < tolerance
    assert ((leaf.grad.cpu() - case.plain_gradient).abs() < 5 * tolerance * (1 + case.plain_gradient.abs())).all()
    none = encoding_cuda.encode(leaf, case.points[:0].to(device), kind, case.size)
    assert none.shape == (0, COLUMNS)


def test_which_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid on the CPU never asks for kernels; on a GPU it does, by type."""
    asked = []
    monkeypatch.setattr(encoding_cuda.launcher, "usable", lambda name, *_: asked.append(name) or True)
    grid = encoding.Grid("line", 8, 2)
    grid(torch.rand(5))
    assert not asked
    assert encoding_cuda.fits(torch.rand(5), grid.table) and encoding_cuda.fits(torch.rand(5), grid.table.half())
    assert not encoding_cuda.fits(torch.rand(5).double(), grid.table) and not encoding_cuda.fits(torch.rand(5), grid.table.bfloat16())
    assert asked == ["encoding", "encoding"]
