"""Monotone rational-quadratic splines on [0, 1]: the plain reference.

A spline is a cumulative distribution z = F(s) with F(0) = 0, F(1) = 1; its slope is the density p(s), and s = F^-1(z) for
uniform z draws from it (paper, Eq. 11; Gregory and Delbourgo 1982, as parameterised by Durkan et al. 2019, Neural
Spline Flows).  A network gives the raw numbers of K bins: K widths and K heights (before a softmax with a floor) and the
slopes at the knots (before a softplus): K + 1 of them, or K for a periodic variable whose two ends share one.

Shapes: `...` stands for any batch, usually [N, 3] (rays, colour channels).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

WIDTH_FLOOR = 1e-2  # smallest bin width, in parts of the mean width 1 / K
HEIGHT_FLOOR = 1e-3  # smallest bin probability, in parts of 1 / K
SLOPE_FLOOR = 1e-3  # smallest density at a knot
SLOPE_OFFSET = math.log(math.e - 1)  # softplus(SLOPE_OFFSET) = 1: raw zeros give the uniform density


class Knots(NamedTuple):
    """A normalised spline."""

    s: Tensor  # [..., K + 1] knot positions, from 0 to 1
    z: Tensor  # [..., K + 1] values of F there, from 0 to 1
    width: Tensor  # [..., K] of each bin (not taken as a difference of knots, which would lose digits in small bins)
    height: Tensor  # [..., K] probability of each bin
    slope: Tensor  # [..., K + 1] values of F' there


def raw_size(knots: int, periodic: bool) -> int:
    """How many raw numbers describe a spline of `knots` bins."""
    return 3 * knots + (0 if periodic else 1)


def _parts(raw: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """(edges [..., K + 1], parts [..., K]) of the unit interval."""
    parts = floor / raw.shape[-1] + (1 - floor) * torch.softmax(raw, -1)
    inner = parts.cumsum(-1)[..., :-1]
    return torch.cat([torch.zeros_like(parts[..., :1]), inner, torch.ones_like(parts[..., :1])], -1), parts  # pinned ends


def normalise(raw: Tensor, knots: int, periodic: bool) -> Knots:
    """Knots from raw network outputs, [..., raw_size(knots, periodic)].

    Raises:
        ValueError: the last dimension does not fit.
    """
    if raw.shape[-1] != raw_size(knots, periodic):
        raise ValueError(f"raw: expected [..., {raw_size(knots, periodic)}], got {list(raw.shape)}")
    slope = SLOPE_FLOOR + (1 - SLOPE_FLOOR) * functional.softplus(raw[..., 2 * knots :] + SLOPE_OFFSET)
    if periodic:
        slope = torch.cat([slope, slope[..., :1]], -1)
    s, width = _parts(raw[..., :knots], WIDTH_FLOOR)
    z, height = _parts(raw[..., knots : 2 * knots], HEIGHT_FLOOR)
    return Knots(s, z, width, height, slope)


def _bin(edges: Tensor, value: Tensor) -> Tensor:
    """Index of the bin that holds `value` [...]: [..., 1]."""
    return (value[..., None] >= edges[..., 1:-1]).sum(-1, keepdim=True)


def _at(table: Tensor, index: Tensor) -> Tensor:
    return table.gather(-1, index)[..., 0]


class _Bin(NamedTuple):
    """One bin's numbers, each [...]."""

    s: Tensor
    z: Tensor
    width: Tensor
    height: Tensor
    left: Tensor  # slope at the left knot
    right: Tensor  # slope at the right knot

    @property
    def secant(self) -> Tensor:
        return self.height / self.width

    @classmethod
    def of(cls, knots: Knots, index: Tensor) -> _Bin:
        return cls(_at(knots.s, index), _at(knots.z, index), _at(knots.width, index), _at(knots.height, index),
                   _at(knots.slope, index), _at(knots.slope, index + 1))  # fmt: skip

    def slope_at(self, xi: Tensor) -> Tensor:
        """F' at the relative position xi in [0, 1]."""
        secant, mixed = self.secant, xi * (1 - xi)
        numerator = secant * secant * (self.right * xi * xi + 2 * secant * mixed + self.left * (1 - xi) * (1 - xi))
        return numerator / (secant + (self.left + self.right - 2 * secant) * mixed) ** 2


def cdf(s: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    """(z, log p) at s, each [...]: z = F(s), log p = log F'(s)."""
    b = _Bin.of(knots, _bin(knots.s, s))
    xi = ((s - b.s) / b.width).clamp(0, 1)
    mixed, secant = xi * (1 - xi), b.secant
    rise = secant * xi * xi + b.left * mixed
    z = b.z + b.height * rise / (secant + (b.left + b.right - 2 * secant) * mixed)
    return z, b.slope_at(xi).log()


def sample(z: Tensor, knots: Knots) -> tuple[Tensor, Tensor]:
    """(s, log p) for uniform z, each [...]: s = F^-1(z), log p = log F'(s)."""
    b = _Bin.of(knots, _bin(knots.z, z))
    y, secant = (z - b.z).clamp_min(0), b.secant
    bend = y * (b.left + b.right - 2 * secant)
    qa, qb, qc = b.height * (secant - b.left) + bend, b.height * b.left - bend, -secant * y
    root = (qb * qb - 4 * qa * qc).clamp_min(0).sqrt()
    xi = torch.where(qb < 0, (root - qb) / (2 * qa), 2 * qc / (-qb - root)).clamp(0, 1)  # without cancellation in either case
    return b.s + xi * b.width, b.slope_at(xi).log()


def log_density(s: Tensor, raw: Tensor, knots: int, periodic: bool) -> Tensor:
    """log p(s) from raw numbers: s [...], raw [..., raw_size] -> [...]."""
    return cdf(s, normalise(raw, knots, periodic))[1]


def log_likelihood(s: Tensor, raw: Tensor, weight: Tensor, knots: int, periodic: bool) -> tuple[Tensor, Tensor]:
    """sum of weight log p(s) and its gradient with respect to raw: s, weight [N], raw [N, raw_size]."""
    leaf = raw.detach().requires_grad_()
    with torch.enable_grad():
        total = torch.dot(weight, log_density(s, leaf, knots, periodic))
    return total.detach(), torch.autograd.grad(total, leaf)[0]


def sample_channel(z: Tensor, raw: Tensor, knots: int, periodic: bool, channel: Tensor) -> Tensor:
    """s = F^-1(z) of the spline `channel` of each row: z [N], raw [N, C, raw_size], channel [N] -> [N]."""
    rows = torch.arange(raw.shape[0], device=raw.device)
    return sample(z, normalise(raw[rows, channel], knots, periodic))[0]
