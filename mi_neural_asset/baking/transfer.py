"""Tables of the probes: the density of u_i around each of them and how w_i departs there from the direction of u_i.

A path that enters near probe j at x_o and leaves near probe k at x_i says through which part of the surface light leaves, thin
parts and all.  Geometry says where it goes from there: its density over w_i is about E_k(w) = |n . w| V(w), divided by the
integral of E_k.  So one path tells a whole table: at the middle of every cell of the square (s1, s2), which is a point u of the
proxy, it adds

    beta E_k(w) / (integral of E_k)  |n_u . w| / r^2  |du / ds|,     r w = u - x_i,

and w - d, the departure of its w_i, weighted by the same.  x_i is taken relative to x_o, so that a table is seen from the
probe itself, however near the proxy is.  Paths between the same two probes say almost the same, and become one before.
"""

from __future__ import annotations

import math

import drjit as dr
import mitsuba as mi
import numpy as np
import torch
from torch import Tensor

from ..distributed import ALONE, Processes
from ..interop import to_float, to_indices, to_torch, to_vector
from ..model.coordinates import PaperCoordinates
from ..model.probes import AZIMUTHS, BANDS, CHANNELS, CORNERS, POOL, Tables, middles
from ..probes import Average, ProbeMesh
from .reciprocity import backwards
from .sampler import Paths, PathSampler
from .visibility import Visibility

AT_LEAST = 1 << 20  # paths: fewer do not become one with those before
OWN_VIEW = 20.0  # paths that a probe's own view stands for: all there is where no path enters
MOST_PATHS = 512  # of a probe, those that are alike counted once; of more, some stand for all
LEAST_VIEW = 0.02  # integrals of E below are this large: a path that leaves out of a narrow gap says little
LEAST_DISTANCE = 0.02  # between x_i and u, in radii
LEAST_COSINE = 1e-3
AT_ONCE = 1024  # probes: for the memory, and an interrupted bake does not wait for all of them
STREAM = 1 << 29  # of the bake's seeds


def probe_tables(
    mesh: ProbeMesh, coordinates: PaperCoordinates, sampler: PathSampler, count: int, bulk: int, seed: int, reciprocal: bool,
    processes: Processes = ALONE,
) -> Tables:  # fmt: skip
    """The tables of all probes.

    Args:
        mesh: the probes.
        coordinates: of the model, with its proxy, on the CPU.
        sampler: of the asset's paths.
        count: paths, `bulk` of them at once.
        seed: of the bake.
        reciprocal: read paths backwards too (see `mi_neural_asset.baking.reciprocity`).
        processes: that share the bulks.
    """
    if not len(mesh.points):
        return Tables.empty()
    visibility = Visibility(mesh, sampler.scene)
    found, new = _Crossings.none(), []
    for k, start in list(enumerate(range(0, count, bulk)))[processes.rank :: processes.size]:
        paths = sampler.sample(min(bulk, count - start), _number(seed, k, 0))
        random = torch.Generator().manual_seed(_number(seed, k, 1))
        new += [_Crossings.of(some, mesh, random) for some in ((paths, backwards(paths)) if reciprocal else (paths,))]
        if sum(map(len, new)) > max(len(found) / 2, AT_LEAST):
            found, new = _Crossings.joined([found, *new]).merged(), []
    found = _Crossings.joined([found, *new])
    found = _Crossings.joined([_Crossings(*columns) for columns in processes.gather(found.columns)]).merged()
    found = found.thinned(torch.Generator().manual_seed(_number(seed, count, 0)))
    crossings = _Crossings.joined([_Crossings.own(mesh), found]).ordered().share(processes.rank, processes.size)
    average = Average(mesh)
    weights = average(processes.sum(crossings.weights(len(mesh.points))))
    sums, departures = (average(processes.sum(some).flatten(1)) for some in _sums(mesh, coordinates, visibility, crossings))
    rings = sums.unflatten(1, (BANDS, AZIMUTHS, CHANNELS)).movedim(-1, 1) / weights[:, :, None, None].clamp_min(1e-12)
    departures = departures.unflatten(1, (BANDS // POOL, AZIMUTHS // POOL, 5))
    weight = departures[..., :1].clamp_min(1e-12)
    return Tables(rings, departures[..., 1:4] / weight, (departures[..., 4:] / weight).sqrt()[..., 0])


def _number(seed: int, k: int, which: int) -> int:
    """Seed of one purpose within bulk k."""
    return int(np.random.SeedSequence([seed, STREAM, k]).generate_state(2)[which])


class _Crossings:
    """Paths as the tables see them, [N, ...]: the probe where each enters, the one where it leaves; x_i - x_o in radii; the normal
    at x_i; throughput.
    """

    def __init__(self, enters: Tensor, leaves: Tensor, offset: Tensor, normal: Tensor, beta: Tensor) -> None:
        self.columns = enters, leaves, offset, normal, beta

    @classmethod
    def of(cls, paths: Paths, mesh: ProbeMesh, random: torch.Generator) -> _Crossings:
        """Those that the networks learn, if they enter and leave near probes."""
        p = paths.rows(((paths.beta.amax(-1) > 0) & ~paths.direct).nonzero()[:, 0])
        (enters, near), (leaves, close) = (_probe(mesh, x, n, random) for x, n in ((p.x_o, p.n), (p.x_i, p.n_i)))
        offset, both = ((p.x_i - p.x_o).double() / mesh.scale).float(), near & close
        return cls(*(column[both] for column in (enters.int(), leaves.int(), offset, p.n_i, p.beta)))

    @classmethod
    def own(cls, mesh: ProbeMesh) -> _Crossings:
        """A path of each probe that leaves where it enters, as heavy as `OWN_VIEW`."""
        numbers = torch.arange(len(mesh.points), dtype=torch.int32)
        offset = torch.zeros(len(numbers), 3)
        return cls(numbers, numbers, offset, mesh.normals.float(), torch.full((len(numbers), CHANNELS), OWN_VIEW))

    @classmethod
    def none(cls) -> _Crossings:
        """Not one."""
        number, vector = torch.zeros(0, dtype=torch.int32), torch.zeros(0, 3)
        return cls(number, number, vector, vector, vector)

    @classmethod
    def joined(cls, parts: list[_Crossings]) -> _Crossings:
        """Those of all parts.  The list is emptied: there are too many for two copies of them."""
        columns = [list(column) for column in zip(*(part.columns for part in parts), strict=True)]
        parts.clear()
        return cls(*(torch.cat(columns.pop(0)) for _ in range(len(columns))))

    def __len__(self) -> int:
        return len(self.columns[0])

    def weights(self, probes: int) -> Tensor:
        """Sums of throughput, [P, CHANNELS]."""
        enters, *_, beta = self.columns
        return torch.zeros(probes, CHANNELS).index_add_(0, enters, beta)

    def ordered(self) -> _Crossings:
        """In the order of the probes where they enter."""
        order = self.columns[0].argsort(stable=True)
        return _Crossings(*(column[order] for column in self.columns))

    def share(self, rank: int, size: int) -> _Crossings:
        """Those of every so many probes."""
        return self if size == 1 else _Crossings(*(column[self.columns[0] % size == rank] for column in self.columns))

    def merged(self) -> _Crossings:
        """One for all between the same two probes, with the sum of their throughput; in the order of the probes where they enter."""
        enters, leaves, offset, normal, beta = self.columns
        pair, which = torch.unique((enters.long() << 32) | leaves.long(), return_inverse=True)
        weight = beta.mean(-1, keepdim=True)

        def sums(values: Tensor) -> Tensor:  # the same whatever the order; one column at a time, for the memory
            found = torch.zeros(len(pair), values.shape[1])
            for total, column in zip(found.unbind(-1), values.unbind(-1), strict=True):
                total.copy_(torch.zeros(len(pair), dtype=torch.float64).index_add_(0, which, column.double()))
            return found

        offset, normal = sums(weight * offset) / sums(weight), torch.nn.functional.normalize(sums(weight * normal), dim=-1)
        return _Crossings((pair >> 32).int(), pair.int(), offset, normal, sums(beta))

    def thinned(self, random: torch.Generator) -> _Crossings:
        """Of probes that have more than `MOST_PATHS`, about so many: by chance, the heavier the likelier, and as heavy as the chance was
        small.  Chances are evenly spread (systematic sampling), so that the sum of a probe hardly changes.
        """
        enters, *_, beta = self.columns
        weight, counts = beta.mean(-1), torch.bincount(enters)
        least = torch.zeros(len(counts)).index_add_(0, enters, weight) / MOST_PATHS  # so heavy is always kept
        chance = torch.where(counts[enters] > MOST_PATHS, weight / least[enters], 1).clamp_max(1)
        place = chance.double().cumsum(0) + torch.rand(1, generator=random, dtype=torch.float64)
        kept = place.floor() > (place - chance).floor()
        *columns, beta = (column[kept] for column in self.columns)
        return _Crossings(*columns, beta / chance[kept, None])


def _sums(mesh: ProbeMesh, coordinates: PaperCoordinates, visibility: Visibility, crossings: _Crossings) -> tuple[Tensor, Tensor]:
    """What paths add to the tables of all probes: densities over (s1, s2), [P, BANDS AZIMUTHS, CHANNELS]; and, of squares of POOL
    x POOL cells, their mean over channels, that times w - d and times |w - d|^2, [P, BANDS / POOL, AZIMUTHS / POOL, 5].
    """
    enters, leaves, offset, normal, beta = crossings.columns
    if not len(enters):  # one process of several, with no share of few paths
        cells = len(mesh.points), BANDS * AZIMUTHS
        return torch.zeros(*cells, CHANNELS), torch.zeros(cells[0], BANDS // POOL, AZIMUTHS // POOL, 5)
    end = torch.bincount(enters, minlength=len(mesh.points)).cumsum(0)
    beta = beta / visibility.view.clamp_min(LEAST_VIEW)[leaves.long(), None]
    leaves, end = to_indices(leaves), to_indices(end)
    offset, normal, beta = (to_vector(column) for column in (offset, normal, beta))
    s1, s2 = middles()
    densities, departures = [], []
    for first in range(0, len(mesh.points), AT_ONCE):
        probe = torch.arange(first, min(first + AT_ONCE, len(mesh.points))).repeat_interleave(len(s1))
        x, n = mesh.points[probe].float(), mesh.normals[probe].float()
        exit_ = coordinates.exit(s1.repeat(len(probe) // len(s1)), s2.repeat(len(probe) // len(s1)), x, n)
        unit = -coordinates.log_exit_density(exit_, x)  # log |du / ds|
        probe = to_indices(probe)
        d, away, facing = (to_vector(values) for values in (exit_.d, exit_.u - x, coordinates.proxy.normal(exit_.u)))
        unit = to_float(unit.exp())

        def add(i, density, departure, square, d=d, away=away, facing=facing, unit=unit):  # noqa: ANN001, ANN202
            r = away - dr.gather(mi.Vector3f, offset, i)
            distance = dr.maximum(dr.norm(r), 1e-6)
            w = r / distance
            sees = visibility.sees(dr.gather(mi.UInt32, leaves, i), w)
            cosine = dr.abs(dr.dot(dr.gather(mi.Vector3f, normal, i), w)) * dr.maximum(dr.dot(facing, w), LEAST_COSINE)
            value = dr.select(sees, cosine * unit / dr.square(dr.maximum(distance, LEAST_DISTANCE)) / (4 * math.pi), 0)
            value = value * dr.gather(mi.Vector3f, beta, i)
            mean = (value.x + value.y + value.z) / 3
            return i + 1, density + value, departure + mean * (w - d), square + mean * dr.squared_norm(w - d)

        zero = dr.zeros(mi.Vector3f, dr.width(probe))
        stop = dr.gather(mi.UInt32, end, probe)
        state = dr.select(probe > 0, dr.gather(mi.UInt32, end, dr.maximum(probe, 1) - 1), 0), zero, mi.Vector3f(zero), mi.Float(zero.x)
        _, density, departure, square = dr.while_loop(state, lambda i, *rest, stop=stop: i < stop, add)
        dr.eval(density, departure, square)
        density, departure, square = (to_torch(values).view(-1, BANDS, AZIMUTHS, *shape) for values, shape in (
            (density, (3,)), (departure, (3,)), (square, (1,)),
        ))  # fmt: skip
        densities.append(density.flatten(1, 2))
        departures.append(_pooled(torch.cat([density.mean(-1, keepdim=True), departure, square], -1)))
    return torch.cat(densities), torch.cat(departures)


def _pooled(cells: Tensor) -> Tensor:
    """Sums of squares of POOL x POOL cells: [P, BANDS, AZIMUTHS, K] to [P, BANDS / POOL, AZIMUTHS / POOL, K]."""
    return cells.unflatten(1, (-1, POOL)).unflatten(3, (-1, POOL)).sum((2, 4))


def _probe(mesh: ProbeMesh, x: Tensor, n: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """One of the probes that points lie between, drawn by their weights: its number and whether there is one, [N] each."""
    place = mesh.place(((x.double() - mesh.center) / mesh.scale).float(), n)
    weights = place[:, CORNERS:].clamp_min(0)
    corner = (weights.cumsum(-1)[:, :-1] < torch.rand(len(x), 1, generator=random) * weights.sum(-1, keepdim=True)).sum(-1)
    return place.gather(1, corner[:, None])[:, 0].long(), weights.sum(-1) > 0.5
