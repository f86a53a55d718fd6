"""Splines on the CPU: each function is one Dr.Jit kernel, vectorised and spread over the cores, one lane a spline.

The formulas are those of `mi_neural_asset.splines.plain`, unrolled over the bins, straight from the raw numbers; positions of
knots are compensated sums (Neumaier 1974), because a position is divided by a bin's width.  Kernels are traced and compiled
once for each number of bins (`dr.freeze`) and then launched again; tensors are shared with Dr.Jit, not copied.

A frozen function takes launch sizes from its inputs: an array that it scatters to has to be one of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from inspect import signature

import drjit as dr
import torch
from drjit.llvm import Array4f, Array4u, Float, UInt32
from torch import Tensor

from ..drjit_core import held_by_one
from .plain import HEIGHT_FLOOR, SLOPE_FLOOR, SLOPE_OFFSET, WIDTH_FLOOR, raw_size

PACKET = 4  # words that are gathered at once
MAX_KNOTS = 32  # more bins are left to the plain twin: the code is unrolled


def frozen(kernel: Callable, *targets: str) -> Callable:
    """`dr.freeze`: recorded once for each pattern of equal widths among its arguments; there are a handful, and no need to warn.

    Args:
        kernel: called with positions only.
        targets: arguments that it scatters to, written in place: arrays that the caller alone holds, or dataclasses of these.
    """
    recorded, new_scope = dr.freeze(kernel, warn_after=1000), getattr(dr.detail, "new_scope", None)
    names = list(signature(kernel).parameters)
    places = [names.index(name) for name in targets]

    def run(*arguments):  # noqa: ANN002, ANN202
        with held_by_one(array for k in places for array in _arrays(arguments[k])):
            result = recorded(*arguments)
        if new_scope:  # a recording's constants would stand elsewhere in the text of what is traced next, which is then compiled again
            new_scope(dr.JitBackend.LLVM)
        return result

    return run


def _arrays(target) -> list:  # noqa: ANN001
    return [getattr(target, field.name) for field in fields(target)] if is_dataclass(target) else [target]


def _total(values: list, combine: Callable) -> Float:
    """All values combined, as a balanced tree."""
    while len(values) > 1:
        pairs = [combine(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(pairs) * 2 :]
    return values[0]


def _pick(values: list, which: UInt32):  # noqa: ANN202
    """values[which]."""
    result = values[0]
    for k, value in enumerate(values[1:], 1):
        result = dr.select(which == k, value, result)
    return result


def _clamp(x: Float) -> Float:
    """To [0, 1]; NaN stays."""
    return dr.select(x < 0, 0, dr.select(x > 1, 1, x))


def softplus(x: Float) -> Float:
    y = dr.exp(-dr.abs(x))
    u = 1 + y
    return dr.select(x > 0, x, 0) + (dr.log(u) + (y - (u - 1)) / u)  # the second term is what rounding took from u


def _slope(raw: Float) -> Float:
    return SLOPE_FLOOR + (1 - SLOPE_FLOOR) * softplus(raw + SLOPE_OFFSET)


class _Parts:
    """Positive parts of the unit interval from raw numbers: floor / K + (1 - floor) softmax."""

    def __init__(self, raw: list[Float], floor: float) -> None:
        top = _total(raw, dr.maximum)
        e = [dr.exp(x - top) for x in raw]
        scale = 1 / _total(e, operator.add)
        self.floor, self.share = floor, [x * scale for x in e]  # softmax
        self.parts = [dr.fma(x, 1 - floor, floor / len(raw)) for x in self.share]

    @staticmethod
    def chosen(several: list[_Parts], which: UInt32) -> _Parts:
        """Those of one of several."""
        result = copy(several[0])
        result.parts = [_pick(list(values), which) for values in zip(*(parts.parts for parts in several), strict=True)]
        return result

    def gradient(self, wanted: list[Float]) -> list[Float]:
        """Gradient with respect to raw from that with respect to the parts."""
        mean = _total([a * p for a, p in zip(wanted, self.share, strict=True)], operator.add)
        return [(1 - self.floor) * p * (a - mean) for a, p in zip(wanted, self.share, strict=True)]


@dataclass
class _Edge:
    """Where a bin begins: a number and what rounding has taken from it."""

    high: Float
    low: Float


def _search(
    value: Float, searched: list[Float], other: list[Float]
) -> tuple[UInt32, _Edge, _Edge, Float, Float]:
    """The bin of `searched` that holds `value`: (bin, its beginning, the same bin's beginning in `other`, both sizes)."""
    run, run_other = _Edge(Float(0), Float(0)), _Edge(Float(0), Float(0))
    edge, edge_other = run, run_other
    index, size, size_other = UInt32(0), searched[0], other[0]

    def add(total: _Edge, x: Float) -> _Edge:
        high = total.high + x
        return _Edge(high, total.low + (x - (high - total.high)))

    for k in range(1, len(searched)):
        run, run_other = add(run, searched[k - 1]), add(run_other, other[k - 1])
        right = value >= run.high
        edge = _Edge(dr.select(right, run.high, edge.high), dr.select(right, run.low, edge.low))
        edge_other = _Edge(dr.select(right, run_other.high, edge_other.high), dr.select(right, run_other.low, edge_other.low))
        index = dr.select(right, k, index)
        size, size_other = dr.select(right, searched[k], size), dr.select(right, other[k], size_other)
    return index, edge, edge_other, size, size_other


def packet_size(half: bool) -> int:
    """Numbers that are gathered at once: a word holds two bfloat16."""
    return 2 * PACKET if half else PACKET


def _halves(word: UInt32) -> list[Float]:
    """The two bfloat16 of a word: each is the upper half of a float32."""
    return [dr.reinterpret_array(Float, bits) for bits in (word << 16, word & 0xFFFF0000)]


class Spline:
    """Inside a kernel: one spline a lane.

    Args:
        raw: memory of raw numbers, those of a spline side by side: float32, or words of two bfloat16 each.
        row: which spline of the memory a lane has.
        knots, periodic: as elsewhere.
        size: numbers from the beginning of a spline to that of the next: what `raw_size` says, or more.  Whole packets of words are
            read several times as fast; bfloat16 have to be such.
    """

    def __init__(self, raw: Float | UInt32, row: UInt32, knots: int, periodic: bool, size: int) -> None:
        self.raw, self.row, self.knots, self.periodic, self.size = raw, row, knots, periodic, size
        values = self._first(2 * knots)
        self.widths, self.heights = _Parts(values[:knots], WIDTH_FLOOR), _Parts(values[knots:], HEIGHT_FLOOR)

    @property
    def _packets(self) -> int:
        """Of a spline; 0: its numbers are read one at a time."""
        numbers = packet_size(self._half)
        return 0 if self.size % numbers else self.size // numbers

    @property
    def _half(self) -> bool:
        return isinstance(self.raw, UInt32)

    def _first(self, count: int) -> list[Float]:
        """The first numbers."""
        if not self._packets:
            return [dr.gather(Float, self.raw, self.row * self.size + k) for k in range(count)]
        kind, number = Array4u if self._half else Array4f, -(-count // packet_size(self._half))
        words = [word for k in range(number) for word in dr.gather(kind, self.raw, self.row * self._packets + k)]
        return ([x for word in words for x in _halves(word)] if self._half else words)[:count]

    def _raw_slope(self, k: UInt32) -> Float:
        place = self.row * self.size + 2 * self.knots + k
        if self._half:
            low, high = _halves(dr.gather(UInt32, self.raw, place >> 1))
            return dr.select((place & 1) == 0, low, high)
        return dr.gather(Float, self.raw, place)

    def write(self, space: Float, values: list[Float]) -> None:
        """Put numbers where memory like `raw` has this spline, and zeros behind them."""
        values = values + (self.size - len(values)) * [Float(0)]
        if not self._packets:
            for k, value in enumerate(values):
                dr.scatter(space, value, self.row * self.size + k, mode=dr.ReduceMode.NoConflicts)
        for k in range(self._packets):
            packet = Array4f(values[PACKET * k : PACKET * (k + 1)])
            dr.scatter(space, packet, self.row * self._packets + k, mode=dr.ReduceMode.NoConflicts)

    @staticmethod
    def chosen(splines: list[Spline], which: UInt32) -> Spline:
        """One of several of the same memory, to be drawn from."""
        result = copy(splines[0])
        result.row = _pick([spline.row for spline in splines], which)
        result.widths, result.heights = (
            _Parts.chosen([getattr(spline, name) for spline in splines], which) for name in ("widths", "heights")
        )
        return result

    def ends(self, index: UInt32) -> tuple[UInt32, UInt32]:
        """Which slopes belong to a bin's two ends."""
        right = index + 1
        return index, dr.select(right == self.knots, 0, right) if self.periodic else right

    def raw_slopes(self, index: UInt32) -> tuple[Float, Float]:
        left, right = self.ends(index)
        return self._raw_slope(left), self._raw_slope(right)

    def log_density(self, s: Float) -> Float:
        """log p(s)."""
        return _locate(self, s)[3].log_density()

    def sample(self, z: Float) -> Float:
        """F^-1(z)."""
        index, z_edge, s_edge, height, width = _search(z, self.heights.parts, self.widths.parts)
        left, right = (_slope(x) for x in self.raw_slopes(index))
        secant = height / width
        y = (z - z_edge.high) - z_edge.low
        y = dr.select(y < 0, 0, y)
        # F(xi) = z is a xi^2 + b xi + c = 0 (Durkan et al. 2019, Eqs. 6-8); the root without cancellation for either sign of b
        bend = y * (left + right - 2 * secant)
        a, b, c = height * (secant - left) + bend, height * left - bend, -secant * y
        discriminant = b * b - 4 * a * c
        root = dr.sqrt(dr.select(discriminant < 0, 0, discriminant))
        xi = _clamp(dr.select(b < 0, (root - b) / (2 * a), 2 * c / (-b - root)))
        return _clamp(s_edge.high + (s_edge.low + xi * width))


@dataclass
class _Bin:
    """A position in one bin: its secant, slopes at its ends, and the relative position xi."""

    secant: Float
    left: Float
    right: Float
    xi: Float

    @property
    def mixed(self) -> Float:
        return self.xi * (1 - self.xi)

    @property
    def numerator(self) -> Float:
        return self.right * self.xi * self.xi + 2 * self.secant * self.mixed + self.left * (1 - self.xi) * (1 - self.xi)

    @property
    def denominator(self) -> Float:
        return self.secant + (self.left + self.right - 2 * self.secant) * self.mixed

    def log_density(self) -> Float:
        ratio = self.secant / self.denominator
        return dr.log(ratio * ratio * self.numerator)


def _locate(spline: Spline, s: Float) -> tuple[UInt32, Float, Float, _Bin]:
    """The bin that holds s: (bin, width, height, position in it)."""
    index, edge, _, width, height = _search(s, spline.widths.parts, spline.heights.parts)
    left, right = spline.raw_slopes(index)
    xi = _clamp(((s - edge.high) - edge.low) / width)
    return index, width, height, _Bin(height / width, _slope(left), _slope(right), xi)


def _of_lanes(raw: Float, s: Float, knots: int, periodic: bool) -> Spline:
    """A spline for each lane of s, one after the other."""
    return Spline(raw, dr.arange(UInt32, dr.width(s)), knots, periodic, raw_size(knots, periodic))


@cache
def _log_density_kernel(knots: int, periodic: bool) -> Callable[[Float, Float], Float]:
    """(raw, s) -> log p(s)."""

    def kernel(raw: Float, s: Float) -> Float:
        return _of_lanes(raw, s, knots, periodic).log_density(s)

    return frozen(kernel)


def with_gradient(spline: Spline, s: Float) -> tuple[Float, list[Float]]:
    """log p(s) and its gradient with respect to the raw numbers."""
    knots = spline.knots
    index, width, height, b = _locate(spline, s)
    xi, mixed, secant = b.xi, b.mixed, b.secant
    # log p = 2 log secant + log numerator - 2 log denominator
    n, d = 1 / b.numerator, 2 / b.denominator
    d_log_secant = 2 + secant * (2 * n * mixed - d * (1 - 2 * mixed))
    d_xi = 2 * n * (b.right * xi + secant * (1 - 2 * xi) - b.left * (1 - xi)) - d * (b.left + b.right - 2 * secant) * (1 - 2 * xi)
    # secant = height / width, xi = (s - sum of the widths before) / width
    before, here, of_height = -d_xi / width, -(d_log_secant + xi * d_xi) / width, d_log_secant / height
    at_width = [dr.select(index > k, before, dr.select(index == k, here, 0)) for k in range(knots)]
    at_height = [dr.select(index == k, of_height, 0) for k in range(knots)]
    gradient = spline.widths.gradient(at_width) + spline.heights.gradient(at_height)
    ends, raw_slopes = spline.ends(index), spline.raw_slopes(index)
    d_slopes = n * (1 - xi) * (1 - xi) - d * mixed, n * xi * xi - d * mixed
    at_ends = [
        d_slope * (1 - SLOPE_FLOOR) / (1 + dr.exp(-x - SLOPE_OFFSET)) for d_slope, x in zip(d_slopes, raw_slopes, strict=True)
    ]
    for k in range(raw_size(knots, spline.periodic) - 2 * knots):
        gradient.append(sum(dr.select(end == k, value, 0) for end, value in zip(ends, at_ends, strict=True)))
    return b.log_density(), gradient


@cache
def _gradient_kernel(knots: int, periodic: bool) -> Callable[[Float, Float, Float, Float], tuple[Float, Float]]:
    """(raw, s, weight, space of the size of raw) -> (log p(s), weight times its gradient with respect to raw)."""

    def kernel(raw: Float, s: Float, weight: Float, space: Float) -> tuple[Float, Float]:
        spline = _of_lanes(raw, s, knots, periodic)
        value, gradient = with_gradient(spline, s)
        spline.write(space, [weight * at for at in gradient])
        return value, space

    return frozen(kernel, "space")


@cache
def _sample_kernel(knots: int, periodic: bool) -> Callable[[Float, UInt32, Float], Float]:
    """(raw, row of each lane, z) -> F^-1(z)."""

    def kernel(raw: Float, row: UInt32, z: Float) -> Float:
        return Spline(raw, row, knots, periodic, raw_size(knots, periodic)).sample(z)

    return frozen(kernel)


class _LogDensity(torch.autograd.Function):
    """log p(s); the gradient goes to the raw numbers alone."""

    @staticmethod
    def forward(ctx, s: Tensor, raw: Tensor, knots: int, periodic: bool) -> Tensor:  # noqa: ANN001
        value, gradient = _with_gradient(s, raw, torch.ones_like(s), knots, periodic)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, incoming: Tensor):  # noqa: ANN001, ANN205
        (gradient,) = ctx.saved_tensors
        return None, gradient * incoming[:, None], None, None


def _array(tensor: Tensor) -> Float:
    """A tensor's memory as a flat array."""
    return Float(tensor.detach().reshape(-1))


def _with_gradient(s: Tensor, raw: Tensor, weight: Tensor, knots: int, periodic: bool) -> tuple[Tensor, Tensor]:
    value, gradient = _gradient_kernel(knots, periodic)(_array(raw), _array(s), _array(weight), _array(torch.empty_like(raw)))
    return value.torch(), gradient.torch().view_as(raw)


def log_density(s: Tensor, raw: Tensor, knots: int, periodic: bool) -> Tensor:
    """log p(s): s [...], raw [..., raw_size], at least one, float32 on the CPU -> [...]; differentiable with respect to raw."""
    flat = raw.reshape(-1, raw.shape[-1])
    if torch.is_grad_enabled() and raw.requires_grad:
        return _LogDensity.apply(s.reshape(-1), flat, knots, periodic).reshape(s.shape)
    return _log_density_kernel(knots, periodic)(_array(flat), _array(s)).torch().reshape(s.shape)


def log_likelihood(s: Tensor, raw: Tensor, weight: Tensor, knots: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """sum of weight log p(s) and its gradient with respect to raw: s, weight [N], raw [N, raw_size], N >= 1, float32 on the CPU."""
    value, gradient = _with_gradient(s, raw, weight, knots, periodic)
    return torch.dot(weight, value), gradient


def sample(z: Tensor, raw: Tensor, knots: int, periodic: bool, channel: Tensor) -> Tensor:
    """s = F^-1(z) of spline `channel`: z [N], raw [N, C, raw_size], channel [N], N >= 1, float32 on the CPU -> [N]."""
    row = torch.arange(raw.shape[0], dtype=torch.int32) * raw.shape[1] + channel.int()
    return _sample_kernel(knots, periodic)(_array(raw), UInt32(row.view(torch.uint32)), _array(z)).torch()
