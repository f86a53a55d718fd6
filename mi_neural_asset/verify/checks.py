"""What an asset's model must fulfil, without a reference: densities that integrate to one, a sampler that draws from them, transport
that is the same both ways.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..model.flow import PERIODIC
from ..model.transport import Transport
from ..splines import plain
from ..threads import torch_at_work
from .hits import Hits

CELLS = 16  # of the quadrature along one coordinate, to begin with: equal ones, quantiles, and both
TOLERANCE, HALVINGS = 1e-6, 16  # of a cell's integral, and how often a cell is halved for it
GAUSS = (0.5 - 0.5 / 3**0.5, 0.5 + 0.5 / 3**0.5)  # nodes of two-point quadrature on [0, 1]
CHUNK = 64  # rows at once
SIDES = 3  # bins along each coordinate of the joint chi^2 test
BINS = 32  # bins of the chi^2 test of one coordinate
BATCHES = 16  # of the estimate of asymmetry


@dataclass
class Sampled:
    """Draws from an asset's distribution, and what the density says of them.

    Attributes:
        z: uniform numbers that were drawn with, [N, 4].
        cdf: integral of the density of s_j, given the coordinates before it, up to the sample: [N, 4].
        mass: the same over all of [0, 1]: [N, 4].
    """

    z: np.ndarray
    cdf: np.ndarray
    mass: np.ndarray


@torch_at_work()
@torch.no_grad()
def sample(model: Transport, hits: Hits, seed: int) -> Sampled:
    """Draw one incident ray at every hit, in a channel drawn uniformly, and integrate the density by quadrature.

    The density is the function that weights and MIS use, the samples are those of a render; the quadrature knows neither how one
    is inverted nor that the other ends at one.  Its cells end at even steps, at quantiles and at knots, beside which the density may have
    narrow peaks, and are halved until two rules agree.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for k in range(0, len(hits.x_o), CHUNK):
        rows = hits.rows(slice(k, k + CHUNK))
        channel = torch.randint(3, (len(rows.x_o),), generator=generator)
        parts.append(_sample_rows(model, rows, channel, torch.rand(len(rows.x_o), 4, generator=generator)))
    return Sampled(*(torch.cat(column).double().numpy() for column in zip(*parts, strict=True)))


def _sample_rows(model: Transport, rows: Hits, channel: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    known, flow = model.known(model.sites(rows.x_o, rows.w_o, rows.n, rows.occlusion)), model.flow
    cdf, mass = [], []

    def draw(j: int, inputs: list[Tensor]) -> Tensor:
        raw = flow.raw(j, inputs)
        s = flow.sample(j, z[:, j], raw, channel)
        below, total = _integrate(model, j, s, raw[torch.arange(len(s)), channel])
        cdf.append(below)
        mass.append(total)
        return s

    s1 = draw(0, model.inputs_1(known))
    s2 = draw(1, model.inputs_2(known, s1))
    exit_ = model.coordinates.exit(s1, s2, rows.x_o, rows.n)
    features = model.exit_features(known, exit_, rows.n)
    s3 = draw(2, model.inputs_3(known, exit_, features))
    draw(3, model.inputs_4(known, exit_, features, s3))
    return z, torch.stack(cdf, -1), torch.stack(mass, -1)


def _integrate(model: Transport, j: int, s: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Integral of the density of step j from 0 to s [N], and to 1, by adaptive quadrature; raw [N, R]."""
    n = len(s)
    tails = 2.0 ** -torch.arange(6, 16)
    levels = torch.cat([torch.arange(1, CELLS) / CELLS, tails, 1 - tails])
    many = raw.repeat_interleave(len(levels), 0)[:, None]
    quantiles = model.flow.sample(j, levels.repeat(n), many, torch.zeros(len(many), dtype=torch.long)).view(n, -1)
    even = (torch.arange(CELLS + 1) / CELLS).expand(n, -1)
    knots = plain.normalise(raw, model.config.knots, PERIODIC[j]).s
    edges = torch.cat([even, s[:, None], quantiles, knots], 1).clamp(0, 1).double().sort(1).values
    row = torch.arange(n)[:, None].expand(-1, edges.shape[1] - 1).reshape(-1)
    left, right = edges[:, :-1].reshape(-1), edges[:, 1:].reshape(-1)

    def rule(row: Tensor, left: Tensor, right: Tensor) -> Tensor:
        nodes = torch.stack([left + g * (right - left) for g in GAUSS], -1).float()
        density = model.flow.log_density(j, nodes, raw[row][:, None].expand(-1, len(GAUSS), -1))
        return density.double().exp().mean(-1) * (right - left)

    sums, whole = torch.zeros(2, n, dtype=torch.float64), rule(row, left, right)
    for halvings in range(HALVINGS + 1):
        middle = (left + right) / 2
        halves = torch.stack([rule(row, left, middle), rule(row, middle, right)])
        integral = halves.sum(0)
        rough = ((integral - whole).abs() > TOLERANCE) & (halvings < HALVINGS)
        counted = integral * ~rough
        sums[0].index_add_(0, row, counted * (right <= s.clamp(0, 1).double()[row]))
        sums[1].index_add_(0, row, counted)
        if not rough.any():
            break
        left, middle, right, row = (value[rough] for value in (left, middle, right, row))
        left, right, row, whole = torch.cat([left, middle]), torch.cat([middle, right]), row.repeat(2), halves[:, rough].flatten()
    return sums[0], sums[1]


def chi_squared(sampled: Sampled) -> float:
    """p-value of the hypothesis that the samples follow the density: chi^2 tests of each coordinate and of all jointly.

    Where it is true, `cdf` is uniform in the unit cube (Rosenblatt, Remarks on a Multivariate Transformation, 1952).  The least
    p-value of the five tests is returned, times five.
    """
    from scipy import stats

    u = np.clip(sampled.cdf, 0, 1 - 1e-12)
    cells = np.ravel_multi_index(tuple((u * SIDES).astype(int).T), (SIDES,) * 4)
    counts = [np.bincount((u[:, j] * BINS).astype(int), minlength=BINS) for j in range(4)]
    counts.append(np.bincount(cells, minlength=SIDES**4))
    return min(1.0, 5 * min(float(stats.chisquare(count).pvalue) for count in counts))


@torch_at_work()
@torch.no_grad()
def asymmetry(model: Transport, hits: Hits, seed: int) -> tuple[float, float]:
    """How much transport between octants of directions differs from that the other way: (relative RMS, its standard error).

    With lines drawn uniformly among those that meet the asset, T_ij is the mean of alpha over lines to viewers in octant i whose
    light comes from octant j.  Reciprocal scattering makes T symmetric.  Returned is the root mean square of T - T^T over that of
    (T + T^T) / 2, over pairs i < j and channels, without the noise of the estimate.
    """
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for rows in (hits.rows(slice(k, None, BATCHES)) for k in range(BATCHES)):
        n = len(rows.x_o)
        sites = model.sites(rows.x_o, rows.w_o, rows.n, rows.occlusion)
        channel = torch.randint(3, (n,), generator=generator)
        z = torch.rand(n, 4, generator=generator)
        exit_, _ = model.sample_exit(sites, rows.x_o, rows.n, channel, z[:, :2])
        w, _ = model.sample_direction(sites, exit_, rows.n, channel, z[:, 2:])
        alpha = model.albedo(sites)[torch.arange(n), channel]
        cell = (channel * 8 + _octant(rows.w_o)) * 8 + _octant(w)
        batches.append(torch.zeros(192, dtype=torch.float64).index_add_(0, cell, alpha.double() / n).view(3, 8, 8).numpy())
    t = np.stack(batches)
    i, j = np.triu_indices(8, 1)
    difference = (t[:, :, i, j] - t[:, :, j, i]).reshape(BATCHES, -1)
    scale = (t[:, :, i, j] + t[:, :, j, i]).mean(0) / 2
    noise = difference.var(0, ddof=1) / BATCHES
    total = float((scale**2).sum())
    if total == 0:
        return 0.0, 0.0
    square = float((difference.mean(0) ** 2 - noise).sum()) / total
    spread = float(np.sqrt((2 * noise**2 + 4 * noise * np.maximum(difference.mean(0) ** 2 - noise, 0)).sum())) / total
    value = max(square, 0.0) ** 0.5
    return value, spread / (2 * max(value, spread**0.5, 1e-12))


def _octant(d: Tensor) -> Tensor:
    return ((d > 0).long() * torch.tensor([1, 2, 4])).sum(-1)
