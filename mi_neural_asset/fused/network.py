"""Networks on tiles: matrix products, and a bound below in between.

A layer's bias is the weight of a row of ones that its input has beside the others.
"""

from __future__ import annotations

from threading import local

import torch
from torch import Tensor

from ..model.network import MLP

_own = local()  # activations of each thread


def with_bias(layer: torch.nn.Linear) -> Tensor:
    """Weights of a layer, the bias as the last column."""
    return torch.cat([layer.weight.detach(), layer.bias.detach()[:, None]], -1).contiguous()


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
    """

    def __init__(self, network: MLP) -> None:
        self.width, self.outputs = network.last.in_features, network.last.out_features
        self._layers = [with_bias(layer) for layer in [*network.hidden[1:], network.last]]

    def begin(self, lanes: int) -> Tensor:
        """Where this thread puts the first sums."""
        return _hidden(0, self.width, lanes)[:-1]

    def finish(self, out: Tensor) -> None:
        """From the first sums to `out`, [channels outputs, lanes]."""
        for k, weight in enumerate(self._layers):
            features = _hidden(k % 2, self.width, out.shape[1])
            features[:-1].relu_()
            last = k == len(self._layers) - 1
            torch.mm(weight, features, out=out if last else _hidden(1 - k % 2, self.width, out.shape[1])[:-1])


def first_columns(network: MLP, columns: list[int], bias: bool = False) -> Tensor:
    """Of the first layer, the weights of some inputs, those of number -1 being zero; with `bias` it is the last column: [width, ...]."""
    layer = network.hidden[0]
    weight = torch.cat([layer.weight.detach(), torch.zeros(layer.out_features, 1)], -1)
    chosen = weight[:, columns]
    return (torch.cat([chosen, layer.bias.detach()[:, None]], -1) if bias else chosen).contiguous()
