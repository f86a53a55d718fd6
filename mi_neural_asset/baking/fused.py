"""The gradient of the losses of a transport model on the CPU (`mi_neural_asset.baking.losses` is the twin that says what it is).

Networks go forward and backward on tiles, one a thread; `mi_neural_asset.fused.training` does all else, and torch adds what the grids get.
The last lanes of all may stand for no row: they weigh nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import drjit as dr
import torch
from drjit.llvm import Array3f, Float, UInt32
from torch import Tensor
from torch.nn import functional

from ..fused.layout import STEPS, Inputs, Layout, Weights, grids
from ..fused.network import first_columns, later_layers
from ..fused.tiles import LANES, Tiles, for_tiles, memory_of
from ..fused.training import ENDS, FACES, PLANES, Nodes, Paths, training_kernels
from ..model.network import MLP
from ..model.probes import CHANNELS
from ..model.transport import ALBEDO_OFFSET, Transport
from ..threads import one_thread_for, small_blocks, torch_at_work
from .buffer import Batch

STEP = 16  # lanes of a tile are a multiple of this: batches that differ by a row use the same memory


@dataclass(frozen=True)
class Order:
    """Which rows of a batch the lanes are."""

    tiles: Tiles
    rows: Tensor  # [lanes], int32
    real: Tensor  # [lanes], 1 or 0: stands for no row

    @property
    def lanes(self) -> int:
        return len(self.rows)

    def of_tiles(self, values: Tensor) -> Tensor:
        """Numbers of rows, [N, ...], as those of tiles, [tiles, lanes, ...]."""
        return values.index_select(0, self.rows).unflatten(0, (self.tiles.number, -1))


@lru_cache(maxsize=64)
def _order(first: int, count: int, threads: int) -> Order:
    """`count` rows from `first` on, in as many tiles for each thread."""
    number = threads * -(-count // (threads * LANES))
    width = STEP * -(-count // (number * STEP))
    index = torch.arange(number * width, dtype=torch.int32)
    return Order(Tiles(number * width, width), first + index.clamp_max(count - 1), (index < count).float())


class _Network:
    """One network's weights, in the order in which tiles have its inputs, and their gradients.

    Args:
        network: the network.
        number: which, 0 to 3, 4: the albedo's.
        layout, inputs: of the model.
    """

    def __init__(self, network: MLP, number: int, layout: Layout, inputs: Inputs) -> None:
        self._network, own, begin = network, layout.own, layout.site
        self._columns = [inputs.own, inputs.common(number), *([inputs.extra(number)] if 0 < number < STEPS else [])]
        self._spline = layout.spline(number) if number < STEPS else None
        self._rows = [slice(number * own, (number + 1) * own), slice((STEPS + 1) * own, layout.site)]
        if 0 < number < STEPS:
            begin += (0, layout.second, layout.second + layout.features)[number - 1]
            self._rows.append(slice(begin, begin + len(self._columns[2])))
        self.width, self.depth = network.last.in_features, len(network.hidden)
        self.refresh()
        self.outputs = len(self._layers[-1])
        self.sizes = [weight.numel() for weight in (*self._first, *self._layers)]

    def refresh(self) -> None:
        """Take the parameters as they are now."""
        network = self._network
        self._first = [first_columns(network, columns, bias=k == 1) for k, columns in enumerate(self._columns)]
        self._layers = later_layers(network, self._spline)

    def memory(self, tiles: Tiles) -> Tensor:
        """For its outputs: of splines lane by lane, [tiles, lanes, outputs], else [tiles, outputs, lanes]."""
        return tiles.records(self.outputs) if self._spline else tiles.space(self.outputs)

    def _by_rows(self, outputs: Tensor) -> Tensor:
        """Outputs of a tile, or their gradient, as [outputs, lanes]."""
        return outputs.t() if self._spline else outputs

    def forward(self, x: Tensor, features: list[Tensor], out: Tensor) -> None:
        """A tile's rows to `out`, a tile of its `memory`.

        Args:
            features: memory for those of each layer, and a row of ones, [width + 1, lanes].
        """
        at = features[0][:-1]
        for k, (weight, rows) in enumerate(zip(self._first, self._rows, strict=True)):
            torch.mm(weight, x[rows], out=at) if k == 0 else at.addmm_(weight, x[rows])
        above = [*(layer[:-1] for layer in features[1:]), self._by_rows(out)]
        for layer, below, target in zip(self._layers, features, above, strict=True):
            below[:-1].relu_()
            torch.mm(layer, below, out=target)

    def backward(self, x: Tensor, features: list[Tensor], at: Tensor, wanted: list[Tensor]) -> Tensor:
        """From the gradient with respect to `out`: writes that of all weights, in `sizes`; returns it at the first layer's sums.

        Args:
            wanted: memory of each weight's gradient.
        """
        at = self._by_rows(at)
        for k in range(len(self._layers) - 1, -1, -1):
            weight = self._layers[k]
            torch.mm(at, features[k].t(), out=wanted[len(self._first) + k].view_as(weight))
            below = weight[:, :-1].t() @ at
            at = torch.ops.aten.threshold_backward.grad_input(below, features[k][:-1], 0, grad_input=below)
        for weight, rows, target in zip(self._first, self._rows, wanted, strict=False):
            torch.mm(at, x[rows].t(), out=target.view_as(weight))
        return at

    def to_inputs(self, at: Tensor, part: int, first: int, out: Tensor) -> None:
        """From the gradient at the first layer's sums to that with respect to some inputs of one of its parts, [lanes, inputs]."""
        torch.mm(at.t(), self._first[part][:, first : first + out.shape[1]], out=out)

    def give(self, gradients: list[Tensor]) -> None:
        """Let the parameters have these gradients, in `sizes`."""
        first = self._network.hidden[0]
        at_first = torch.zeros(first.out_features, first.in_features + 1)
        for k, (columns, values) in enumerate(zip(self._columns, gradients, strict=False)):
            values = values.view_as(self._first[k])
            if k == 1:
                at_first[:, -1] = values[:, -1]
                columns = [column for column in columns if column >= 0]
            at_first[:, columns] = values[:, : len(columns)]
        layers = [at_first, *(v.view_as(w) for v, w in zip(gradients[len(self._first) :], self._layers, strict=True))]
        if self._spline:
            layers[-1] = layers[-1].unflatten(0, (-1, self._spline))[:, : self._network.outputs].flatten(0, 1)
        for layer, at in zip([*self._network.hidden, self._network.last], layers, strict=True):
            layer.weight.grad, layer.bias.grad = at[:, :-1].contiguous(), at[:, -1].contiguous()


class _Work:
    """Memory of the lanes of one order; kept from step to step while the order's size stays."""

    def __init__(self, order: Order, networks: list[_Network], columns: int) -> None:
        tiles = order.tiles
        self.features = [
            [torch.ones(tiles.number, network.width + 1, tiles.width) for _ in range(network.depth)] for network in networks
        ]
        self.gradients = torch.empty(tiles.number, sum(size for network in networks for size in network.sizes))
        sizes = [size for network in networks for size in network.sizes]
        self.wanted = [list(row.split(sizes)) for row in self.gradients]
        self.at_columns = torch.empty(order.lanes, columns)  # gradient by what grids gave

    def of_tile(self, network: int, k: int) -> list[Tensor]:
        """A network's features of one tile."""
        return [layer[k] for layer in self.features[network]]


@dataclass
class _Run:
    """The lanes of one order on their way: whole paths, or those of which only the albedo learns."""

    order: Order
    networks: list[_Network]
    work: _Work
    rows: Tensor  # what networks read, [tiles, rows, lanes]
    numbers: Float | None  # s_1 to s_4
    nodes: Nodes
    outputs: list[Tensor]  # in each network's `memory`: what it gives, then the loss's gradient at it
    beta: Tensor  # [tiles, lanes, 3]
    drawn: Tensor  # [tiles, lanes]
    error: Tensor  # [tiles], of the albedo, before it is divided

    def nodes_and_weights(self) -> tuple[Tensor, Tensor]:
        """Of the grids, [nodes, lanes]."""
        lanes = self.order.lanes
        return self.nodes.rows.torch().view(torch.int32).view(-1, lanes).long(), self.nodes.weights.torch().view(-1, lanes)


class FusedGradient:
    """Gradients of one model's losses.

    Args:
        model: a transport model that `mi_neural_asset.fused.layout.hindrance` has nothing against.
    """

    def __init__(self, model: Transport) -> None:
        self._model, self._layout = model, Layout.of(model)
        self._kernels = training_kernels(self._layout)
        inputs = Inputs(self._layout, model.site_inputs())
        self._networks = [_Network(network, j, self._layout, inputs) for j, network in enumerate([*model.flow.steps, model.albedo_net])]
        f, begin = self._layout.features, (STEPS + 1) * self._layout.own
        # what grids gave, by columns: x_o and w_o, for each network; s_1; d, for networks 3 and 4; s_3
        self._columns = begin + 4 * f
        seen = self._layout.shared
        self._beside = {  # of networks 2 to 4: where their rows are among those beside the site, and among these columns
            1: [(self._layout.second - f, begin)], 2: [(0, begin + f)], 3: [(seen, begin + 2 * f), (seen + f, begin + 3 * f)],
        }  # fmt: skip
        self._weights: tuple[int, Weights] | None = None  # version of the probes' tables, memory
        self._works: dict[bool, tuple[Tiles, _Work]] = {}

    @torch.no_grad()
    @small_blocks()
    def __call__(self, batch: Batch, factor: Tensor | float) -> tuple[Tensor, Tensor]:
        """Both losses; the parameters' `grad` becomes the gradient of the first plus `factor` times the second."""
        threads = torch.get_num_threads()
        with one_thread_for(sum(size for network in self._networks for size in network.sizes)):
            return self._gradient(batch, factor, threads)

    def _gradient(self, batch: Batch, factor: Tensor | float, threads: int) -> tuple[Tensor, Tensor]:
        weights = self._memory()
        live, rest = batch.flow, len(batch.x_o) - batch.flow
        numbers = CHANNELS * batch.drawn.sum()  # that the albedo's error is a mean over
        orders = [_order(0, live, threads), *([_order(live, rest, threads)] if rest else [])]
        runs = [self._read(batch, order, weights, whole=k == 0) for k, order in enumerate(orders)]
        tiles, scale = [(run, k) for run in runs for k in range(run.order.tiles.number)], 2 * factor / numbers
        with torch_at_work(alone=True):
            for network in self._networks:
                network.refresh()
            for_tiles(lambda i: self._forward(*tiles[i], scale), len(tiles), threads)
        found = self._splines(batch, runs[0])
        with torch_at_work(alone=True):
            nll = sum(log_p.sum() for log_p in found)
            for_tiles(lambda i: self._backward(*tiles[i]), len(tiles), threads)
            self._give(runs, threads)
            return nll, sum(run.error.sum() for run in runs) / numbers

    def _memory(self) -> Weights:
        probes = self._model.probes
        version = probes.rings._version if probes else 0
        if self._weights is None or self._weights[0] != version:
            self._weights = version, Weights.of(self._model)
        return self._weights[1].now(self._model)

    def _forward(self, run: _Run, k: int, scale: Tensor) -> None:
        """Tile k of a run: what networks give, the albedo's error, and `scale` times its distances as the gradient at what it gave."""
        for j, (network, out) in enumerate(zip(run.networks, run.outputs, strict=True)):
            network.forward(run.rows[k], run.work.of_tile(j, k), out[k])
        at = run.outputs[-1][k].add_(ALBEDO_OFFSET)
        away = functional.softplus(at) - run.beta[k].t()
        weighed = away * run.drawn[k]
        run.error[k] = torch.dot(away.flatten(), weighed.flatten())
        at.sigmoid_().mul_(weighed).mul_(scale)

    def _backward(self, run: _Run, k: int) -> None:
        """Tile k of a run: gradients of weights, and at what grids gave."""
        width, work, first = run.order.tiles.width, run.work, len(self._networks) - len(run.networks)
        targets, lanes = iter(work.wanted[k]), slice(k * width, (k + 1) * width)
        for j, (network, at) in enumerate(zip(run.networks, run.outputs, strict=True)):
            wanted = [next(targets) for _ in network.sizes]
            self._to_columns(first + j, network.backward(run.rows[k], work.of_tile(j, k), at[k], wanted), work.at_columns[lanes])

    def _to_columns(self, j: int, at: Tensor, out: Tensor) -> None:
        """From the gradient at network j's first sums in a tile to that at what grids gave."""
        network, own = self._networks[j], self._layout.own
        network.to_inputs(at, 0, 0, out if out.shape[1] == own else out[:, j * own : (j + 1) * own])
        for first, target in self._beside.get(j, ()):
            network.to_inputs(at, 2, first, out[:, target : target + self._layout.features])

    def _read(self, batch: Batch, order: Order, weights: Weights, *, whole: bool) -> _Run:
        """Ask for all that networks read; it is there once Dr.Jit's kernels have ended."""
        layout, tiles = self._layout, order.tiles
        networks = self._networks if whole else self._networks[STEPS:]
        kept = self._works.get(whole)
        if kept is None or kept[0] != tiles:
            kept = self._works[whole] = tiles, _Work(order, networks, self._columns if whole else layout.own)
        outputs = [network.memory(tiles) for network in networks]
        beta, drawn = order.of_tiles(batch.beta), order.of_tiles(batch.drawn) * order.real.view(tiles.number, -1)
        columns = (batch.x_o, batch.w_o, batch.n, batch.u, batch.w_i, batch.occlusion)
        paths = Paths(*map(memory_of, columns), UInt32(order.rows.view(torch.uint32)), tiles.opaque(), dr.opaque(UInt32, order.lanes))
        count = PLANES + FACES + (2 * ENDS + FACES if whole else 0)
        places = torch.empty(count * order.lanes, dtype=torch.int32)
        nodes = Nodes(UInt32(places.view(torch.uint32)), memory_of(torch.empty(count * order.lanes)))
        if whole:
            x, numbers, nodes = self._kernels.whole_paths(weights, paths, tiles.empty(layout.paths), tiles.empty(STEPS), nodes)
        else:
            (x, nodes), numbers = self._kernels.site_of_paths(weights, paths, tiles.empty(layout.site), nodes), None
        return _Run(order, networks, kept[1], tiles.tensor(x), numbers, nodes, outputs, beta, drawn, torch.empty(tiles.number))

    def _splines(self, batch: Batch, run: _Run) -> list[Tensor]:
        """Parts of the first loss; the outputs become its gradient with respect to them."""
        order, tiles, found = run.order, run.order.tiles, []
        weight = (run.beta.flatten(0, 1) * order.real[:, None] / (-CHANNELS * batch.flow)).t().contiguous()
        channels = Array3f([memory_of(column) for column in weight])
        for j, raw in enumerate(run.outputs[:-1]):
            space = memory_of(torch.empty_like(raw))
            found.append(self._kernels.gradient(j, memory_of(raw), run.numbers, channels, tiles.opaque(), space))
        run.outputs[:-1] = [at.torch().view_as(raw) for (_, at), raw in zip(found, run.outputs[:-1], strict=True)]
        return [log_p.torch() for log_p, _ in found]

    def _give(self, runs: list[_Run], threads: int) -> None:
        """Let the parameters have their gradients."""
        sizes = [network.sizes for network in self._networks]
        total, *rest = (run.work.gradients.sum(0) for run in runs)
        for more in rest:
            total[-len(more) :] += more
        parts = iter(total.split([size for of_one in sizes for size in of_one]))
        for network, of_one in zip(self._networks, sizes, strict=True):
            network.give([next(parts) for _ in of_one])
        self._to_grids(runs, threads)

    def _to_grids(self, runs: list[_Run], threads: int) -> None:
        """What the grids' nodes get: each unit of work has rows of a table for itself."""
        f, sites, tables = self._layout.features, (STEPS + 1) * self._layout.own, [grid.table for grid in grids(self._model)]
        for table in tables:
            table.grad = torch.zeros_like(table)
        position, direction, s1, exit_, s3 = (table.grad for table in tables)
        begin, nodes = PLANES + FACES, [run.nodes_and_weights() for run in runs]

        def add(table: Tensor, of: int, first: int, count: int, values: Tensor) -> None:
            rows, weights = nodes[of]
            for k in range(first, first + count):
                table.index_add_(0, rows[k], values * weights[k, :, None])

        def sites_of(part: int) -> list[tuple[Tensor, Tensor]]:
            """(columns of the table, gradient) of whole paths, and of the others: the albedo's."""
            table = direction if part else position
            whole = runs[0].work.at_columns[:, :sites].view(-1, STEPS + 1, 2, f)[:, :, part].flatten(1)
            rest = [(table[:, STEPS * f :], run.work.at_columns.view(-1, 2, f)[:, part]) for run in runs[1:]]
            return [(table, whole), *rest]

        def unit(k: int) -> None:
            if k < 3:
                for of, (table, values) in enumerate(sites_of(0)):
                    add(table, of, 4 * k, 4, values)
            elif k == 3:
                for of, (table, values) in enumerate(sites_of(1)):
                    add(table, of, PLANES, FACES, values)
            else:
                columns = runs[0].work.at_columns[:, sites:]
                add(exit_, 0, begin + ENDS, FACES, columns[:, f : 3 * f])
                add(s1, 0, begin, ENDS, columns[:, :f])
                add(s3, 0, begin + ENDS + FACES, ENDS, columns[:, 3 * f :])

        for_tiles(unit, 5, threads)
