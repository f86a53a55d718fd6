"""Paths read backwards.

Viewers' rays are drawn uniformly among the lines that meet the asset, and scattering is reciprocal: a path from (x_i, w_i) to
(x_o, w_o) is as likely as the same path the other way.  So every path is a second sample of p(u_i, w_i | x_o, w_o), at a point
of its own.  It says nothing of alpha there, the mean over all paths of a viewer's ray: only those that leave are found
backwards.

Shading normals break the symmetry: f |cos| holds the cosine with the shading normal, lines are counted with that of the
geometric one.  `Paths.adjoint` is the product of the ratios that make up for it (Veach, Robust Monte Carlo Methods for Light
Transport Simulation, 1997, Sec. 5.3).  Where they differ a refracted ray may stay on its side of the surface, and leave with the
radiance of the other: then the squared index between both ends is in `Paths.adjoint` as well.

Where the renderer follows mirrored rays, paths that end with a mirror reflection are none of the networks' backwards, and those
that began with one are: their end is where the ray from all around met the asset.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from .sampler import Paths

MAX_ADJOINT = 8.0  # paths with a larger ratio are left out: they graze the geometry, not the shading normal


def without_return(paths: Paths) -> Tensor:
    """Of paths with throughput, those that stand for nothing backwards though their viewer's ray comes from all around, [N] bools.

    Backwards a few are left out: where these begin, paths that are used both ways lack them, and they count twice forwards.
    """
    return (paths.beta.amax(-1) > 0) & (paths.adjoint <= 1 / MAX_ADJOINT) & (paths.x_v == paths.x_o).all(-1)


def backwards(paths: Paths) -> Paths:
    """The paths that left with throughput, from their other end; without the few of a large `adjoint`."""
    kept = (paths.beta.amax(-1) > 0) & (paths.adjoint > 0) & (paths.adjoint < MAX_ADJOINT) & ~paths.mirrored
    p = paths.rows(kept.nonzero()[:, 0])
    return dataclasses.replace(
        p, x_o=p.x_i, w_o=p.w_i, n=p.n_i, x_i=p.x_v, w_i=p.w_v, n_i=p.n_v, x_v=p.x_i, w_v=p.w_i, n_v=p.n_i,
        beta=p.beta * p.adjoint[:, None] * p.chain, chain=torch.ones_like(p.chain), adjoint=1 / p.adjoint,
        steps=p.steps + (p.x_v != p.x_o).any(-1),
    )  # fmt: skip
