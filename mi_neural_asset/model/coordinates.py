"""Incident rays (u_i, w_i) as points s of the unit cube [0, 1]^4, and back.

Two systems behind one interface:

`PaperCoordinates`  u_i as a direction from the proxy's centre and w_i in the asset's frame, both cylindrical
                    (paper, Eq. 9-10).
`LocalCoordinates`  u_i as the direction d in which it is seen from x_o, cylindrical in the asset's axes (normals of fine
                    meshes tremble, what a place sees does not); w_i around d, with the warp
                    s3 = ((1 - cos(w_i, d)) / 2)^(1/4).  In dense media paths leave close to x_o, so that w_i nearly equals
                    d: here this sharp dependence is a smooth function of s.

s2 and s4 are angles divided by 2 pi and periodic.  `Exit` holds what the third and fourth networks know of u_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .proxy import Proxy

WARP_EXPONENT = 4  # v = (1 - cos) / 2 = s3^4
MIN_WARP = 1e-3  # s3 is kept above this in densities: ds3/dv is unbounded at w_i = d


def frame(n: Tensor) -> tuple[Tensor, Tensor]:
    """Tangents (t, b) so that (t, b, n) is the rotation that takes z to n by the shortest way; n, t, b: [N, 3].

    Smooth everywhere but at n = -z (Frisvad, Building an Orthonormal Basis from a 3D Unit Vector, 2012).
    """
    x, y, z = n.unbind(-1)
    a = 1.0 / (1.0 + z).clamp_min(1e-6)
    t = torch.stack([1.0 - x * x * a, -x * y * a, -x], -1)
    fallback = torch.eye(3, dtype=n.dtype, device=n.device)[0]
    t = torch.where((z < -0.99999)[..., None], fallback, t)
    t = t - n * (n * t).sum(-1, keepdim=True)
    t = t / t.norm(dim=-1, keepdim=True)
    return t, torch.linalg.cross(n, t)


def from_frame(axis: Tensor, n: Tensor) -> Tensor:
    """Directions whose components in `frame(n)` and n are `axis`, [..., 3]."""
    t, b = frame(n)
    return axis[..., :1] * t + axis[..., 1:2] * b + axis[..., 2:] * n


def to_frame(d: Tensor, n: Tensor) -> Tensor:
    """Components of directions in `frame(n)` and n, [..., 3]: undoes `from_frame`."""
    t, b = frame(n)
    return torch.stack([(d * t).sum(-1), (d * b).sum(-1), (d * n).sum(-1)], -1)


def reference_axis(n: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Axes (t, b) across d from which azimuths about d are counted: n projected across d, or `frame(d)` near d = +-n."""
    across = n - d * (n * d).sum(-1, keepdim=True)
    length = across.norm(dim=-1, keepdim=True)
    t = torch.where(length > 1e-3, across / length.clamp_min(1e-3), frame(d)[0])
    t = t - d * (t * d).sum(-1, keepdim=True)
    t = t / t.norm(dim=-1, keepdim=True)
    return t, torch.linalg.cross(d, t)


def turn(y: Tensor, x: Tensor) -> Tensor:
    """Angle of (x, y) in turns, in [0, 1]."""
    angle = torch.atan2(y, x) / (2 * math.pi)
    return torch.where(angle < 0, angle + 1, angle)


def cylinder(z: Tensor, turns: Tensor) -> Tensor:
    """Unit direction of height z and azimuth 2 pi `turns`: [..., 3]; equal areas map to equal areas."""
    r = (1 - z * z).clamp_min(0).sqrt()
    phi = turns * (2 * math.pi)
    return torch.stack([r * phi.cos(), r * phi.sin(), z], -1)


@dataclass
class Exit:
    """u_i and what the networks of w_i are told about it."""

    u: Tensor  # [N, 3] point of the proxy
    axis: Tensor  # [N, 3] direction of u_i for the cubemap of the networks of w_i; in local coordinates about the normal
    d: Tensor  # [N, 3] unit direction about which w_i is measured, asset frame
    extra: Tensor  # [N, E] further inputs of the third and fourth networks (E = 0 or 5)


class PaperCoordinates:
    """Eq. 9-10 of the paper: both rays' ends in cylindrical coordinates of the asset's frame."""

    site_inputs = 0  # numbers about x_o for all networks beside the encodings
    exit_inputs = 0  # numbers about u_i for the third and fourth networks
    departure_inputs = 4  # numbers that `departure` tells them
    view_inputs = 0  # numbers that `view` tells them

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def site(self, n: Tensor, w_o: Tensor) -> Tensor:
        """Plain inputs about (x_o, w_o): none here, [N, 0]."""
        return n.new_empty(n.shape[0], 0)

    def exit(self, s1: Tensor, s2: Tensor, x_o: Tensor, n: Tensor) -> Exit:
        """u_i from (s1, s2), each [N]."""
        axis = cylinder(2 * s1 - 1, s2)
        u, _ = self.proxy.exit(torch.zeros_like(axis), axis)
        return Exit(u, axis, axis, axis.new_empty(axis.shape[0], 0))

    def exit_to_square(self, u: Tensor, x_o: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        """(s1, s2) from u_i: undoes `exit`."""
        axis = u / u.norm(dim=-1, keepdim=True)
        return ((axis[..., 2] + 1) / 2).clamp(0, 1), turn(axis[..., 1], axis[..., 0])

    def direction(self, s3: Tensor, s4: Tensor, exit_: Exit, n: Tensor) -> Tensor:
        """w_i from (s3, s4): [N, 3]."""
        return cylinder(2 * s3 - 1, s4)

    def direction_to_square(self, w: Tensor, exit_: Exit, n: Tensor) -> tuple[Tensor, Tensor]:
        """(s3, s4) from w_i: undoes `direction`."""
        return ((w[..., 2] + 1) / 2).clamp(0, 1), turn(w[..., 1], w[..., 0])

    def departure(self, mean: Tensor, spread: Tensor, exit_: Exit, n: Tensor) -> Tensor:
        """What the networks of w_i are told of how w_i departs from d: [N, departure_inputs].

        Args:
            mean: of w_i - d, in parts of the spread, [N, 3].
            spread: root of the mean of |w_i - d|^2, [N].
        """
        return torch.cat([exit_.d + mean * spread[:, None], spread[:, None]], -1)

    def view(self, w_o: Tensor, exit_: Exit, n: Tensor) -> Tensor:
        """What the networks of w_i are told of w_o beside its encoding, seen from an exit: [N, view_inputs]; nothing here."""
        return w_o.new_empty(w_o.shape[0], 0)

    def log_direction_density(self, s3: Tensor) -> Tensor:
        """log |d(s3, s4) / dw|, w in solid angle: [N]."""
        return torch.full_like(s3, -math.log(4 * math.pi))

    def log_exit_density(self, exit_: Exit, x_o: Tensor) -> Tensor:
        """log |d(s1, s2) / du|, u in area of the proxy (normalised units): [N]; paper, Eq. 16."""
        return self._log_solid_angle_per_area(exit_.u, exit_.axis) - math.log(4 * math.pi)

    def log_exit_solid_angle(self, exit_: Exit, x_o: Tensor) -> Tensor:
        """log |d(s1, s2) / dd|, d the direction from x_o to u_i in solid angle: [N]."""
        offset = exit_.u - x_o
        direction = offset / offset.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        return self.log_exit_density(exit_, x_o) - self._log_solid_angle_per_area(offset, direction, exit_.u)

    def _log_solid_angle_per_area(self, offset: Tensor, direction: Tensor, u: Tensor | None = None) -> Tensor:
        normal = self.proxy.normal(offset if u is None else u)
        cosine = (normal * direction).sum(-1).abs().clamp_min(1e-6)
        return cosine.log() - (offset * offset).sum(-1).clamp_min(1e-12).log()


class LocalCoordinates(PaperCoordinates):
    """u_i seen from x_o; w_i about d, the direction from x_o to u_i."""

    site_inputs = 7  # n, w_o, cos(theta_o)
    exit_inputs = 5  # d, half the log of the distance, n . d
    departure_inputs = 3  # s3 of the spread, the mean along both axes
    view_inputs = 3  # w_o along these axes and d

    def site(self, n: Tensor, w_o: Tensor) -> Tensor:
        """Plain inputs about (x_o, w_o): n, w_o and n . w_o, [N, 7]."""
        return torch.cat([n, w_o, (n * w_o).sum(-1, keepdim=True)], -1)

    def exit(self, s1: Tensor, s2: Tensor, x_o: Tensor, n: Tensor) -> Exit:
        """u_i from (s1, s2), each [N]."""
        d = cylinder(2 * s1 - 1, s2)
        axis = to_frame(d, n)
        u, distance = self.proxy.exit(x_o, d)
        return Exit(u, axis, d, torch.cat([d, 0.5 * distance.log()[..., None], axis[..., 2:]], -1))

    def exit_to_square(self, u: Tensor, x_o: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        """(s1, s2) from u_i: undoes `exit`."""
        d = u - x_o
        d = d / d.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        return ((d[..., 2] + 1) / 2).clamp(0, 1), turn(d[..., 1], d[..., 0])

    def direction(self, s3: Tensor, s4: Tensor, exit_: Exit, n: Tensor) -> Tensor:
        """w_i from (s3, s4): [N, 3]."""
        v = s3**WARP_EXPONENT
        across = 2 * (v * (1 - v)).clamp_min(0).sqrt()
        phi = s4 * (2 * math.pi)
        t, b = reference_axis(n, exit_.d)
        w = (across * phi.cos())[..., None] * t + (across * phi.sin())[..., None] * b + (1 - 2 * v)[..., None] * exit_.d
        return w / w.norm(dim=-1, keepdim=True)

    def direction_to_square(self, w: Tensor, exit_: Exit, n: Tensor) -> tuple[Tensor, Tensor]:
        """(s3, s4) from w_i: undoes `direction`."""
        offset = w - exit_.d
        v = (offset * offset).sum(-1) / 4  # (1 - cos) / 2 without cancellation
        t, b = reference_axis(n, exit_.d)
        return v.clamp(0, 1) ** (1 / WARP_EXPONENT), turn((w * b).sum(-1), (w * t).sum(-1))

    def departure(self, mean: Tensor, spread: Tensor, exit_: Exit, n: Tensor) -> Tensor:
        """s3 of the spread, and the mean along the axes from which s4 is counted, in parts of the spread: [N, 3]."""
        along = [(mean * axis).sum(-1) for axis in reference_axis(n, exit_.d)]
        return torch.stack([(spread / 2).sqrt(), *along], -1)

    def view(self, w_o: Tensor, exit_: Exit, n: Tensor) -> Tensor:
        """w_o along the axes from which s4 is counted, and along d: [N, 3].

        The refracted view decides to which side of x_o light enters, and so to which side of d w_i departs.
        """
        return torch.stack([(w_o * axis).sum(-1) for axis in (*reference_axis(n, exit_.d), exit_.d)], -1)

    def log_direction_density(self, s3: Tensor) -> Tensor:
        """log |d(s3, s4) / dw|, w in solid angle: [N]; dw = 4 pi dv ds4, v = s3^4."""
        slope = math.log(WARP_EXPONENT) + (WARP_EXPONENT - 1) * s3.clamp_min(MIN_WARP).log()
        return -math.log(4 * math.pi) - slope

    def log_exit_density(self, exit_: Exit, x_o: Tensor) -> Tensor:
        """log |d(s1, s2) / du|, u in area of the proxy (normalised units): [N]."""
        return self._log_solid_angle_per_area(exit_.u - x_o, exit_.d, exit_.u) - math.log(4 * math.pi)

    def log_exit_solid_angle(self, exit_: Exit, x_o: Tensor) -> Tensor:
        """log |d(s1, s2) / dd|, d the direction from x_o to u_i in solid angle: [N]."""
        return torch.full_like(exit_.u[:, 0], -math.log(4 * math.pi))


def coordinates(name: str, proxy: Proxy) -> PaperCoordinates:
    """The system called `name` ("local" or "paper") on `proxy`."""
    return {"local": LocalCoordinates, "paper": PaperCoordinates}[name](proxy)
