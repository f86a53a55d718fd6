"""The distribution p(u_i, w_i | x_o, w_o): four conditional splines in a row (paper, Sec. 3.2 and Fig. 6).

Step j draws s_j from a spline whose raw numbers come from a network of (x_o, w_o, s_1 .. s_{j-1}); each colour channel has
a spline of its own.  s_2 and s_4 are periodic.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import spline
from .config import ModelConfig
from .coordinates import Exit
from .encoding import Grid, locate_cubemap, locate_line
from .network import MLP

PERIODIC = (False, True, False, True)


class Flow(nn.Module):
    """The four networks and the grids of s.

    `site` below is what networks read about (x_o, w_o), one tensor [N, site_inputs] for each step
    (`mi_neural_asset.model.transport.Transport.sites`).
    """

    def __init__(self, config: ModelConfig, site_inputs: int, exit_inputs: int) -> None:
        super().__init__()
        f = config.features
        self.knots, self.line, self.cubemap = config.knots, config.line, config.cubemap
        self.s1_grid = Grid(config.line, f)  # for step 2
        self.exit_grid = Grid(6 * config.cubemap**2, 2 * f)  # (s1, s2) as a direction, for steps 3 and 4
        self.s3_grid = Grid(config.line, f)  # for step 4
        extra = (0, f, f + exit_inputs, 2 * f + exit_inputs)
        self.steps = nn.ModuleList(
            MLP(site_inputs + extra[j], config.width, config.depth, spline.raw_size(config.knots, PERIODIC[j]))
            for j in range(4)
        )

    def inputs_1(self, site: Tensor) -> Tensor:
        """Input of step 1."""
        return site

    def inputs_2(self, site: Tensor, s1: Tensor) -> Tensor:
        """Input of step 2, s1: [N]."""
        return torch.cat([site, self.s1_grid(*locate_line(s1, self.line))], -1)

    def exit_features(self, exit_: Exit) -> Tensor:
        """What steps 3 and 4 read from the grid of (s1, s2): [N, 2 F]."""
        return self.exit_grid(*locate_cubemap(exit_.axis, self.cubemap))

    def inputs_3(self, site: Tensor, exit_: Exit, features: Tensor) -> Tensor:
        """Input of step 3."""
        return torch.cat([site, features[:, : features.shape[1] // 2], exit_.extra], -1)

    def inputs_4(self, site: Tensor, exit_: Exit, features: Tensor, s3: Tensor) -> Tensor:
        """Input of step 4, s3: [N]."""
        grid = self.s3_grid(*locate_line(s3, self.line))
        return torch.cat([site, features[:, features.shape[1] // 2 :], exit_.extra, grid], -1)

    def knots_of(self, j: int, raw: Tensor) -> spline.Knots:
        """Normalised spline of step j (0 to 3) from the network's raw numbers [..., raw_size]."""
        return spline.normalise(raw, self.knots, PERIODIC[j])

    def log_density_thirds(
        self, sites: list[Tensor], s: Tensor, exit_: Exit, log_density: Callable[[Tensor, Tensor, int, bool], Tensor] | None = None
    ) -> Tensor:
        """log p(s) of channel c for the c-th third of the batch (training): s [N, 4], -> [N, 4], one column a step.

        `log_density(s, raw, knots, periodic)` may be a fused twin of `plain_log_density`.
        """
        evaluate = log_density or plain_log_density
        features = self.exit_features(exit_)
        inputs = (
            self.inputs_1(sites[0]),
            self.inputs_2(sites[1], s[:, 0]),
            self.inputs_3(sites[2], exit_, features),
            self.inputs_4(sites[3], exit_, features, s[:, 2]),
        )
        columns = [
            evaluate(s[:, j], self.steps[j].thirds(inputs[j]), self.knots, PERIODIC[j]) for j in range(4)
        ]
        return torch.stack(columns, -1)


def plain_log_density(s: Tensor, raw: Tensor, knots: int, periodic: bool) -> Tensor:
    """log p(s) from raw numbers: s [...], raw [..., raw_size] -> [...]."""
    return spline.cdf(s, spline.normalise(raw, knots, periodic))[1]
