"""The distribution p(u_i, w_i | x_o, w_o): four conditional splines in a row (paper, Sec. 3.2 and Fig. 6).

Step j draws s_j from a spline whose raw numbers come from a network of (x_o, w_o, s_1 .. s_{j-1}); each colour channel has
a spline of its own.  s_2 and s_4 are periodic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import splines
from .config import ModelConfig
from .coordinates import Exit
from .encoding import Grid, locate_cubemap, locate_line
from .network import MLP

PERIODIC = (False, True, False, True)


class Flow(nn.Module):
    """The four networks and the grids of s.

    `site` below is what networks read about (x_o, w_o), one tensor [N, site_inputs[j]] for each step
    (`mi_neural_asset.model.transport.Transport.sites`).
    """

    def __init__(self, config: ModelConfig, site_inputs: list[int], exit_inputs: int) -> None:
        super().__init__()
        f = config.features
        self.knots, self.line, self.cubemap = config.knots, config.line, config.cubemap
        self.s1_grid = Grid(config.line, f)  # for step 2
        self.exit_grid = Grid(6 * config.cubemap**2, 2 * f)  # (s1, s2) as a direction, for steps 3 and 4
        self.s3_grid = Grid(config.line, f)  # for step 4
        extra = (0, f, f + exit_inputs, 2 * f + exit_inputs)
        self.steps = nn.ModuleList(
            MLP(site_inputs[j] + extra[j], config.width, config.depth, splines.raw_size(config.knots, PERIODIC[j]))
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

    def log_density(self, j: int, s: Tensor, raw: Tensor) -> Tensor:
        """log p(s) of step j (0 to 3) from its network's raw numbers: s [...], raw [..., raw_size] -> [...]."""
        return splines.log_density(s, raw, self.knots, PERIODIC[j])

    def sample(self, j: int, z: Tensor, raw: Tensor, channel: Tensor) -> Tensor:
        """s of step j (0 to 3) in one channel of each row: z [N], raw [N, C, raw_size], channel [N] -> [N]."""
        return splines.sample(z, raw, self.knots, PERIODIC[j], channel)

    def log_density_thirds(self, *inputs: Tensor, s: Tensor) -> Tensor:
        """log p(s) of channel c for the c-th third of the rows, from the inputs of the four steps: s [N, 4], -> [N, 4]."""
        return torch.stack([self.log_density(j, s[:, j], self.steps[j].thirds(inputs[j])) for j in range(4)], -1)
