"""Multilayer perceptrons."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class MLP(nn.Module):
    """ReLU perceptron with a linear last layer that has one part for each colour channel.

    Args:
        inputs: input features.
        width, depth: features and number of hidden layers.
        outputs: output features of one channel.
        channels: number of parts of the last layer.
    """

    def __init__(self, inputs: int, width: int, depth: int, outputs: int, channels: int = 3) -> None:
        super().__init__()
        sizes = [inputs] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.last = nn.Linear(width, channels * outputs)
        self.outputs, self.channels = outputs, channels
        if self.last.weight.device.type != "meta":
            for layer in self.hidden:
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
            nn.init.uniform_(self.last.weight, -0.1 / width**0.5, 0.1 / width**0.5)
            nn.init.zeros_(self.last.bias)

    def _features(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = functional.relu(layer(x), inplace=True)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """All channels: [N, inputs] -> [N, channels, outputs], in the type of the weights."""
        return self.last(self._features(x.to(self.last.weight.dtype))).unflatten(-1, (self.channels, self.outputs))
