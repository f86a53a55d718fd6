"""The proxy: a convex surface around the asset on which incident rays are parameterised (paper, Sec. 3.2 and Fig. 5).

All points are in normalised space (the asset's bounding sphere is the unit sphere around the origin).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HULL_PLANES = 32  # faces of a hull


class Proxy(nn.Module):
    """A sphere, an axis-aligned box or a convex polytope around the origin.

    Args:
        kind: "sphere", "box" or "hull".
        margin: distance to the asset's bound, in parts of the bound's size; for the hull in parts of the asset's radius.

    The half-extents of the asset's bounding box are a buffer, `extent` [3], so that they travel with the weights; so are
    the half-spaces n . x <= h of its hull, `planes` [HULL_PLANES, 4] (unit normal, offset h > 0), of that kind alone.
    """

    def __init__(self, kind: str, margin: float) -> None:
        super().__init__()
        self.kind, self.margin = kind, margin
        self.register_buffer("extent", torch.ones(3))
        if kind == "hull":
            axes = torch.cat([torch.eye(3), -torch.eye(3)]).repeat(-(-HULL_PLANES // 6), 1)[:HULL_PLANES]
            self.register_buffer("planes", torch.cat([axes, torch.ones(HULL_PLANES, 1)], -1))

    def half_spaces(self) -> Tensor:
        """Normals and offsets of the faces of a box or hull, margin included: [K, 4].

        Raises:
            ValueError: the proxy is a sphere.
        """
        if self.kind == "sphere":
            raise ValueError("half_spaces: a sphere has none")
        if self.kind == "hull":
            return torch.cat([self.planes[:, :3], self.planes[:, 3:] + self.margin], -1)
        axes = torch.eye(3, dtype=self.extent.dtype, device=self.extent.device)
        return torch.cat([torch.cat([axes, -axes]), (self.extent * (1.0 + self.margin)).repeat(2)[:, None]], -1)

    @property
    def radius(self) -> float:
        """Radius of the proxy sphere."""
        return 1.0 + self.margin

    def chord(self, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Where lines cross the proxy.

        Args:
            origin, direction: points and unit directions, [..., 3].

        Returns:
            (t_in, t_out), each [...]: line parameters at entry and exit; t_in > t_out where the line misses.
        """
        if self.kind == "sphere":
            middle = -(origin * direction).sum(-1)
            across = origin + middle[..., None] * direction  # closest point to the centre
            half_sq = self.radius**2 - (across * across).sum(-1)
            half = torch.where(half_sq > 0, half_sq.clamp_min(0).sqrt(), half_sq.clamp(-1, 0))
            return middle - half, middle + half
        if self.kind == "hull":
            planes = self.half_spaces()
            along, height = direction @ planes[:, :3].T, origin @ planes[:, :3].T
            step = (planes[:, 3] - height) / torch.where(along.abs() < 1e-9, torch.full_like(along, 1e-9), along)
            entry, leave = torch.where(along < -1e-9, step, -torch.inf), torch.where(along < -1e-9, torch.inf, step)
            return entry.amax(-1), leave.amin(-1)
        half_extent = self.extent * (1.0 + self.margin)
        safe = torch.where(direction.abs() < 1e-9, torch.full_like(direction, 1e-9), direction)
        near, far = (-half_extent - origin) / safe, (half_extent - origin) / safe
        return torch.minimum(near, far).amax(-1), torch.maximum(near, far).amin(-1)

    def exit(self, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Point where rays that start inside leave the proxy: ([..., 3], distance [...])."""
        distance = self.chord(origin, direction)[1].clamp_min(1e-6)
        return origin + distance[..., None] * direction, distance

    def normal(self, u: Tensor) -> Tensor:
        """Outward unit normal at points of the proxy, [..., 3]."""
        if self.kind == "sphere":
            return u / self.radius
        if self.kind == "hull":
            planes = self.half_spaces()
            return planes[:, :3][(u @ planes[:, :3].T - planes[:, 3]).argmax(-1)]
        relative = u / (self.extent * (1.0 + self.margin))
        axis = relative.abs().argmax(-1, keepdim=True)
        return torch.zeros_like(u).scatter(-1, axis, relative.gather(-1, axis).sign())
