"""The far-field model F'(x_o, w_o, w_i): where light enters is integrated away (paper, Eq. 2 and Sec. 4.1, the baseline).

A network gives F' itself, a two-dimensional flow draws w_i in proportion to it (after Xu et al. 2023, NeuSample).  It knows the
point and the view as `Transport` does, the same grids, normals and distances; w_i is cylindrical about the normal (coordinates
"local") or in the asset's frame ("paper").  Everything is in normalised space.

Of the configuration, `width` and `depth` are the value network's, `knots`, `albedo_width` and `albedo_depth` the sampler's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import splines
from .config import ModelConfig
from .coordinates import coordinates, cylinder, from_frame, to_frame, turn
from .encoding import Grid
from .network import MLP
from .proxy import Proxy

PERIODIC = (False, True)
VALUE_OFFSET = -2.5  # the value network starts near softplus(-2.5) = 1 / (4 pi)
UNIFORM = -math.log(4 * math.pi)  # log |d(s1, s2) / dw|


class FarField(nn.Module):
    """F' of one asset, and what draws w_i.

    Args:
        config: sizes and choices.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.proxy = Proxy(config.proxy, config.proxy_margin)  # where rays that leave the asset start
        f = config.features
        self.position_grid = Grid("triplane", config.triplane, 3 * f)  # columns: steps 1 and 2 of the sampler, value
        self.direction_grid = Grid("cubemap", config.cubemap, 3 * f)
        self.incident_grid = Grid("cubemap", config.cubemap, f)  # w_i, for the value
        self.s1_grid = Grid("line", config.line, f)  # for step 2
        self._coordinates = coordinates(config.coordinates, self.proxy)
        known = 2 * f + self._coordinates.site_inputs + config.surroundings
        sizes = (known, known + f)
        self.steps = nn.ModuleList(
            MLP(sizes[j], config.albedo_width, config.albedo_depth, splines.raw_size(config.knots, PERIODIC[j]), channels=1)
            for j in range(2)
        )
        self.value_net = MLP(known + f + 3, config.width, config.depth, 1)

    @property
    def spline_networks(self) -> nn.ModuleList:
        """The networks of the sampler's splines."""
        return self.steps

    @torch.no_grad()
    def start(self, mean: Tensor) -> None:
        """Let the value begin at a mean throughput, [3], spread over all directions."""
        value = mean.clamp(1e-4, 10.0) / (4 * math.pi)
        self.value_net.last.bias.copy_(value.expm1().log() - VALUE_OFFSET)

    def sites(self, x_o: Tensor, w_o: Tensor, n: Tensor, occlusion: Tensor | None = None) -> list[Tensor]:
        """What each network reads about (x_o, w_o): three tensors [N, site inputs], steps 1 and 2 and value.

        Args:
            x_o: points, [N, 3], normalised space.
            w_o: unit directions away from the asset, [N, 3].
            n: unit normals at x_o, [N, 3].
            occlusion: what `Occlusion` says about x_o, [N, config.surroundings]; may be left out where that is 0.
        """
        f = self.config.features
        positions = self.position_grid(x_o)
        directions = self.direction_grid(w_o)
        plain = [self._coordinates.site(n, w_o), *([] if occlusion is None else [occlusion])]
        columns = [slice(j * f, (j + 1) * f) for j in range(3)]
        return [torch.cat([positions[:, c], directions[:, c], *plain], -1) for c in columns]

    def _from_frame(self, axis: Tensor, n: Tensor) -> Tensor:
        return axis if self.config.coordinates == "paper" else from_frame(axis, n)

    def _to_frame(self, w: Tensor, n: Tensor) -> Tensor:
        return w if self.config.coordinates == "paper" else to_frame(w, n)

    def square(self, w: Tensor, n: Tensor) -> Tensor:
        """Directions as points of the unit square, [N, 2]."""
        axis = self._to_frame(w, n)
        return torch.stack([((axis[:, 2] + 1) / 2).clamp(0, 1), turn(axis[:, 1], axis[:, 0])], -1)

    def value(self, sites: list[Tensor], w: Tensor, n: Tensor) -> Tensor:
        """F'(x_o, w_o, w), per steradian, non-negative: [N, 3]."""
        axis = self._to_frame(w, n)
        features = self.incident_grid(axis)
        return functional.softplus(self.value_net(torch.cat([sites[2], features, axis], -1))[..., 0] + VALUE_OFFSET)

    def _raw(self, j: int, sites: list[Tensor], s1: Tensor | None) -> Tensor:
        inputs = sites[j] if s1 is None else torch.cat([sites[j], self.s1_grid(s1)], -1)
        return self.steps[j](inputs)

    def log_square_density(self, sites: list[Tensor], s: Tensor) -> Tensor:
        """log of the sampler's density over the unit square, s [N, 2] -> [N]."""
        parts = (
            splines.log_density(s[:, j], self._raw(j, sites, s[:, 0] if j else None)[:, 0], self.config.knots, PERIODIC[j])
            for j in range(2)
        )
        return sum(parts)

    def log_density(self, sites: list[Tensor], w: Tensor, n: Tensor) -> Tensor:
        """log of the sampler's density over directions, in solid angle: [N]."""
        return self.log_square_density(sites, self.square(w, n)) + UNIFORM

    def sample(self, sites: list[Tensor], n: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Draw w_i from uniform z [N, 2]: (w_i [N, 3], log of its density in solid angle [N])."""
        s: list[Tensor] = []
        log_p = torch.full_like(z[:, 0], UNIFORM)
        for j in range(2):
            raw = self._raw(j, sites, s[0] if j else None)
            s.append(splines.sample(z[:, j], raw, self.config.knots, PERIODIC[j], torch.zeros_like(z[:, j], dtype=torch.long)))
            log_p = log_p + splines.log_density(s[j], raw[:, 0], self.config.knots, PERIODIC[j])
        return self._from_frame(cylinder(2 * s[0] - 1, s[1]), n), log_p
