"""Sums of losses over rows and their gradients, slice by slice.

Each slice of the rows goes forward through a network and at once backward, so that activations never leave the cache: of a large
batch they would be written to memory and read again, which costs as much as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .network import MLP

SLICE = 2048  # rows at most

Loss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]  # (a network's outputs for some rows, which rows) -> (scalar, its gradient)


def summed_thirds(network: MLP, inputs: Sequence[Tensor], loss: Loss, rows: int) -> Tensor:
    """sum of loss(outputs of channel c [n, outputs], rows) over slices of the first `rows` rows, the c-th third of them for channel c.

    Args:
        inputs: columns of the network's input, [N, ...] each, N at least `rows`.
        loss: gives a sum over the rows it is given, and the gradient of that with respect to the outputs.
        rows: a multiple of the number of channels.

    Returns:
        a scalar, differentiable with respect to the inputs and the network's parameters, once.
    """
    return _Sum.apply(loss, network, rows, len(inputs), *inputs, *network.parameters())


def _slices(rows: int, channels: int) -> Iterator[tuple[int, slice]]:
    """(channel, rows) of all slices."""
    third = rows // channels
    size = -(-third // max(1, -(-third // SLICE)))
    for channel in range(channels):
        for k in range(0, third, max(size, 1)):
            yield channel, slice(channel * third + k, channel * third + min(k + size, third))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Loss, network: MLP, rows: int, count: int, *tensors: Tensor) -> Tensor:  # noqa: ANN401
        inputs = tensors[:count]
        learned = [k for k in range(count) if ctx.needs_input_grad[4 + k]]
        run = _Run(network, [part.shape[1] for part in inputs], learned)
        wanted = inputs[0].new_zeros(inputs[0].shape[0], run.first.shape[1])
        total = inputs[0].new_zeros(())
        for channel, which in _slices(rows, network.channels):
            total += run(torch.cat([part[which] for part in inputs], -1), channel, which, loss, wanted[which])
        at_inputs: list[Tensor | None] = [None] * count
        for k, part in zip(learned, wanted.split([inputs[k].shape[1] for k in learned], -1), strict=True):
            at_inputs[k] = part
        ctx.gradients = [*at_inputs, *run.gradients]
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple:  # noqa: ANN401
        gradients, ctx.gradients = ctx.gradients, None
        return None, None, None, None, *(None if value is None else value.mul_(incoming) for value in gradients)


class _Run:
    """A network on slices, and the sum of its parameters' gradients.

    Args:
        widths: columns of each part of its input.
        learned: which of these parts want a gradient.
    """

    def __init__(self, network: MLP, widths: list[int], learned: list[int]) -> None:
        self.gradients = [torch.zeros_like(p) for p in network.parameters()]  # weight and bias of each layer
        self._hidden = [(layer.weight.detach(), layer.bias.detach()) for layer in network.hidden]
        shape = (network.channels, network.outputs)
        self._last = [p.detach().unflatten(0, shape) for p in (network.last.weight, network.last.bias)]
        self._at_last = [g.unflatten(0, shape) for g in self.gradients[-2:]]
        begins = [sum(widths[:k]) for k in learned]
        weight = network.hidden[0].weight.detach()
        self.first = torch.cat([weight[:, :0], *(weight[:, b : b + widths[k]] for b, k in zip(begins, learned, strict=True))], -1)

    def __call__(self, x: Tensor, channel: int, rows: slice, loss: Loss, at_x: Tensor) -> Tensor:
        """The loss of one slice; writes the gradient with respect to the learned inputs to `at_x`."""
        values = [x]
        for weight, bias in self._hidden:
            values.append(torch.addmm(bias, values[-1], weight.t()).relu_())
        weight, bias = (p[channel] for p in self._last)
        value, at = loss(torch.addmm(bias, values[-1], weight.t()), rows)
        self._add([g[channel] for g in self._at_last], at, values[-1])
        at = at @ weight
        for k in range(len(self._hidden) - 1, -1, -1):
            at = torch.ops.aten.threshold_backward.grad_input(at, values[k + 1], 0, grad_input=at)
            self._add(self.gradients[2 * k : 2 * k + 2], at, values[k])
            if k:
                at = at @ self._hidden[k][0]
        torch.mm(at, self.first, out=at_x)
        return value

    @staticmethod
    def _add(gradients: list[Tensor], at: Tensor, values: Tensor) -> None:
        of_weight, of_bias = gradients
        of_weight.addmm_(at.t(), values)
        of_bias.add_(at.sum(0))
