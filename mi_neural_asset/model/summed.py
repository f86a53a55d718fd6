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


def summed(network: MLP, inputs: Sequence[Tensor], loss: Loss, rows: int) -> Tensor:
    """sum of loss(outputs [n, channels, outputs], rows) over slices of the first `rows` rows.

    Args:
        inputs: columns of the network's input, [N, ...] each, N at least `rows`.
        loss: gives a sum over the rows it is given, and the gradient of that with respect to the outputs.

    Returns:
        a scalar, differentiable with respect to the inputs and the network's parameters, once.
    """
    return _Sum.apply(loss, network, rows, len(inputs), *inputs, *network.parameters())


def _slices(rows: int, most: int) -> Iterator[slice]:
    """Slices of about equal size, of `most` rows at most."""
    size = -(-rows // max(1, -(-rows // most)))
    return (slice(k, min(k + size, rows)) for k in range(0, rows, max(size, 1)))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Loss, network: MLP, rows: int, count: int, *tensors: Tensor) -> Tensor:  # noqa: ANN401
        inputs = tensors[:count]
        learned = [k for k in range(count) if ctx.needs_input_grad[4 + k]]
        run = _Run(network, [part.shape[1] for part in inputs], learned)
        wanted = inputs[0].new_zeros(inputs[0].shape[0], run.first.shape[1])
        total = inputs[0].new_zeros(())
        for which in _slices(rows, max(rows, 1) if wanted.is_cuda else SLICE):
            total += run(torch.cat([part[which] for part in inputs], -1), which, loss, wanted[which])
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
        self._layers = [(layer.weight.detach(), layer.bias.detach()) for layer in [*network.hidden, network.last]]
        self._shape = network.channels, network.outputs
        begins = [sum(widths[:k]) for k in learned]
        weight = network.hidden[0].weight.detach()
        self.first = torch.cat([weight[:, :0], *(weight[:, b : b + widths[k]] for b, k in zip(begins, learned, strict=True))], -1)

    def __call__(self, x: Tensor, rows: slice, loss: Loss, at_x: Tensor) -> Tensor:
        """The loss of one slice; writes the gradient with respect to the learned inputs to `at_x`."""
        values = [x]  # what each layer reads
        for k, (weight, bias) in enumerate(self._layers):
            values.append(torch.addmm(bias, values[k], weight.t()))
            if k < len(self._layers) - 1:
                values[-1].relu_()
        value, at = loss(values.pop().unflatten(-1, self._shape), rows)
        at = at.flatten(1)
        for k in range(len(self._layers) - 1, -1, -1):
            of_weight, of_bias = self.gradients[2 * k : 2 * k + 2]
            of_weight.addmm_(at.t(), values[k])
            of_bias += at.sum(0)
            if k:
                at = at @ self._layers[k][0]
                at = torch.ops.aten.threshold_backward.grad_input(at, values[k], 0, grad_input=at)
        torch.mm(at, self.first, out=at_x)
        return value
