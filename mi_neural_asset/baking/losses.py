"""Losses of the bake (paper, Eq. 6-8) and the figures by which it is judged."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model.transport import Transport
from ..threads import torch_at_work
from .buffer import Batch


def losses(model: Transport, batch: Batch) -> tuple[Tensor, Tensor]:
    """(negative log-likelihood of the exits weighted by throughput, squared error of the albedo), both scalars.

    Rows with throughput train all colour channels; the albedo sees all rows whose viewer's ray was drawn.
    """
    known = model.known(model.sites(batch.x_o, batch.w_o, batch.n, batch.occlusion))
    k = batch.flow
    s, exit_ = model.square(batch.x_o[:k], batch.n[:k], batch.u[:k], batch.w_i[:k])
    nll = -model.log_likelihood(known, s, exit_, batch.n[:k], batch.beta[:k]) / (3 * k)
    error = (model.albedo_of(known) - batch.beta).square().mean(-1)
    return nll, (error * batch.drawn).sum() / batch.drawn.sum()


@torch_at_work()
@torch.no_grad()
def validate(model: Transport, rows: Batch, chunk: int = 16384) -> dict[str, object]:
    """Figures on held-out rows.

    Returns:
        nll: mean over channels and rows with throughput of -log p(s), weighted by throughput [nats], s in the unit cube.
        ray_nll: the same of the density of rays (area of the normalised proxy times solid angle): comparable between
            coordinates and proxies of equal radius.
        albedo_ratio: per channel, sum of alpha over sum of throughput.
        albedo_mse: mean squared difference of alpha and throughput; most of it is the paths' own noise.
        albedo_error: per channel, standard error of that ratio from the paths' own noise.
    """
    weight = nll = ray = 0.0
    alpha, beta = [], []
    for k in range(0, rows.x_o.shape[0], chunk):
        part = rows.rows(torch.arange(k, min(k + chunk, rows.x_o.shape[0]), device=rows.x_o.device))
        sites = model.sites(part.x_o, part.w_o, part.n, part.occlusion)
        alpha.append(model.albedo(sites))
        beta.append(part.beta)
        log_ray = model.log_density(part.x_o, part.w_o, part.n, part.u, part.w_i, part.occlusion)
        s, exit_ = model.square(part.x_o, part.n, part.u, part.w_i)
        jacobian = model.coordinates.log_direction_density(s[:, 2]) + model.coordinates.log_exit_density(exit_, part.x_o)
        weight += part.beta.sum().item()
        ray -= (part.beta * log_ray).sum().item()
        nll -= (part.beta * (log_ray - jacobian[:, None])).sum().item()
    alphas, betas = torch.cat(alpha).double(), torch.cat(beta).double()
    ratio = alphas.sum(0) / betas.sum(0).clamp_min(1e-12)
    error = (betas - alphas).std(0) * len(betas) ** 0.5 / betas.sum(0).clamp_min(1e-12)
    return {
        "nll": nll / max(weight, 1e-12), "ray_nll": ray / max(weight, 1e-12), "albedo_ratio": ratio.tolist(),
        "albedo_error": error.tolist(), "albedo_mse": (alphas - betas).square().mean().item(),
    }  # fmt: skip


def probe(model: Transport, rows: Batch) -> Tensor:
    """What a written asset must reproduce: the density of rays, [N, 3]."""
    return model.log_density(rows.x_o, rows.w_o, rows.n, rows.u, rows.w_i, rows.occlusion)
