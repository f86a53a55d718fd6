"""Networks on tiles: matrix products, and a bound below in between.

A layer's bias is the weight of a row of ones that its input has beside the others.
"""

from __future__ import annotations

from threading import local

import torch
from torch import Tensor
from torch.nn import functional

from ..model.network import MLP

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


def _hidden(number: int, width: int, lanes: int) -> Tensor:
    """This thread's memory for the features of a layer and a row of ones, [width + 1, lanes]."""
    if not hasattr(_own, "spaces"):
        _own.spaces = {}
    key = (number, width)
    found = _own.spaces.get(key)
    if found is None or found.shape[1] != lanes:
        found = _own.spaces[key] = torch.empty(width + 1, lanes)
        found[-1] = 1
    return found


class Chain:
    """What follows a network's first sums: [width, lanes] to its outputs, [channels outputs, lanes].

    Args:
        network: the network.
        spline: see `Layout.spline`: its outputs lie lane by lane, [lanes, channels spline]; None: they are rows.
    """

    def __init__(self, network: MLP, spline: int | None = None) -> None:
        self.width, self._records = network.last.in_features, spline is not None
        self._layers = later_layers(network, spline)
        self.outputs = len(self._layers[-1])

    def begin(self, lanes: int) -> Tensor:
        """Where this thread puts the first sums."""
        return _hidden(0, self.width, lanes)[:-1]

    def finish(self, out: Tensor) -> None:
        """From the first sums to `out`."""
        *hidden, last = self._layers
        lanes = out.shape[0 if self._records else 1]
        for k, weight in enumerate(hidden):
            torch.mm(weight, self._bounded(k, lanes), out=_hidden(1 - k % 2, self.width, lanes)[:-1])
        features = self._bounded(len(hidden), lanes)
        if self._records:
            torch.mm(features.t(), last.t(), out=out)
        else:
            torch.mm(last, features, out=out)

    def _bounded(self, k: int, lanes: int) -> Tensor:
        """The features before layer k, bounded below."""
        features = _hidden(k % 2, self.width, lanes)
        features[:-1].relu_()
        return features


def first_columns(network: MLP, columns: list[int], bias: bool = False) -> Tensor:
    """Of the first layer, the weights of some inputs, those of number -1 being zero; with `bias` it is the last column: [width, ...]."""
    layer = network.hidden[0]
    weight = torch.cat([layer.weight.detach(), torch.zeros(layer.out_features, 1)], -1)
    chosen = weight[:, columns]
    return (torch.cat([chosen, layer.bias.detach()[:, None]], -1) if bias else chosen).contiguous()
