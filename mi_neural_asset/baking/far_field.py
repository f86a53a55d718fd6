"""Data and losses of the far-field model: F'(x_o, w_o, w) from many paths of one viewer's ray each (paper, Eq. 3).

The paper regresses F' under directional lights, thousands of paths a query.  A path that ends behind a smooth dielectric
boundary meets such a light with probability zero; here the light fills a narrow cap of directions instead, and all the paths of
one (x_o, w_o) are scored for each cap: the value of a probe w is the mean of beta over the paths that leave inside the cap
around w, over the cap's solid angle.  So the model learns F' averaged over caps.

A row keeps one path for the sampler's likelihood and one probe for the value.  Every second probe lies around the row's own
path, so that probes are found where the energy is; that path is left out of the mean, which would be biased otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mitsuba as mi
import torch
from torch import Tensor
from torch.nn import functional

from ..interop import to_vector
from ..model.coordinates import cylinder, from_frame
from ..model.far_field import FarField
from ..occlusion import Occlusion
from ..threads import torch_at_work
from .rows import Rows
from .sampler import Paths

ROWS = 16  # rows that a group of paths gives, at most


@dataclass
class FarFieldRows(Rows):
    """Rows of training data in normalised space; the first `flow` rows carry throughput."""

    x_o: Tensor  # [N, 3]
    w_o: Tensor  # [N, 3]
    n: Tensor  # [N, 3]
    w_i: Tensor  # [N, 3] where a path leaves to
    beta: Tensor  # [N, 3] its throughput
    probe: Tensor  # [N, 3] direction at which F' is known
    value: Tensor  # [N, 3] estimate of F' there
    occlusion: Tensor  # [N, K]
    flow: int = 0


def _probes(w: Tensor, follows: Tensor, cosine: float, seed: int) -> Tensor:
    """Uniform directions, or uniform ones of the cap around w where `follows`; w [..., 3]."""
    z = torch.rand(*w.shape[:-1], 2, generator=torch.Generator().manual_seed(seed))
    cap = cylinder(1 - (1 - cosine) * z[..., 0], z[..., 1])
    return torch.where(follows[..., None], from_frame(cap, w), cylinder(2 * z[..., 0] - 1, z[..., 1]))


def cap_means(w: Tensor, beta: Tensor, known: Tensor, probe: Tensor, cosine: float) -> Tensor:
    """F' at probes by leaving one path out: probe j of a group does without path j.

    Args:
        w, beta: exits and throughputs of groups of M paths, [G, M, 3].
        known: which of them came to an end, [G, M].
        probe: directions, [G, J, 3], J <= M.
        cosine: of the cap's half-angle.

    Returns:
        [G, J, 3], per steradian.
    """
    inside = (torch.einsum("gjc,gmc->gjm", probe, w) >= cosine).float()
    count = known.float()[:, None, :].repeat(1, probe.shape[1], 1)
    own = torch.arange(probe.shape[1])
    inside[:, own, own] = 0
    count[:, own, own] = 0
    total = torch.einsum("gjm,gmc->gjc", inside * count, beta)
    return total / count.sum(-1, keepdim=True).clamp_min(1) / (2 * math.pi * (1 - cosine))


def far_field_rows(
    paths: Paths, model: FarField, center: Tensor, scale: float, occlusion: Occlusion, group: int, cap: float
) -> FarFieldRows:
    """Rows from groups of `group` paths; direct exits have zero throughput if separated; `cap`: half-angle in degrees.

    Truncated and invalid paths are left out; `PathBuffer` counts them.
    """
    cosine = math.cos(math.radians(cap))
    beta = torch.where(paths.direct[:, None], 0.0, paths.beta) if model.config.separate_direct else paths.beta
    known = (paths.status <= 1).view(-1, group)  # exited or absorbed
    w, beta = paths.w_i.view(-1, group, 3), beta.view(-1, group, 3)
    rows = min(ROWS, group)
    carries = beta[:, :rows].amax(-1) > 0
    follows = carries & (torch.arange(rows) % 2 == 1)
    probe = _probes(w[:, :rows], follows, cosine, paths.bounces % (1 << 31))  # the same for the same paths
    value = cap_means(w, beta, known, probe, cosine)
    x_o = (paths.x_o.view(-1, group, 3)[:, 0] - center) / scale
    n = paths.n.view(-1, group, 3)[:, 0].contiguous()
    around = occlusion.tensor(to_vector(x_o, mi.Point3f), to_vector(n), x_o.device)
    shared = [v[:, None].expand(-1, rows, -1)[known[:, :rows]] for v in (x_o, paths.w_o.view(-1, group, 3)[:, 0], n, around)]
    own = [v[:, :rows][known[:, :rows]] for v in (w, beta, probe, value)]
    return FarFieldRows(*shared[:3], *own, shared[3])


def losses(model: FarField, rows: FarFieldRows) -> tuple[Tensor, Tensor]:
    """(negative log-likelihood of the exits weighted by mean throughput, squared error of F'), both scalars.

    The squared error is of 4 pi F', which is of the order of one.
    """
    sites = model.sites(rows.x_o, rows.w_o, rows.n, rows.occlusion)
    k = rows.flow
    log_p = model.log_square_density([site[:k] for site in sites], model.square(rows.w_i[:k], rows.n[:k]))
    nll = -(rows.beta[:k].mean(-1) * log_p).mean()
    return nll, functional.mse_loss(4 * math.pi * model.value(sites, rows.probe, rows.n), 4 * math.pi * rows.value)


@torch_at_work()
@torch.no_grad()
def validate(model: FarField, rows: FarFieldRows, chunk: int = 16384) -> dict[str, object]:
    """Figures on held-out rows.

    Returns:
        nll: mean over rows with throughput of -log p(s) of the sampler, weighted by throughput [nats], s in the unit square.
        ray_nll: the same of the density over directions.
        albedo_ratio: per channel, F' integrated over directions (one drawn by the sampler for each row) over mean throughput.
        albedo_error: per channel, standard error of that ratio.
        value_mse: mean squared difference of F' and its estimates; most of it is their noise.
    """
    weight = nll = 0.0
    alpha, square = [], 0.0
    z = torch.rand(rows.x_o.shape[0], 2, generator=torch.Generator().manual_seed(0)).to(rows.x_o.device)
    for k in range(0, rows.x_o.shape[0], chunk):
        part = rows.rows(torch.arange(k, min(k + chunk, rows.x_o.shape[0]), device=rows.x_o.device))
        sites = model.sites(part.x_o, part.w_o, part.n, part.occlusion)
        w, log_p = model.sample(sites, part.n, z[k : k + chunk])
        alpha.append(model.value(sites, w, part.n) / log_p.exp()[:, None])
        square += (model.value(sites, part.probe, part.n) - part.value).square().sum().item()
        share = part.beta.mean(-1)
        weight += share.sum().item()
        nll -= (share * model.log_square_density(sites, model.square(part.w_i, part.n))).sum().item()
    alphas, betas = torch.cat(alpha).double(), rows.beta.double()
    total = betas.sum(0).clamp_min(1e-12)
    mean_nll = nll / max(weight, 1e-12)
    return {
        "nll": mean_nll, "ray_nll": mean_nll + math.log(4 * math.pi), "albedo_ratio": (alphas.sum(0) / total).tolist(),
        "albedo_error": ((betas - alphas).std(0) * len(betas) ** 0.5 / total).tolist(), "value_mse": square / betas.numel(),
    }  # fmt: skip


def probe(model: FarField, rows: FarFieldRows) -> Tensor:
    """What a written asset must reproduce: F' and the sampler's density, [N, 4]."""
    sites = model.sites(rows.x_o, rows.w_o, rows.n, rows.occlusion)
    return torch.cat([model.value(sites, rows.probe, rows.n), model.log_density(sites, rows.w_i, rows.n)[:, None]], -1)
