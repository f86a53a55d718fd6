"""The torch engine on a GPU: tiles of a few sizes, the work on each recorded once (`mi_neural_asset.cuda_graphs`).

An engine's work is some hundred small kernels, and late bounces have few lanes: what takes the time there is launching them.  A batch
is copied into the smallest tile that holds it; the lanes behind it hold what was there before, and nobody reads what comes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..cuda_graphs import CudaGraphs, Recorder
from .engine import Engine, each, leaves

SIZES = tuple(1 << k for k in range(10, 20, 2))  # rows of tiles


class _Tile:
    """A function on tiles of one size.

    Args:
        work: the function.
        arguments: the first ones that it is called with.
        rows: how many they have.
        size: of the tile.
        recorder: records it.
    """

    def __init__(self, work: Callable, arguments: tuple, rows: int, size: int, recorder: Recorder) -> None:
        def filled(tensor: Tensor) -> Tensor:
            lanes = torch.arange(size * (tensor.shape[0] // rows), device=tensor.device)
            return tensor.index_select(0, lanes.clamp_max(tensor.shape[0] - 1))

        inputs = each(filled, arguments)
        self._size, self._memory = size, leaves(inputs)

        def run() -> None:
            self._results = work(*inputs)

        recorder.try_out(run)
        self._replay = recorder.record(run)

    def __call__(self, arguments: tuple, rows: int):  # noqa: ANN204
        for memory, tensor in zip(self._memory, leaves(arguments), strict=True):
            memory[: tensor.shape[0]].copy_(tensor)
        self._replay()
        return each(lambda tensor: tensor[: rows * (tensor.shape[0] // self._size)].clone(), self._results)


class RecordedEngine(Engine):
    """Evaluates one transport model in recorded tiles.

    Args:
        model, device: see `Engine`.
        recorder: records the work.
    """

    most = SIZES[-1]

    def __init__(self, model: torch.nn.Module, device: str, recorder: Recorder | None = None) -> None:
        super().__init__(model, device)
        self._recorder = recorder or CudaGraphs("evaluations of networks")
        self._tiles: dict[tuple, _Tile] = {}

    def _run(self, function: Callable, rows: int, *arguments: Any, **settings: Any):  # noqa: ANN202
        size = next(size for size in SIZES if size >= rows)
        shapes = tuple((tensor.shape[0] // rows, *tensor.shape[1:]) for tensor in leaves(arguments))
        key = function.__name__, size, shapes, tuple(settings.items())
        if key not in self._tiles:
            self._tiles[key] = _Tile(lambda *inputs: function(*inputs, **settings), arguments, rows, size, self._recorder)
        return self._tiles[key](arguments, rows)
