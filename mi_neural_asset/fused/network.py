"""Networks on tiles: matrix products, and a bound below in between.

A layer's bias is the weight of a row of ones that its input has beside the others.
"""

from __future__ import annotations

import time
from functools import cache
from threading import local

import torch
from torch import Tensor
from torch.nn import functional

from ..model.network import MLP
from .tiles import LANES, for_tiles

_own = local()  # activations of each thread


def later_layers(network: MLP, spline: int | None) -> list[Tensor]:
    """Weights of all layers but the first, the bias as the last column.

    Args:
        network: the network.
        spline: see `Layout.spline`: in the last layer, the rows of each spline are followed by zeros, so that there are as many; None: not.
    """
    layers = [torch.cat([x.weight.detach(), x.bias.detach()[:, None]], -1).contiguous() for x in [*network.hidden[1:], network.last]]
    if spline is not None:
        rows = layers[-1].unflatten(0, (network.channels, network.outputs))
        layers[-1] = functional.pad(rows, (0, 0, 0, spline - network.outputs)).flatten(0, 1)
    return layers


@cache
def gain_of_bfloat16() -> float:
    """How many times as fast as float32 a thread of this processor multiplies bfloat16: a layer of one tile, measured ten times each."""
    seconds: list[float] = []

    def measure(_: int) -> None:
        for kind in (torch.float32, torch.bfloat16):
            a, b, out = (torch.ones(shape, dtype=kind) for shape in ((64, 64), (64, LANES), (64, LANES)))
            times = []
            for _ in range(11):
                start = time.perf_counter()
                torch.mm(a, b, out=out)
                times.append(time.perf_counter() - start)
            seconds.append(min(times[1:]))

    for_tiles(measure, 1)
    return seconds[0] / seconds[1]


class _Features:
    """Memory for a layer's features and a row of ones."""

    def __init__(self, width: int, lanes: int, kind: torch.dtype) -> None:
        self.all = torch.empty(width + 1, lanes, dtype=kind)
        self.all[-1] = 1
        self.own, self.by_lanes = self.all[:-1], self.all.t()


def _two(width: int, lanes: int, kind: torch.dtype) -> list[_Features]:
    """This thread's memory for one layer and the next."""
    if not hasattr(_own, "spaces"):
        _own.spaces = {}
    found = _own.spaces.get((width, kind))
    if found is None or found[0].all.shape[1] != lanes:
        found = _own.spaces[width, kind] = [_Features(width, lanes, kind) for _ in range(2)]
    return found


class Chain:
    """What follows a network's first sums: [width, lanes] to its outputs, [channels outputs, lanes].

    Args:
        network: the network.
        spline: see `Layout.spline`: its outputs lie lane by lane, [lanes, channels spline]; None: they are rows.
        kind: of its features beyond the first sums, and of its outputs.
    """

    def __init__(self, network: MLP, spline: int | None = None, kind: torch.dtype = torch.float32) -> None:
        self.width, self.kind, self._records = network.last.in_features, kind, spline is not None
        *self._hidden, last = (weight.to(kind) for weight in later_layers(network, spline))
        self.outputs = len(last)
        self._last = last.t() if self._records else last

    def begin(self, lanes: int) -> Tensor:
        """Where this thread puts the first sums."""
        return _two(self.width, lanes, torch.float32)[0].own

    def finish(self, out: Tensor) -> None:
        """From the first sums to `out`."""
        lanes = out.shape[0 if self._records else 1]
        first, (here, there) = self.begin(lanes).relu_(), _two(self.width, lanes, self.kind)
        if self.kind != first.dtype:
            here.own.copy_(first)
        for weight in self._hidden:
            torch.mm(weight, here.all, out=there.own).relu_()
            here, there = there, here
        if self._records:
            torch.mm(here.by_lanes, self._last, out=out)
        else:
            torch.mm(self._last, here.all, out=out)


def first_columns(network: MLP, columns: list[int], bias: bool = False) -> Tensor:
    """Of the first layer, the weights of some inputs, those of number -1 being zero; with `bias` it is the last column: [width, ...]."""
    layer = network.hidden[0]
    weight = torch.cat([layer.weight.detach(), torch.zeros(layer.out_features, 1)], -1)
    chosen = weight[:, columns]
    return (torch.cat([chosen, layer.bias.detach()[:, None]], -1) if bias else chosen).contiguous()
