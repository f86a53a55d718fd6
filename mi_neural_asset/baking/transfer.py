"""Tables of the probes: where light that meets the surface near one of them leaves, in each colour.

A path that enters near probe j and leaves near probe k is a sample of the entry A_jk of a matrix of transfer.  What leaves near k
goes where k faces free space: E_k(d) = |n . d| V(d).  The tables are A E, its rows divided by those sums of A.  Paths say
through which part of the surface light leaves, thin parts and all; geometry says which way, so that a hundred paths of a probe
tell a whole table.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..distributed import ALONE, Processes
from ..model.probes import AZIMUTHS, BANDS, CHANNELS, CORNERS
from ..probes import Average, ProbeMesh
from .reciprocity import backwards
from .sampler import Paths, PathSampler

OWN_VIEW = 20.0  # paths that a probe's own view, averaged over its neighbours, stands for: all there is where no path enters
STREAM = 1 << 29  # of the bake's seeds


def probe_tables(
    mesh: ProbeMesh, sampler: PathSampler, count: int, bulk: int, seed: int, reciprocal: bool, processes: Processes = ALONE
) -> Tensor:
    """The tables [P, CHANNELS, BANDS, AZIMUTHS] of all probes.

    Args:
        mesh: the probes.
        sampler: of the asset's paths.
        count: paths, `bulk` of them at once.
        seed: of the bake.
        reciprocal: read paths backwards too (see `mi_neural_asset.baking.reciprocity`).
        processes: that share the bulks.
    """
    views = mesh.views(sampler.scene)
    if not len(views):
        return views.new_zeros(0, CHANNELS, BANDS, AZIMUTHS)
    average = Average(mesh)
    own = average(average(views))
    sums, weights = views.new_zeros(CHANNELS, *views.shape), views.new_zeros(CHANNELS, len(views), 1)
    for k, start in list(enumerate(range(0, count, bulk)))[processes.rank :: processes.size]:
        numbers = np.random.SeedSequence([seed, STREAM, k]).generate_state(2)
        paths = sampler.sample(min(bulk, count - start), int(numbers[0]))
        random = torch.Generator().manual_seed(int(numbers[1]))
        for some in (paths, backwards(paths)) if reciprocal else (paths,):
            _add(sums, weights, mesh, views, some, random)
    sums, weights = processes.sum(sums), processes.sum(weights)
    tables = [(average(s) + OWN_VIEW * own) / (average(w) + OWN_VIEW) for s, w in zip(sums, weights, strict=True)]
    return torch.stack(tables, 1).unflatten(-1, (BANDS, AZIMUTHS))


def _add(sums: Tensor, weights: Tensor, mesh: ProbeMesh, views: Tensor, paths: Paths, random: torch.Generator) -> None:
    """Add A E to `sums` [CHANNELS, P, D] and sums of A to `weights` [CHANNELS, P, 1]."""
    p = paths.rows(((paths.beta.amax(-1) > 0) & ~paths.direct).nonzero()[:, 0])
    (enters, near), (leaves, close) = (_probe(mesh, x, n, random) for x, n in ((p.x_o, p.n), (p.x_i, p.n_i)))
    both = near & close
    entries, beta = torch.stack([enters, leaves])[:, both], p.beta[both]
    for k in range(CHANNELS):
        transfer = torch.sparse_coo_tensor(entries, beta[:, k], (len(views),) * 2, check_invariants=False).coalesce()
        sums[k] += torch.sparse.mm(transfer, views)
        weights[k, :, 0].index_add_(0, entries[0], beta[:, k])


def _probe(mesh: ProbeMesh, x: Tensor, n: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """One of the probes that points lie between, drawn by their weights: its number and whether there is one, [N] each."""
    place = mesh.place(((x.double() - mesh.center) / mesh.scale).float(), n)
    weights = place[:, CORNERS:].clamp_min(0)
    corner = (weights.cumsum(-1)[:, :-1] < torch.rand(len(x), 1, generator=random) * weights.sum(-1, keepdim=True)).sum(-1)
    return place.gather(1, corner[:, None])[:, 0].long(), weights.sum(-1) > 0.5
